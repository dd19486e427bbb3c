#!/usr/bin/env bash
# Writes what is generated in the chart: the CRDs' copies, the dashboard, and what Helm renders (golden/).
#
#   charts/generate.sh             write it
#   charts/generate.sh --check     fail where the committed files differ, and check the chart itself
#
# Helm is built from its published module, once, and cached; see tests/control-plane/build.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
chart=charts/weighbridge
helm=${HELM:-$(tests/control-plane/build.sh helm)/helm}

case ${1:-} in
"") target=$chart ;;
--check)
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
    ;;
*) echo "usage: charts/generate.sh [--check]" >&2 && exit 2 ;;
esac

# Helm refuses to read outside its chart, links included, so the CRDs are copied.
mkdir -p "$target/files" "$target/golden"
rm -rf "$target/files/crds"
cp -r crds/manifests "$target/files/crds"

render() { # NAME [OPTION…]
    local name=$1
    shift
    # The version decides nothing but whether the chart may be installed; the testbed's is as good as any.
    "$helm" template weighbridge $chart --namespace weighbridge-system --kube-version 1.34 "$@" >"$target/golden/$name.yaml"
}

# What is made in namespaces that the values name.
namespaces='operator.secretNamespaces={team-a,team-b},networkPolicy.engineNamespaces={team-a}'

if [[ $target == "$chart" ]]; then
    charts/dashboard.py
    render default
    render everything --values $chart/ci/everything-values.yaml
    render namespaces --set "$namespaces"
    exit
fi

stale() { echo "charts: $1 is stale: run \`make generate\`" >&2 && exit 1; }
charts/dashboard.py --check
diff -r $chart/files/crds "$target/files/crds" >&2 || stale $chart/files/crds
render default
render everything --values $chart/ci/everything-values.yaml
render namespaces --set "$namespaces"
diff -r $chart/golden "$target/golden" >&2 || stale $chart/golden
"$helm" lint --quiet --strict --kube-version 1.34 $chart >&2
HELM=$helm charts/check.py
