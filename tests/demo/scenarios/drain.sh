# Part of demo.sh: S=drain. Pods that end in every way that they are told to, with streams open.
# shellcheck shell=bash

one() { kubectl -n demo get pods -l serving.weighbridge.dev/model=steady -o 'jsonpath=pod/{.items[0].metadata.name}'; }
pods_are() { [[ $(kubectl -n demo get pods -l serving.weighbridge.dev/model=steady -o name | wc -l) == "$1" ]]; }

step "SIGTERM to an engine: it lets its streams finish"
pod=$(one)
show kubectl -n demo delete "$pod" --wait=false
until_true 120 eval '! kubectl -n demo get "$pod"'
until_true 60 rolled_out none

step "Scale down to one, and up again"
show kubectl -n demo scale mdep steady --replicas=1
until_true 120 pods_are 1
show kubectl -n demo scale mdep steady --replicas=2
until_true 60 rolled_out none

step "Gateways restart, one after the other"
show kubectl -n weighbridge-system rollout restart deployment weighbridge-gateway
show kubectl -n weighbridge-system rollout status deployment weighbridge-gateway --timeout=180s
