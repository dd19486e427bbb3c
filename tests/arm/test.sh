#!/usr/bin/env bash
# The kernels' tests, built for 64-bit Arm and run by qemu's user emulation: NEON with its dot product, and portable Rust there.
# On an Arm machine `cargo test` runs them as they are, and this has nothing to add.
set -euo pipefail
cd "$(dirname "$0")/../.."
[[ $(uname -m) == x86_64 ]] || { echo "tests/arm: this machine is $(uname -m): nothing to emulate"; exit 0; }

rust=$(tests/arm/toolchain.sh)
target=aarch64-unknown-linux-gnu
# Registry crates built once serve every checkout.
export CARGO_TARGET_DIR=${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/arm64/target
export LD_LIBRARY_PATH=$rust/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export RUSTC=$rust/usr/bin/rustc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# `max` has every extension that qemu knows, the dot product among them.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu"
export WEIGHBRIDGE_EXPECT_ISA=neon-dot
exec cargo test --locked --target "$target" -p weighbridge-kernels "$@"
