# Part of demo.sh: S=swap. The same model behind the same name, from weights to a closed API and back.
# shellcheck shell=bash

backend_is() { [[ $(backend) == "$1" ]] && kubectl -n demo wait --for=condition=Ready mdep/steady --timeout=1s; }

step "A closed API: the simulator of the tests, on the node's address"
port=$(free_port "$node_address")
background simulator.log "${TESTBED%/*}/provider-simulator" --listen "$node_address:$port"
UPSTREAM=http://$node_address:$port/v1
until_answers simulator.log 30 curl -sS -o /dev/null "$UPSTREAM/models"
kubectl -n demo create secret generic acme --from-literal=api-key=sk-simulated --dry-run=client -o yaml | kubectl apply -f -
closed_api paced | show kubectl -n demo apply -f -
await --for=condition=Ready externalprovider/acme --timeout=60s

step "From open weights to the closed API"
change '{"spec": {"serve": "External", "external": {"provider": "acme", "model": "paced"}}}'
until_true 120 backend_is Closed
until_true 180 no_engines
stands steady

step "And back"
change '{"spec": {"serve": "OpenWeights"}}'
until_true 120 backend_is Open
stands steady
