#!/usr/bin/env bash
# Runs one benchmark program, whose flags may follow. Each prints `figure NAME VALUE UNIT` lines and writes target/bench/NAME.json.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
shift || true
programs=${CARGO_TARGET_DIR:-target}/release
case $name in
  cpu-decode | cpu-prefill | cpu-contention) examples/fetch-smollm2.sh >/dev/null; tests/peers/install.sh ;;
  coldstart) examples/fetch-smollm2.sh >/dev/null; cargo build --release --locked -p weighbridge ;;
  gateway | gateway-stream | gateway-idle)
    cargo build --release --locked -p weighbridge-gateway
    cargo build --release --locked -p weighbridge-tests --bin gateway-upstream
    ;;
  operator)
    tests/install-packages.sh
    tests/control-plane/build.sh >/dev/null
    cargo build --release --locked -p weighbridge-operator
    cargo build --release --locked -p weighbridge-tests --bin testbed --bin bench-operator
    exec "$programs/testbed" run -- "$programs/bench-operator"
    ;;
  operator-1000)
    tests/install-packages.sh
    tests/control-plane/build.sh >/dev/null
    cargo build --release --locked -p weighbridge-operator
    cargo build --release --locked -p weighbridge-tests --bin testbed --bin bench-operator-1000
    if [[ -n ${KUBEAI_SRC:-} ]]; then KUBEAI=$(tests/peers/kubeai.sh) && export KUBEAI; fi
    exec "$programs/testbed" run -- "$programs/bench-operator-1000" "$@"
    ;;
  gpu-models | gpu-decode | gpu-prefill | gpu-coldstart)
    cargo build --release --locked -p weighbridge-tests --bin bench-gpu
    exec "$programs/bench-gpu" "${name#gpu-}" "$@"
    ;;
  *) echo "no benchmark is called '$name': B is one of cpu-decode, cpu-prefill, cpu-contention, coldstart, gateway, gateway-stream, gateway-idle, operator, operator-1000, gpu-models, gpu-decode, gpu-prefill, gpu-coldstart" >&2; exit 2 ;;
esac
cargo build --release --locked -p weighbridge-tests --bin "bench-$name"
exec "$programs/bench-$name" "$@"
