#!/usr/bin/env bash
# The main job, whole, on the cluster that `make cluster-up` started: install with Helm, apply open weights and a closed
# API, get tokens from both behind one URL, and hold the dashboard's numbers against what the clients counted.
#
# Everything is the real thing: Helm, kubelet, containerd, Prometheus, the official OpenAI client; the closed API is
# llama.cpp's Python server, another implementation that asks for a key. Can be run again on the same cluster.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
source "$here/lib.sh"
source tests/peers/server.sh
figures=()

testbed=(cargo run -q --release --locked -p weighbridge-tests --bin testbed --)
environment=$("${testbed[@]}" env) || fail "start the cluster with \`make cluster-up\`"
eval "$environment"
node_folder=$(dirname "$KUBECONFIG")
NODE=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
node_address=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
MODELS=$(dirname "$(examples/fetch-smollm2.sh)")
weights=$MODELS/smollm2-135m-instruct-q4_1.gguf
client=$(tests/clients/install.sh)
peer=$(tests/peers/install.sh)

work=$(mktemp -d)
started=()
stop() {
    local status=$? process
    # Why something in the background did not do its part stands in its log.
    ((status == 0)) || tail -n 20 "$work"/*.log >&2 || true
    # A process that was told to stop says so in its status, which is not this script's.
    for process in "${started[@]}"; do kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
background() { # LOG COMMAND…
    local log=$work/$1
    shift
    "$@" >"$log" 2>&1 &
    started+=($!)
}
free_port() { "$client" -c "import socket; s = socket.socket(); s.bind(('$1', 0)); print(s.getsockname()[1])"; }

source "$here/install.sh"
source "$here/serve.sh"
source "$here/measure.sh"
source "$here/gpu.sh"

step "Figures"
printf '%s\n' "${figures[@]}"
