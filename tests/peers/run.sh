#!/bin/sh
# `make peers`: installs the living peers, makes the goldens anew and says whether they are the
# committed ones; then puts one of them behind our gateway as a provider (provider.sh). Nothing in the
# repository is changed; to take new goldens on purpose:
#
#   tests/peers/run.sh --write
#
# Exits 1 when a golden differs by more than its own tolerance, or a client's check fails.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
# Bytecode in the source tree is litter, and two runs would write it at once.
export PYTHONDONTWRITEBYTECODE=1

MODEL=$("$ROOT/examples/fetch-smollm2.sh")
PY=$("$HERE/install.sh")

if [ "${1:-}" = --write ]; then
    "$PY" "$HERE/make_goldens.py" make "$MODEL" "$ROOT/tests/goldens"
    exit 0
fi

FRESH=$(mktemp -d "${TMPDIR:-/tmp}/weighbridge-goldens-XXXXXX")
trap 'rm -rf "$FRESH"' EXIT
trap 'exit 130' HUP INT TERM
"$PY" "$HERE/make_goldens.py" make "$MODEL" "$FRESH"
"$PY" "$HERE/make_goldens.py" compare "$ROOT/tests/goldens" "$FRESH"
"$HERE/provider.sh"
