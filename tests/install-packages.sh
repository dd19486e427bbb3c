#!/usr/bin/env bash
# Installs the Debian packages that the testbed runs on, only those that are missing.
#
#   install-packages.sh control-plane     etcd and setpriv: all that most tests need
#   install-packages.sh compilers         the C++ compiler that runs CUDA kernels on the CPU
#   install-packages.sh images            what builds and checks container images
#   install-packages.sh arm               what builds for 64-bit Arm and emulates it
#   install-packages.sh gateways          the upstream that gateways are measured in front of
#   install-packages.sh node              also a container runtime, its network plugins and tools
set -euo pipefail

packages=(etcd-server util-linux)
case ${1:-control-plane} in
control-plane) ;;
compilers) packages=(g++) ;;
images) packages=(buildah binutils gcc) ;;
gateways) packages=(nginx) ;;
arm) packages=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user) ;;
node)
    packages+=(containerd runc containernetworking-plugins iptables nftables conntrack socat
        iproute2 ipset buildah prometheus)
    ;;
*)
    echo "usage: install-packages.sh [control-plane|compilers|images|gateways|arm|node]" >&2
    exit 2
    ;;
esac

look() {
    missing=()
    for package in "${packages[@]}"; do
        state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
        [[ $state == installed ]] || missing+=("$package")
    done
}
look
((${#missing[@]} == 0)) && exit 0

if ((EUID != 0)); then
    echo "the tests need these Debian packages: ${missing[*]} (install them, or run this once as root)" >&2
    exit 1
fi
# Two tests may come here at once, and apt waits for nobody's lists.
exec 9>/run/lock/weighbridge-packages
flock 9
look
((${#missing[@]} == 0)) && exit 0
echo "installing for the tests: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
