# Part of demo.sh: a model that answers at once, two replicas of it, and callers who never stop.
# shellcheck shell=bash

LOAD=${TESTBED%/*}/demo-load
[[ -x $LOAD ]] || fail "$LOAD is missing: \`make cluster-up\` builds it"

no_pods_left() { [[ -z $(kubectl -n demo get pods -o name) ]]; }
no_engines() { [[ -z $(kubectl -n demo get pods -l serving.weighbridge.dev/model=steady -o name) ]]; }
# How a model stands, for people: what `kubectl get` says, and every condition in words.
stands() { # MODEL
    show kubectl -n demo get mdep "$1"
    show kubectl -n demo get mdep "$1" -o 'jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}'
}
revision() { kubectl -n demo get mdep steady -o jsonpath='{.status.revision}'; }
backend() { kubectl -n demo get mdep steady -o jsonpath='{.status.served.backend}'; }
deployments() { kubectl -n demo get deployments -l serving.weighbridge.dev/model=steady -o name | wc -l; }
every_engine_answers() { kubectl -n demo wait --for=condition=EngineReady mdep/steady --timeout=1s >/dev/null 2>&1; }
# One Deployment with all of its pods ready, of another revision than $1, no pod on its way out, and the status says so.
rolled_out() { # FROM-REVISION
    [[ $(revision) != "$1" && $(deployments) == 1 ]] && every_engine_answers || return 1
    kubectl -n demo rollout status deployment -l serving.weighbridge.dev/model=steady --timeout=1s >/dev/null 2>&1
}
change() { # MERGE PATCH
    show kubectl -n demo patch mdep steady --type=merge -p "$1"
}

step "A model of random weights, twice, and callers: 32 streams at once, 50 requests a second"
[[ -f $MODELS/random/model.gguf ]] || { mkdir -p "$MODELS/random" && "$LOAD" model "$MODELS/random"; }
kubectl -n demo delete modeldeployments,externalproviders --all --wait >/dev/null
until_true 60 no_pods_left
show kubectl -n demo apply -f "$here/scenarios/steady.yaml"
await --for=condition=Ready modeldeployment/steady --timeout=60s
until_true 60 rolled_out none
gateway=$(kubectl -n weighbridge-system get service weighbridge-gateway -o jsonpath='{.spec.clusterIP}:{.spec.ports[0].port}')
printf %s "$OPENAI_API_KEY" >"$work/key"
until_true 20 curl -fsS -H @"$work/authorization" "http://$gateway/v1/models"
background load.log "$LOAD" run --address "$gateway" --model demo/steady --key-file "$work/key" --stream-tokens 400
sleep 3
kill -0 "${logs[load.log]}" || fail "the load does not run"
