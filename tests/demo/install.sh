# Part of demo.sh: the chart, a team's namespace, a key and a claim with weights.
# shellcheck shell=bash

step "Install with Helm, into a namespace under Pod Security restricted"
show kubectl apply -f - <<<'{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "weighbridge-system",
    "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}'
again=$(helm list --namespace weighbridge-system --short)
show helm upgrade --install weighbridge charts/weighbridge --namespace weighbridge-system --wait --timeout 120s
if [[ -n $again ]]; then
    # The images may have been built anew under the tag that runs already.
    show kubectl -n weighbridge-system rollout restart deployments
    show kubectl -n weighbridge-system rollout status deployments --timeout=120s
fi
show kubectl -n weighbridge-system get pods -o wide

step "A team's namespace, restricted too: a pod that is not is refused, ours have to pass"
show kubectl apply -f "$here/namespace.yaml"
show kubectl get namespaces -L pod-security.kubernetes.io/enforce
if kubectl -n demo run root --image=images.weighbridge.local/gateway:none --dry-run=server 2>"$work/refused"; then
    fail "Pod Security let a pod through that says nothing about its user"
fi
head -c 200 "$work/refused"; echo …

step "A key for callers: the cluster gets its hash, and the team's models"
# As `weighbridge key create` makes one; that program is not built for this.
OPENAI_API_KEY=$("$client" -c 'import secrets; print("wb-" + secrets.token_urlsafe(32))')
export OPENAI_API_KEY
HASH=$(printf %s "$OPENAI_API_KEY" | sha256sum | cut -d ' ' -f 1)
filled "$here/access.yaml" HASH | show kubectl apply -f -
# curl reads it from there: a key never stands in a command line.
printf 'authorization: Bearer %s\n' "$OPENAI_API_KEY" >"$work/authorization"

step "A claim with the weights: a folder of this node, read-only"
filled "$here/models.yaml" MODELS NODE | kubectl apply -f -
until_true 30 kubectl -n demo wait --for=jsonpath='{.status.phase}'=Bound pvc/models --timeout=1s
