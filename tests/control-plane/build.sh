#!/usr/bin/env bash
# Builds the testbed's Kubernetes programs and prints the folder that holds them.
#
#   build.sh              kube (apiserver, controller-manager, scheduler, kubelet, kube-proxy, kubectl …)
#   build.sh helm         Helm,
#   build.sh coredns      the cluster's name server, and
#   build.sh kube-router  what enforces NetworkPolicies: only the node level needs these three
#
# The folder is named by a hash of everything that goes into the build, so an unchanged checkout
# costs nothing and two checkouts with different inputs never share a binary.
set -euo pipefail
cd "$(dirname "$0")"

KUBERNETES=1.34.4
HELM=helm.sh/helm/v3/cmd/helm@v3.19.0
COREDNS=github.com/coredns/coredns@v1.12.4
KUBE_ROUTER=github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v2.1.0
what=${1:-kube}

case $what in
kube)
    inputs=$(cat go.mod go.sum ./*.go build.sh)
    ;;
helm) inputs=$HELM ;;
coredns) inputs=$COREDNS ;;
kube-router) inputs=$KUBE_ROUTER ;;
*)
    echo "usage: build.sh [kube|helm|coredns|kube-router]" >&2
    exit 2
    ;;
esac

hash=$( (printf '%s' "$inputs"; go version) | sha256sum | cut -c1-16)
folder=${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/testbed/$hash
mkdir -p "$folder"

# Two checkouts or two test runs may ask at once: the second waits and finds the work done.
exec 9>"$folder/.lock"
flock 9

if [[ ! -x $folder/$what ]]; then
    echo "building $what once (minutes on two cores; cached in $folder)" >&2
    # Built under another name and moved, so that an interrupted build is never taken for a whole one.
    if [[ $what == kube ]]; then
        version=k8s.io/component-base/version
        CGO_ENABLED=0 nice -n 10 go build -trimpath \
            -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=34" \
            -o "$folder/.kube.new" . >&2
    else
        CGO_ENABLED=0 GOBIN=$folder/.new nice -n 10 go install -trimpath -ldflags "-s -w" "$inputs" >&2
        mv "$folder/.new/$what" "$folder/.$what.new"
        rmdir "$folder/.new"
    fi
    # A link made before the program is there is harmless, and makes the last step the only one that counts.
    if [[ $what == kube ]]; then ln -sf kube "$folder/kubectl"; fi
    mv "$folder/.$what.new" "$folder/$what"
fi
echo "$folder"
