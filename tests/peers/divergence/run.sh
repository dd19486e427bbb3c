#!/bin/sh
# Holds our next-token distributions to llama.cpp's: SmolLM2 and a model of random weights, quantised by llama.cpp to every
# type, then Gemma 3 270M as it is published, with its greedy continuations. Prints the tables; exits 1 where anything is
# wrong. About 15 minutes on two cores.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(cd "$HERE/../../.." && pwd)
export PYTHONDONTWRITEBYTECODE=1

SMOLLM2=$("$ROOT/examples/fetch-smollm2.sh")
GEMMA=$("$HERE/fetch-gemma3.sh")
PY=$("$HERE/../install.sh")
cd "$ROOT"
cargo build --locked -p weighbridge -p weighbridge-inference-server --bin weighbridge --example next_token_logits >&2
TARGET=${CARGO_TARGET_DIR:-target}/debug
WORK=$(mktemp -d "${TMPDIR:-/tmp}/weighbridge-divergence-XXXXXX")
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' HUP INT TERM
# Rows of 256, which all types divide: SmolLM2's 576 make llama.cpp put another type in the place of most k-quants.
"$TARGET/weighbridge" synth --family llama --shape tiny --layers 4 --vocabulary 4096 --matrices f32 --output "$WORK/synthetic.gguf" >&2

status=0
"$PY" "$HERE/divergence.py" types "$TARGET/examples/next_token_logits" "$SMOLLM2" "$WORK/synthetic.gguf" || status=1
"$PY" "$HERE/divergence.py" file "$TARGET/examples/next_token_logits" "$GEMMA" || status=1
exit $status
