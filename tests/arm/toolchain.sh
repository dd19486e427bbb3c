#!/usr/bin/env bash
# What builds and runs our tests for 64-bit Arm on another machine: Debian's compiler for Arm and its emulator are installed;
# its Rust (`rustc-web`, with a standard library for Arm) is only unpacked, beside the weights, for it must not stand in the
# way of the machine's own. Prints the folder that holds it.
set -euo pipefail

cache=${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/arm64
root=$cache/rust
"$(dirname "$0")/../install-packages.sh" arm
if [[ -e $root/complete ]]; then
    echo "$root"
    exit 0
fi

# Lists of our own, with Arm's packages in them: the machine's own lists stay as they are.
apt=(apt-get -qq -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 -o "Dir::State::Lists=$cache/lists")
rm -rf "$root" "$cache/lists" "$cache/packages"
mkdir -p "$root" "$cache/lists/partial" "$cache/packages"
chmod a+rx "$cache/packages"
"${apt[@]}" update >&2
version=$(apt-cache -o "Dir::State::Lists=$cache/lists" depends libstd-rust-web-dev | sed -n 's/ *Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p')
llvm=$(apt-cache -o "Dir::State::Lists=$cache/lists" depends "$version" | sed -n 's/ *Depends: \(libllvm[0-9]*\)$/\1/p')
echo "fetching Debian's Rust for Arm ($version, $llvm)" >&2
(cd "$cache/packages" && "${apt[@]}" -o APT::Sandbox::User=root download rustc-web libstd-rust-web-dev "$version" "$llvm" libz3-4 libedit2 libbsd0 \
    libstd-rust-web-dev:arm64 >&2)
for package in "$cache"/packages/*.deb; do
    dpkg-deb --extract "$package" "$root"
done
rm -rf "$cache/lists" "$cache/packages"
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu "$root/usr/bin/rustc" --version >&2
touch "$root/complete"
echo "$root"
