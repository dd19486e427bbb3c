#!/bin/sh
# Renders llama.cpp's chat templates anew, with jinja2 as transformers sets it up, and compares with tests/goldens/templates.
# Exits 1 where anything differs. To take new ones on purpose:
#
#   tests/peers/templates/run.sh --write
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
GOLDENS=$(cd "$HERE/../../goldens" && pwd)/templates
export PYTHONDONTWRITEBYTECODE=1

FOLDER=$("$HERE/../../vocabularies/fetch.sh")
ORACLE=$("$HERE/../families/install.sh")
mkdir -p "$GOLDENS"
if [ "${1:-}" = --write ]; then
    exec "$ORACLE" "$HERE/make_templates.py" "$FOLDER" "$GOLDENS"
fi
exec "$ORACLE" "$HERE/make_templates.py" --check "$FOLDER" "$GOLDENS"
