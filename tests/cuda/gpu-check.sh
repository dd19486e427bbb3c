#!/usr/bin/env bash
# Checks and measures every kernel, and whole models, on this machine's GPU, with what is here already: it needs no network.
# What was built elsewhere travels as two programs and a folder, so that nothing is compiled on a machine that is lent for
# minutes:
#
#   make gpu-programs kernels         # on any machine: target/release/{gpu-check,bench-gpu}, target/kernels
#   PROGRAM=... BENCH=... WEIGHBRIDGE_KERNELS=... OUT=... tests/cuda/gpu-check.sh
#
# A part that succeeds is kept and not run twice; one that fails ends no other. The report has what there is after each.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
program=${PROGRAM:-$target/release/gpu-check}
bench=${BENCH:-$target/release/bench-gpu}
if [[ ! -x $program || ! -x $bench ]]; then
    # A build of a quarter of an hour, to be told then that there is nothing to check.
    python3 -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null ||
        { echo "gpu-check: no CUDA driver: there is no libcuda.so.1 on this machine. With NVIDIA's driver, of CUDA 13.0 or later, it builds what it runs and checks this machine's GPU" >&2; exit 1; }
    make --no-print-directory gpu-programs
fi
for built in "$program" "$bench"; do
    [[ -x $built ]] || { echo "$built is no program: PROGRAM and BENCH name what make gpu-programs builds" >&2; exit 2; }
done
# Where Python's packages have cuBLASLt, as PyTorch's do, it is found too.
libraries=$(python3 - 2>/dev/null <<'PY' || true
import glob, site
print(":".join(p for s in site.getsitepackages() for p in glob.glob(s + "/nvidia/*/lib")))
PY
)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}${libraries:+:$libraries}
export WEIGHBRIDGE_KERNELS=${WEIGHBRIDGE_KERNELS:-$target/kernels}
out=${OUT:-$target/gpu-check}
mkdir -p "$out"

# Parts are kept for the card, the libraries, the kernels and the programs they were of, and only where they ran.
identity=$({ nvidia-smi -L; echo "$LD_LIBRARY_PATH"; sha256sum "$WEIGHBRIDGE_KERNELS/manifest.json" "$program" "$bench"; } 2>&1 || true)
if [[ $(cat "$out/identity" 2>/dev/null) != "$identity" ]]; then
    rm -f "$out"/*.part
    echo "$identity" >"$out/identity"
fi
for part in "$out"/*.part; do
    if [[ -e $part ]] && grep -q 'NOT RUN' "$part"; then rm "$part"; fi
done
rm -f "$out"/*.failed "$out"/*.new

parts=(card correctness models products attention prefill model-decode model-prefill model-coldstart torch
    memcheck-kernels memcheck-models racecheck-kernels)
failed=()

# Puts together what there is.
report() {
    local part waiting=()
    for part in "${parts[@]}"; do
        if [[ -s $out/$part.part ]]; then
            ! grep -q 'NOT RUN' "$out/$part.part" || waiting+=("$part")
        elif [[ ! -e $out/$part.failed ]]; then
            waiting+=("$part")
        fi
    done
    {
        printf '# GPU check, %s\n\nFailed: %s. Did not run, whole or in part: %s.\n\n' "$(date +%F)" "${failed[*]:-none}" "${waiting[*]:-none}"
        for part in "${parts[@]}"; do
            printf '## %s\n\n' "$part"
            if [[ -s $out/$part.part ]]; then
                cat "$out/$part.part"
            elif [[ -e $out/$part.failed ]]; then
                cat "$out/$part.failed"
            else
                echo "DID NOT RUN"
            fi
            echo
        done
    } >"$out/report.new"
    mv "$out/report.new" "$out/report.md"
}

# Runs a part unless it is kept: NAME COMMAND...
run() {
    local part=$1 ended=0
    shift
    [[ ! -s $out/$part.part ]] || return 0
    echo "== $part"
    "$@" 2>&1 | tee "$out/$part.new" || ended=$?
    if ((ended == 0)); then
        mv "$out/$part.new" "$out/$part.part"
    else
        printf '\nFAILED: it ended with status %s\n' "$ended" | tee -a "$out/$part.new"
        mv "$out/$part.new" "$out/$part.failed"
        failed+=("$part")
    fi
    report
}

kernels() { "$program" --kernels "$WEIGHBRIDGE_KERNELS" --compiled "$out/compiled" --part "$@"; }

# Under NVIDIA's checker: TOOL COMMAND... It makes kernels slow, and has so many seconds.
sanitized() {
    local tool=$1
    shift
    if ! command -v compute-sanitizer >/dev/null; then
        echo "NOT RUN: compute-sanitizer, which is part of CUDA's toolkit, is not on the PATH"
        return 0
    fi
    timeout "${SANITIZER_SECONDS:-300}" compute-sanitizer --tool "$tool" --error-exitcode 9 "$@"
}

run card kernels card
# With no card there is nothing to do.
if [[ -s $out/card.part ]]; then
    run correctness kernels correctness
    run models "$bench" models
    for part in products attention prefill; do run $part kernels $part; done
    # Weights are made on this machine, in the page cache of whoever runs the next part.
    for part in decode prefill coldstart; do run model-$part "$bench" $part; done
    run torch python3 tests/cuda/beside_torch.py "$out/model-prefill.part" "$out/model-decode.part"
    smallest=("$program" --kernels "$WEIGHBRIDGE_KERNELS" --compiled "$out/compiled" --part correctness --smallest)
    run memcheck-kernels sanitized memcheck "${smallest[@]}"
    run memcheck-models sanitized memcheck "$bench" models
    run racecheck-kernels sanitized racecheck "${smallest[@]}"
fi
report
echo "report: $out/report.md"
if ((${#failed[@]} > 0)); then
    echo "failed: ${failed[*]}" >&2
    exit 1
fi
