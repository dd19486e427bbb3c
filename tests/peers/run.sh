#!/bin/sh
# `make peers`: installs the living peers, makes the goldens anew and says whether they are the committed ones, step by
# step; then holds our quantised numbers to llama.cpp's (divergence/), and puts it behind our gateway as a provider
# (provider.sh), and behind LiteLLM, which speaks other dialects (litellm.sh). Nothing in the repository is changed; to take
# new goldens of llama.cpp on purpose:
#
#   tests/peers/run.sh --write          # families/, templates/ and embeddings/ have a run.sh --write of their own
#
# Every step runs, whatever became of those before; exits 1 where any failed, and names it.
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

FAILED=
step() {
    NAME=$1
    shift
    printf '\n== %s\n' "$NAME"
    "$@" || { FAILED="$FAILED
  $NAME"; echo "FAILED: $NAME" >&2; }
}
goldens() {
    "$PY" "$HERE/make_goldens.py" make "$MODEL" "$FRESH" &&
        "$PY" "$HERE/make_goldens.py" compare "$ROOT/tests/goldens" "$FRESH"
}

step "llama.cpp on SmolLM2, and its dequantisation" goldens
step "transformers on every family, and llama.cpp on their GGUF files" "$HERE/families/run.sh"
step "PEFT's adapters on tiny models, and llama.cpp on their GGUF files" "$HERE/adapters/run.sh"
step "Python's tokenizers on a tokenizer.json of each shape" "$HERE/tokenizers/run.sh"
step "jinja2 as transformers has it, on 70 chat templates" "$HERE/templates/run.sh"
step "sentence-transformers on all-MiniLM-L6-v2" "$HERE/embeddings/run.sh"
step "divergence from llama.cpp, type by type, and on Gemma 3" "$HERE/divergence/run.sh"
step "llama.cpp's server as a provider behind our gateway" "$HERE/provider.sh"
step "LiteLLM in front of it, which speaks Anthropic's and Gemini's dialects, as providers behind our gateway" "$HERE/litellm.sh"
if [ -n "$FAILED" ]; then
    echo "peers: failed:$FAILED" >&2
    exit 1
fi
