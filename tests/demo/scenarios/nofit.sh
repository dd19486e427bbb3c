# Part of demo.sh: S=nofit. A model that no node can hold says so, in the scheduler's words, and nothing else is disturbed.
# shellcheck shell=bash

step "A new revision that fits no node: the old one serves on"
kubectl apply -f - <<<'{"apiVersion": "serving.weighbridge.dev/v1alpha1", "kind": "ResourceProfile",
    "metadata": {"name": "demo-huge"}, "spec": {"cpu": "100m", "memory": "8Ti"}}'
before=$(revision)
change '{"spec": {"openWeights": {"resources": {"profile": "demo-huge"}}}}'
await --for='jsonpath={.status.conditions[?(@.type=="Scheduled")].reason}=InsufficientCapacity' modeldeployment/steady --timeout=60s
stands steady

step "Corrected, it goes on by itself"
change '{"spec": {"openWeights": {"resources": {"profile": "demo-small"}, "engine": {"maxSequences": 48}}}}'
until_true 120 rolled_out "$before"
