#!/usr/bin/env bash
# Prints what a node could leave on this machine, so that a `diff` of before and after shows it:
#
#   tests/machine-state.sh >before; make cluster-up; make cluster-down; tests/machine-state.sh | diff before -
set -euo pipefail

section() { printf '== %s\n' "$1"; }

section processes
# By name only, because numbers differ: a node's programs, and what our images run. Dead ones hold nothing but
# their number until process 1 buries them.
ps -eo stat,args --no-headers | awk '$1 !~ /^Z/ {print $2, $3}' |
    grep -E '(containerd|coredns|/kube|etcd|testbed serve)|^/(pause|probe|weighbridge)' | sort || true
section mounts
# Image builds mount and unmount at any time; they are not a node's.
awk '{print $5}' /proc/self/mountinfo | grep -v 'buildah\|/target/images/' | sort
section links
ip -o link | awk '{print $2}' | sort
section addresses
ip -o address show scope global | awk '{print $2, $4}' | sort
section routes
ip route show table all | sort
section rules
ip rule show
section nftables
nft list ruleset 2>/dev/null || true
section "sets of addresses"
ipset list -name 2>/dev/null || true
section "kernel settings"
sysctl -a 2>/dev/null |
    grep -E '^(kernel\.(panic|keys)|vm\.(overcommit|panic)|net\.(ipv[46]\.(ip_forward|conf\.(all|default|lo)\.)|bridge|netfilter\.nf_conntrack_(max|tcp)))' |
    grep -v stable_secret || true
section "control groups"
find /sys/fs/cgroup -maxdepth 2 -type d -name 'kubepods*' | sort
section files
# Where these programs write whatever they are told.
for place in /etc/cni /opt/cni /opt/containerd /run/containerd /run/netns /var/lib/cni /var/lib/kubelet \
    /var/lib/containerd /var/log/containers /var/log/pods /usr/libexec/kubernetes; do
    find "$place" 2>/dev/null || true
done
find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'weighbridge-node*' | sort
