#!/usr/bin/env bash
# The main job, whole, on the cluster that `make cluster-up` started: install with Helm, apply open weights and a closed
# API, get tokens from both behind one URL, and hold the dashboard's numbers against what the clients counted.
#
# Everything is the real thing: Helm, kubelet, containerd, Prometheus, the official OpenAI client; the closed API is
# llama.cpp's Python server, another implementation that asks for a key. Can be run again on the same cluster.
#
# With S=rollout, swap, nofit, drain or outage it shows that instead, under 32 streams and 50 requests a second, and counts what
# failed and what was cut.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
source "$here/lib.sh"
source tests/peers/server.sh
figures=() lost=()
S=${S:-}
case $S in
    '' | rollout | swap | nofit | drain | outage) ;;
    *) fail "S=$S: there is no such scenario: rollout, swap, nofit, drain or outage" ;;
esac

# The program that keeps the cluster; `make` says where it is.
TESTBED=${TESTBED:-${CARGO_TARGET_DIR:-target}/debug/testbed}
[[ -x $TESTBED ]] || fail "start the cluster with \`make cluster-up\`"
environment=$("$TESTBED" env) || fail "start the cluster with \`make cluster-up\`"
eval "$environment"
node_folder=$(dirname "$KUBECONFIG")
NODE=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
node_address=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
MODELS=$(dirname "$(examples/fetch-smollm2.sh)")
weights=$MODELS/smollm2-135m-instruct-q4_1.gguf
client=$(tests/clients/install.sh)
[[ -n $S ]] || peer=$(tests/peers/install.sh)

work=$(mktemp -d)
# Processes in the background by the log of each, and the log that explains a failure of what is being waited for.
declare -A logs=()
asked=
stop() {
    local status=$? log process
    for log in "${!logs[@]}"; do
        # One that is being waited for, or that ended by itself, is why.
        if ((status != 0)) && { [[ $log == "$asked" ]] || ! kill -0 "${logs[$log]}" 2>/dev/null; }; then
            printf '\n%s ended with:\n' "$log" >&2
            tail -n 20 "$work/$log" >&2 || true
        fi
    done
    # What somebody stopped in the midst is not left so.
    [[ -z ${apiserver_away:-} ]] || "$TESTBED" apiserver start || true
    # A process that was told to stop says so in its status, which is not this script's.
    for process in "${logs[@]}"; do kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
    ((status == 0)) || echo "cluster-demo: the cluster is still up: run \`make cluster-demo\` again, or \`make cluster-down\`" >&2
}
# Signals too: without a trap of their own they don't wait for the command that runs.
trap stop EXIT
# Starts a program, or a function that becomes one. It ends with this script, even where that is killed outright.
background() { # LOG COMMAND…
    local log=$1
    shift
    [[ $(type -t "$1") != function ]] || set -- bash -c "$(declare -f "$1"); $1 \"\$@\"" "$@"
    setpriv --pdeathsig KILL "$@" >"$work/$log" 2>&1 &
    logs[$log]=$!
}
# Waits until a background's answer is there.
until_answers() { # LOG SECONDS COMMAND…
    asked=$1
    shift
    until_true "$@"
    asked=
}
# Waits for what objects of the team's namespace shall say, and where they don't, shows what they say.
await() { # KUBECTL WAIT'S ARGUMENTS…
    show kubectl -n demo wait "$@" && return
    kubectl -n demo get mdep,xprov,pods || true
    kubectl -n demo get events --sort-by=.lastTimestamp | tail -n 10 || true
    fail "waited in vain for: $*"
}
free_port() { "$client" -c "import socket; s = socket.socket(); s.bind(('$1', 0)); print(s.getsockname()[1])"; }

source "$here/install.sh"
if [[ -n $S ]]; then
    source "$here/scenarios/load.sh"
    source "$here/scenarios/$S.sh"
    source "$here/scenarios/end.sh"
else
    source "$here/closed.sh"
    source "$here/serve.sh"
    source "$here/measure.sh"
    source "$here/gpu.sh"
fi

step "Figures"
printf '%s\n' "${figures[@]}"

((${#lost[@]} == 0)) || fail "${lost[*]}"
[[ -z $S ]] || exit 0

step "Still up"
cat <<'END'
the cluster with the chart and the open model; the closed API was a process of this demo and ends with it.

  eval "$(make -s cluster-env)"; kubectl get mdep -n demo
  make cluster-demo       # again
  make cluster-down       # leaves nothing
END
