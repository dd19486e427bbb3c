# Part of demo.sh: S=nofit. What can't be held says so, by the sum before a pod is made or in the scheduler's words, and
# nothing else is disturbed.
# shellcheck shell=bash

condition_is() { # TYPE REASON
    await --for="jsonpath={.status.conditions[?(@.type==\"$1\")].reason}=$2" modeldeployment/steady --timeout=60s
}
engines() { kubectl -n demo get pods -l serving.weighbridge.dev/model=steady -o name | sort; }
message() { kubectl -n demo get mdep steady -o jsonpath="{.status.conditions[?(@.type==\"$1\")].message}"; }

step "A GPU too small for the model: refused by the sum, before an engine is made"
kubectl apply -f - <<<'{"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
    "metadata": {"name": "demo-small-gpu"}, "spec": {"cpu": "100m", "memory": "512Mi",
    "gpu": {"product": "NVIDIA-L4", "memory": "512Mi"}}}'
before=$(revision) before_engines=$(engines)
change '{"spec": {"openWeights": {"resources": {"profile": "demo-small-gpu"}}}}'
condition_is Accepted InsufficientCapacity
stands steady
[[ $(message Accepted) == *needs*weights*"the card has"* ]] || fail "no sum in: $(message Accepted)"
[[ $(deployments) == 1 && $(engines) == "$before_engines" ]] || fail "an engine was made for a model that is refused: $(engines)"

step "A new revision that fits no node: the old one serves on"
kubectl apply -f - <<<'{"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
    "metadata": {"name": "demo-huge"}, "spec": {"cpu": "100m", "memory": "8Ti"}}'
change '{"spec": {"openWeights": {"resources": {"profile": "demo-huge"}}}}'
condition_is Scheduled InsufficientCapacity
stands steady

step "Corrected, it goes on by itself"
change '{"spec": {"openWeights": {"resources": {"profile": "demo-small"}, "engine": {"maxSequences": 48}}}}'
until_true 120 rolled_out "$before"
