#!/bin/sh
# Installs (once) the official client SDKs and prints where they are: Python's, or Node's.
#
#   PY=$(tests/clients/install.sh) && "$PY" tests/clients/openai_client.py --base-url … --model …
#   WEIGHBRIDGE_NODE_CLIENTS=$(tests/clients/install.sh node) node tests/clients/node/client.mjs …
#
# They lie in the cache, outside the repository, in folders named by what is in them: another interpreter or other
# pins give another folder, so two checkouts never fight over one.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
WHICH=${1:-python}
PYTHON=${PYTHON:-python3}
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/clients

say() { echo "clients: $*" >&2; }
give_up() { say "$*"; exit 1; }
command -v "$PYTHON" >/dev/null 2>&1 || give_up "$PYTHON not found: install Python 3.11 or newer"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    give_up "$("$PYTHON" --version) is too old for the clients: install Python 3.11 or newer, or say PYTHON=…"

# The pins, and the interpreter that they are installed for.
key() {
    "$PYTHON" - "$@" <<'PY'
import hashlib, sys
files, words = sys.argv[1].split("\n"), sys.argv[2:]
h = hashlib.sha256()
for name in files:
    h.update(open(name, "rb").read())
h.update(" ".join(words or [sys.version, sys.base_prefix]).encode())
print(h.hexdigest()[:16])
PY
}

case $WHICH in
python)
    FOLDER=$CACHE/venv-$(key "$HERE/requirements.txt")
    PRINTED=$FOLDER/bin/python
    works() { "$PRINTED" -c '' 2>/dev/null; }
    ;;
node)
    command -v node >/dev/null 2>&1 || give_up "node not found: install Node 20 or newer"
    VERSION=$(node --version)
    MAJOR=${VERSION#v}
    [ "${MAJOR%%.*}" -ge 20 ] || give_up "Node $VERSION is too old for the clients: install Node 20 or newer"
    FOLDER=$CACHE/node-$(key "$HERE/node/package.json
$HERE/node/package-lock.json" "$VERSION")
    PRINTED=$FOLDER
    works() { [ -d "$FOLDER/node_modules/ai" ]; }
    ;;
*) give_up "there are python and node, not $WHICH" ;;
esac
if [ -e "$FOLDER/.complete" ] && works; then
    echo "$PRINTED"
    exit 0
fi

mkdir -p "$CACHE"
# Two test programs may get here together. The lock is a folder (mkdir is atomic everywhere, flock
# isn't on macOS); a lock whose owner died is taken over.
LOCK=$CACHE/.lock-$(basename "$FOLDER")
until mkdir "$LOCK" 2>/dev/null; do
    OWNER=$(cat "$LOCK/pid" 2>/dev/null || echo)
    if [ -n "$OWNER" ] && ! kill -0 "$OWNER" 2>/dev/null; then
        rm -rf "$LOCK"
        continue
    fi
    sleep 1
done
echo $$ >"$LOCK/pid"
trap 'rm -rf "$LOCK"' EXIT
trap 'exit 130' HUP INT TERM

install_python() {
    say "installing the Python clients into $FOLDER"
    "$PYTHON" -m venv "$FOLDER" >&2 || give_up "$PYTHON can't make a venv (Debian: install python3-venv)"
    # Wheels only: a client test must not turn into a Rust build of pydantic-core.
    "$FOLDER/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --no-deps --require-hashes -r "$HERE/requirements.txt" >&2 || give_up "pip could not install the clients"
}

install_node() {
    command -v npm >/dev/null 2>&1 || give_up "npm not found: install it beside Node (Debian: npm)"
    say "installing the Node clients into $FOLDER"
    mkdir -p "$FOLDER"
    cp "$HERE/node/package.json" "$HERE/node/package-lock.json" "$FOLDER/"
    # No package's own scripts run: none of these needs one.
    (cd "$FOLDER" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) ||
        give_up "npm could not install the clients"
}

if ! { [ -e "$FOLDER/.complete" ] && works; }; then
    rm -rf "$FOLDER"
    "install_$WHICH"
    touch "$FOLDER/.complete"
fi
echo "$PRINTED"
