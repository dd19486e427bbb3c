#!/bin/sh
# Asks the living oracles again: makes the adapters under tests/goldens/adapters anew with PEFT, compares them with the
# committed ones, and lets llama.cpp answer with the GGUF files. Exits 1 where anything differs.
# To take new ones on purpose:
#
#   tests/peers/adapters/run.sh --write
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
GOLDENS=$(cd "$HERE/../../goldens" && pwd)
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/oracles
export PYTHONDONTWRITEBYTECODE=1

ORACLE=$("$HERE/../families/install.sh")
LLAMA=$("$HERE/../install.sh")
KEY=$("$ORACLE" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:16])' "$HERE/requirements.txt")
# A folder beside the environment, not in it: that one's name says what is in it.
PARTS=$CACHE/peft-$KEY
if [ ! -d "$PARTS" ]; then
    FRESH=$(mktemp -d "$CACHE/.peft-XXXXXX")
    trap 'rm -rf "$FRESH"' EXIT
    trap 'exit 130' HUP INT TERM
    "$ORACLE" -m pip --disable-pip-version-check install --quiet --no-cache-dir --only-binary :all: --no-deps \
        --target "$FRESH/parts" -r "$HERE/requirements.txt" >&2
    mv "$FRESH/parts" "$PARTS" 2>/dev/null || [ -d "$PARTS" ]
fi
CHECK=--check
[ "${1:-}" = --write ] && CHECK=
# shellcheck disable=SC2086 # Empty is no argument.
PYTHONPATH=$PARTS "$ORACLE" "$HERE/make_adapters.py" $CHECK "$GOLDENS/families" "$GOLDENS/adapters"
"$LLAMA" "$HERE/verify_llama.py" "$GOLDENS/families" "$GOLDENS/adapters"
