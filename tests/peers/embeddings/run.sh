#!/bin/sh
# Asks sentence-transformers again what all-MiniLM-L6-v2 makes of the texts of tests/goldens/embeddings, and says whether
# it is what is committed. Exits 1 where anything differs. To take new ones on purpose:
#
#   tests/peers/embeddings/run.sh --write
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../../.." && pwd)
GOLDEN=$ROOT/tests/goldens/embeddings/all-minilm-l6-v2.json
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/oracles
export PYTHONDONTWRITEBYTECODE=1

MODEL=$("$ROOT/examples/fetch-minilm.sh")
PY=$("$ROOT/tests/peers/families/install.sh")
KEY=$("$PY" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:16])' "$HERE/requirements.txt")
# A folder beside the environment, not in it: that one's name says what is in it.
PARTS=$CACHE/sentence-transformers-$KEY
if [ ! -d "$PARTS" ]; then
    FRESH=$(mktemp -d "$CACHE/.sentence-XXXXXX")
    trap 'rm -rf "$FRESH"' EXIT
    trap 'exit 130' HUP INT TERM
    "$PY" -m pip --disable-pip-version-check install --quiet --no-cache-dir --only-binary :all: --no-deps \
        --target "$FRESH/parts" -r "$HERE/requirements.txt" >&2
    mv "$FRESH/parts" "$PARTS" 2>/dev/null || [ -d "$PARTS" ]
fi
PYTHONPATH=$PARTS "$PY" "$HERE/make_embeddings.py" "$MODEL" "$GOLDEN" "$@"
