#!/bin/sh
# Asks the living oracles again: makes the fixtures under tests/goldens/families anew with transformers, compares them
# with the committed ones, and lets llama.cpp answer from the GGUF files. Exits 1 where anything differs.
# To take new ones on purpose:
#
#   tests/peers/families/run.sh --write
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
GOLDENS=$(cd "$HERE/../../goldens" && pwd)/families
export PYTHONDONTWRITEBYTECODE=1

ORACLE=$("$HERE/install.sh")
LLAMA=$("$HERE/../install.sh")
if [ "${1:-}" = --write ]; then
    "$ORACLE" "$HERE/make_families.py" "$GOLDENS"
    "$LLAMA" "$HERE/verify_llama.py" --write "$GOLDENS"
    exit 0
fi
"$ORACLE" "$HERE/make_families.py" --check "$GOLDENS"
"$LLAMA" "$HERE/verify_llama.py" "$GOLDENS"
