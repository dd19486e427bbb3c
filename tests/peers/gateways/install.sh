#!/usr/bin/env bash
# Installs (once) a gateway of other people's, pinned, and prints where it is. For the benchmarks of ours; nothing else
# comes here.
#
#   PY=$(tests/peers/gateways/install.sh python)              LiteLLM and TensorZero: the environment's python
#   FOLDER=$(tests/peers/gateways/install.sh portkey)         Portkey: the folder with its node_modules
#   PROGRAM=$(tests/peers/gateways/install.sh litellm-rs)     litellm-rs: its program, after about 12 minutes on two cores
#
# They lie in the cache, each in a folder whose name is made of everything that decides what is in it. What keeps one from
# being installed is said in the last line on standard error.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/peers
python=${PYTHON:-python3}
litellm_rs=0.9.0

say() { echo "peers: $*" >&2; }
give_up() {
    say "$*"
    exit 1
}
needs() { command -v "$1" >/dev/null 2>&1 || give_up "$1 not found: $2"; }
key() { cat "$@" - | sha256sum | cut -c1-16; }

case ${1:-} in
python)
    needs "$python" "install Python 3.11 or newer"
    folder=$cache/gateways-$("$python" -c 'import sys; print(sys.version, sys.base_prefix)' | key "$here/requirements.txt")
    printed=$folder/bin/python
    ;;
portkey)
    needs node "install Node 20 or newer"
    needs npm "install it beside Node (Debian: npm)"
    folder=$cache/portkey-$(node --version | key "$here/portkey/package.json" "$here/portkey/package-lock.json")
    printed=$folder
    ;;
litellm-rs)
    needs cargo "install Rust"
    folder=$cache/litellm-rs-$litellm_rs-$(rustc --version --verbose | key)
    printed=$folder/bin/gateway
    ;;
*) give_up "there are python, portkey and litellm-rs, not '${1:-}'" ;;
esac

python_environment() {
    say "installing LiteLLM and TensorZero (300 MB to download, 900 MB of disk)"
    "$python" -m venv "$folder" >&2 || give_up "$python can't make a venv (Debian: install python3-venv)"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps \
        --require-hashes -r "$here/requirements.txt" >&2 || give_up "pip could not install LiteLLM and TensorZero"
}

portkey() {
    say "installing Portkey's gateway"
    mkdir -p "$folder"
    cp "$here/portkey/package.json" "$here/portkey/package-lock.json" "$folder/"
    # No package's own scripts run: none of these needs one.
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
        give_up "npm could not install Portkey's gateway"
}

litellm_rs() {
    log=$cache/build-litellm-rs.log
    say "building litellm-rs $litellm_rs (about 12 minutes on two cores; log: $log)"
    # The target folder is no part of what is kept: it holds some GB.
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
    CARGO_TARGET_DIR=$target cargo install litellm-rs --version "$litellm_rs" --locked --features storage,sqlite \
        --bin gateway --root "$folder" >"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        give_up "cargo could not build litellm-rs; the whole log is $log"
    }
}

mkdir -p "$cache"
exec 9>"$folder.lock"
flock 9
if [[ ! -e $folder/.complete ]]; then
    rm -rf "$folder"
    case $1 in
    python) python_environment ;;
    portkey) portkey ;;
    litellm-rs) litellm_rs ;;
    esac
    touch "$folder/.complete"
fi
echo "$printed"
