#!/bin/sh
# Makes (once) the virtual environment with the official client SDKs and prints its python.
#
#   PY=$(tests/clients/install.sh) && "$PY" tests/clients/openai_client.py --base-url … --model …
#
# It lies in the cache, outside the repository, in a folder named by what is in it: another Python
# or another requirements.txt gives another folder, so two checkouts never fight over one venv.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/clients

say() { echo "clients: $*" >&2; }
command -v "$PYTHON" >/dev/null 2>&1 || { say "$PYTHON not found: install Python 3.9 or newer"; exit 1; }

KEY=$("$PYTHON" - "$HERE/requirements.txt" <<'PY'
import hashlib, sys
h = hashlib.sha256(open(sys.argv[1], "rb").read())
h.update(f"{sys.version} {sys.base_prefix}".encode())
print(h.hexdigest()[:16])
PY
)
VENV=$CACHE/venv-$KEY
if [ -e "$VENV/.complete" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    echo "$VENV/bin/python"
    exit 0
fi

mkdir -p "$CACHE"
# Two test programs may get here together. The lock is a folder (mkdir is atomic everywhere, flock
# isn't on macOS); a lock whose owner died is taken over.
LOCK=$CACHE/.lock-$KEY
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
if [ ! -e "$VENV/.complete" ]; then
    say "installing the OpenAI client into $VENV"
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV" >&2 || { say "$PYTHON can't make a venv (Debian: install python3-venv)"; exit 1; }
    # Wheels only: a client test must not turn into a Rust build of pydantic-core.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --no-deps -r "$HERE/requirements.txt" >&2
    touch "$VENV/.complete"
fi
echo "$VENV/bin/python"
