# What the demo's parts share, and `make peers` with them. Sourced; the repository's root is the working directory.
# shellcheck shell=bash

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# Prints a command as a person would type it, then runs it.
show() {
    local word line='$'
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word="'$word'"
        line+=" $word"
    done
    echo "$line"
    "$@"
}
fail() { echo "${called:-cluster-demo}: $*" >&2 && exit 1; }
figure() { figures+=("figure $*"); }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }

# Waits at most SECONDS until a command succeeds. What it says meanwhile is noise until the last time.
until_true() { # SECONDS COMMAND…
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || { "$@" || true; fail "waited in vain for: $*"; }
        sleep 0.2
    done
}

# Fills $NAME in a manifest from the environment; only the names given, so that nothing else is touched.
filled() { # FILE NAME…
    local text name
    text=$(<"$1")
    shift
    for name in "$@"; do text=${text//\$$name/${!name}}; done
    printf '%s\n' "$text"
}

# The example of a closed API, with $UPSTREAM for the API and $1 for its model: plain http and a private address have to be
# allowed by name. It publishes `fast` of the provider `acme`, whose key is in the Secret `acme`.
closed_api() { # MODEL
    local example=examples/external-openai-compatible.yaml
    [[ $(grep -cE '^  baseURL: |^    model: ' "$example") == 2 ]] || fail "$example is not what it was"
    sed -E -e "s|^  baseURL: .*|  baseURL: $UPSTREAM\n  allowPrivate: true|" -e "s|^    model: .*|    model: $1|" "$example"
}

# The process on this machine that is the first container of a pod: the node is this machine.
container_process() { # NAMESPACE POD
    local id
    id=$(kubectl -n "$1" get pod "$2" -o jsonpath='{.status.containerStatuses[0].containerID}')
    ctr --address "$node_folder/containerd.sock" --namespace k8s.io tasks list | awk -v id="${id#*://}" '$1 == id { print $2 }'
}
