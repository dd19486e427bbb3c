#!/usr/bin/env bash
# Checks and measures every kernel on this machine's GPU, with what is here already: it needs no network. What was
# built elsewhere travels as two folders, so that nothing is compiled on a machine that is lent for minutes:
#
#   make kernels                                   # on any machine: target/debug/{gpu-check,bench-gpu}, target/kernels
#   PROGRAM=... BENCH=... WEIGHBRIDGE_KERNELS=... OUT=... tests/cuda/gpu-check.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
program=${PROGRAM:-$target/release/gpu-check}
if [[ ! -x $program ]]; then
    cargo build --release --locked -p weighbridge-cuda --bin gpu-check
fi
# Where Python's packages have cuBLASLt, as PyTorch's do, it is found too.
libraries=$(python3 - 2>/dev/null <<'PY' || true
import glob, site
print(":".join(p for s in site.getsitepackages() for p in glob.glob(s + "/nvidia/*/lib")))
PY
)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}${libraries:+:$libraries}
export WEIGHBRIDGE_KERNELS=${WEIGHBRIDGE_KERNELS:-$target/kernels}
out=${OUT:-$target/gpu-check}
bench=${BENCH:-$target/release/bench-gpu}
if [[ ! -x $bench ]]; then
    cargo build --release --locked -p weighbridge-tests --bin bench-gpu
fi
# Parts are kept for the card, the kernels and the programs they were of, and only where they ran.
mkdir -p "$out"
identity=$({ nvidia-smi -L; sha256sum "$WEIGHBRIDGE_KERNELS/manifest.json" "$program" "$bench"; } 2>&1 || true)
if [[ $(cat "$out/identity" 2>/dev/null) != "$identity" ]]; then
    rm -f "$out"/*.part
    echo "$identity" >"$out/identity"
fi
for part in "$out"/*.part; do
    if [[ -e $part ]] && grep -q 'NOT RUN' "$part"; then rm "$part"; fi
done
# What is wrong is told at the end: a machine that is lent for minutes measures all it can.
status=0
rm -f "$out/report.md"
"$program" --kernels "$WEIGHBRIDGE_KERNELS" --out "$out" --date "$(date +%F)" || status=$?
[[ -s $out/report.md ]] || exit "$status"

# Whole models, each part once: weights are made on this machine, in the page cache of whoever runs the next part.
for part in decode prefill coldstart; do
    [[ -s $out/model-$part.part ]] && continue
    "$bench" "$part" | tee "$out/model-$part.new"
    mv "$out/model-$part.new" "$out/model-$part.part"
done
if [[ ! -s $out/torch.part ]]; then
    python3 tests/cuda/beside_torch.py "$out/model-prefill.part" "$out/model-decode.part" | tee "$out/torch.new"
    mv "$out/torch.new" "$out/torch.part"
fi
for part in model-decode model-prefill model-coldstart torch; do
    printf '## %s\n\n' "$part"
    cat "$out/$part.part"
    echo
done >>"$out/report.md"
exit "$status"
