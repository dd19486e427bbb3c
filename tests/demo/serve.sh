# Part of demo.sh: two models, one of each world, until they are ready.
# shellcheck shell=bash

no_pods_left() { [[ -z $(kubectl -n demo get pods -o name) ]]; }

step "Apply open weights: examples/smollm2.yaml"
# A second run measures from nothing again.
kubectl -n demo delete modeldeployments,externalproviders --all --wait >/dev/null
until_true 60 no_pods_left
begun=$(now)
show kubectl -n demo apply -f examples/smollm2.yaml
await --for=condition=Ready modeldeployment/smollm2 --timeout=60s
figure apply_to_ready_seconds "$(since "$begun")" s

step "Apply a closed API, and a model at it: examples/external-openai-compatible.yaml, with its baseURL and model"
begun=$(now)
closed_api smollm2-llama-cpp | show kubectl -n demo apply -f -
await --for=condition=Ready externalprovider/acme modeldeployment/fast --timeout=60s
figure external_apply_to_ready_seconds "$(since "$begun")" s

step "What a platform engineer sees"
show kubectl -n demo get mdep
show kubectl -n demo get xprov
show kubectl -n demo get pods,services,networkpolicies
show kubectl -n demo get events
