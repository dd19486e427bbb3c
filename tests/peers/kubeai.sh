#!/usr/bin/env bash
# Builds KubeAI's controller from the checkout of its source that KUBEAI_SRC names (a work tree, or a git directory without
# one), and prints the folder of its program. Go only, some minutes once. It gets 64 workers in place of one: at its best, a
# model of every 3 s otherwise.
set -euo pipefail
src=${KUBEAI_SRC:?names a checkout of the source of KubeAI}
cache=${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}
commit=$(git -C "$src" rev-parse HEAD)
out=$cache/kubeai/$commit
if [[ ! -x $out/kubeai ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  git -C "$src" archive "$commit" | tar -x -C "$work"
  controller=$work/internal/modelcontroller/model_controller.go
  sed -i 's/^\t\tFor(&kubeaiv1.Model{})\.$/&\n\t\tWithOptions(controller.Options{MaxConcurrentReconciles: 64})./; s/^\tctrl "sigs.k8s.io\/controller-runtime"$/&\n\t"sigs.k8s.io\/controller-runtime\/pkg\/controller"/' "$controller"
  grep -q 'MaxConcurrentReconciles: 64' "$controller" || { echo "the source of KubeAI is not as it was: its workers can't be set" >&2; exit 1; }
  mkdir -p "$out"
  (cd "$work" && CGO_ENABLED=0 go build -trimpath -o "$out/kubeai.new" ./cmd) >&2
  cp "$work/manifests/crds/kubeai.org_models.yaml" "$out/models.yaml"
  mv "$out/kubeai.new" "$out/kubeai"
fi
echo "$out"
