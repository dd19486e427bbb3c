#!/bin/sh
# Asks Python's `tokenizers` again for the ids of tests/goldens/tokenizers, and says whether they are what is committed.
# Exits 1 where any differs. To make new ones on purpose:
#
#   tests/peers/tokenizers/run.sh --write
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
GOLDENS=$(cd "$HERE/../../goldens" && pwd)/tokenizers
export PYTHONDONTWRITEBYTECODE=1

ORACLE=$("$HERE/../families/install.sh")
if [ "${1:-}" = --write ]; then
    exec "$ORACLE" "$HERE/make_tokenizers.py" "$GOLDENS"
fi
exec "$ORACLE" "$HERE/make_tokenizers.py" --check "$GOLDENS"
