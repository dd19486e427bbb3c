# Part of demo.sh: tokens from both worlds through one URL, and what Prometheus and the dashboard say about them.
# shellcheck shell=bash

dashboard=charts/weighbridge/dashboards/weighbridge.json
counts=$work/counts.json
models=(demo/smollm2 demo/fast)

step "A real Prometheus scrapes operator, gateways, engine and proxy"
prometheus=127.0.0.1:$(free_port 127.0.0.1)
TARGETS=$work/targets.yaml
# Ours, without those that are on their way out: COMPONENT NAMESPACE NAME ADDRESS.
pods() {
    kubectl get pods -A -l app.kubernetes.io/name=weighbridge -o go-template='{{range .items}}{{if not .metadata.deletionTimestamp -}}
        {{index .metadata.labels "app.kubernetes.io/component"}} {{.metadata.namespace}} {{.metadata.name}} {{.status.podIP}}{{"\n"}}{{end}}{{end}}'
}
pods | awk '{ printf "- targets: [\"%s:9090\"]\n  labels: {component: %s, namespace: %s, pod: %s}\n", $4, $1, $2, $3 }' >"$TARGETS"
filled "$here/prometheus.yaml" TARGETS >"$work/prometheus.yaml"
background prometheus.log prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/prometheus" \
    --web.listen-address="$prometheus" --log.level=warn
ask() { curl -fsS --get "http://$prometheus/api/v1/query" --data-urlencode "query=$1"; }
panels() { "$client" "$here/panels.py" "$@" --prometheus "http://$prometheus" --dashboard "$dashboard" --counts "$counts"; }
every_component_is_up() { ask 'count(count by (component) (up == 1)) == 4 and on() sum(up == bool 0) == 0' | grep -q '"value"'; }
until_answers prometheus.log 30 every_component_is_up
pods | awk '{ print "up", $1, $3 }'
for address in $(pods | awk '{ print $4 }'); do
    curl -fsS "http://$address:9090/metrics" | "$client" "$here/classic.py" | promtool check metrics ||
        fail "the metrics of $address break Prometheus's conventions"
done
# Where this is not the first run, the counters go on from there.
panels totals

step "A chat through the gateway's Service, with curl"
chats_begun=$(now)
gateway=$(kubectl -n weighbridge-system get service weighbridge-gateway -o jsonpath='{.spec.clusterIP}')
chat() { # URL MODEL
    curl -sS "$1/v1/chat/completions" -H @"$work/authorization" -H 'content-type: application/json' \
        -d '{"model": "'"$2"'", "messages": [{"role": "user", "content": "What is the capital of Germany?"}], "max_tokens": 24, "temperature": 0}'
}
echo "\$ curl http://$gateway/v1/models"
[[ $(curl -sS -o "$work/refused" -w '%{http_code}' "http://$gateway/v1/models") == 401 ]] || fail "it answers without a key"
cat "$work/refused" && echo
echo "\$ curl http://$gateway/v1/models -H 'authorization: Bearer wb-…'"
until_true 10 curl -fsS -H @"$work/authorization" "http://$gateway/v1/models"
curl -fsS -H @"$work/authorization" "http://$gateway/v1/models" && echo
for model in "${models[@]}"; do
    echo "\$ curl http://$gateway/v1/chat/completions -d '{\"model\": \"$model\", …}'"
    chat "http://$gateway" "$model" | "$client" "$here/counts.py" "$counts" "$model"
done
# Each gateway once: a counter that begins with its first request has no rate for that one.
for address in $(pods | awk '$1 == "gateway" { print $4 }'); do
    for model in "${models[@]}"; do
        chat "http://$address:8080" "$model" | "$client" "$here/counts.py" "$counts" "$model" >/dev/null
    done
done

step "Round the gateway, to the pods themselves: nobody gets in, though no NetworkPolicy is enforced here"
while read -r component namespace name address; do
    [[ $component == engine || $component == provider-proxy ]] || continue
    echo "\$ curl http://$address:8000/v1/models     # $component $namespace/$name"
    [[ $(curl -s -o "$work/refused" -w '%{http_code}' "http://$address:8000/v1/models") == 400 ]] || fail "$name answers plain http"
    cat "$work/refused"
    echo "\$ curl --insecure https://$address:8000/v1/models"
    ! curl -sS --insecure "https://$address:8000/v1/models" 2>&1 || fail "$name answers without a certificate"
done < <(pods)
show kubectl get secrets -A -l app.kubernetes.io/managed-by=weighbridge

step "The official OpenAI client, streaming and not"
panels wait
"$client" "$here/talk.py" --base-url "http://$gateway/v1" --counts "$counts" "${models[@]}"

step "Every query of the Grafana dashboard, by that Prometheus"
panels wait
panels show --since "$chats_begun" || fail "the dashboard doesn't say what happened"

step "The whole list of checks with the official OpenAI client"
"$client" tests/clients/openai_client.py --base-url "http://$gateway/v1" --model demo/smollm2 --bare-model smollm2
"$client" tests/clients/openai_client.py --base-url "http://$gateway/v1" --model demo/fast --bare-model fast \
    "${beyond_llama_cpp[@]/#/--skip=}"

step "The provider's key is in its Secret and in the proxy, and nowhere else; the callers' key is nowhere"
{
    kubectl get pods,deployments,replicasets,services,configmaps,events,networkpolicies,mdep,xprov,maccess -A -o yaml
    while read -r _ namespace name address; do
        kubectl -n "$namespace" logs "$name"
        curl -fsS "http://$address:9090/metrics"
    done < <(pods)
} >"$work/everything-said" 2>&1
! grep -qF -e "$key" -e "$OPENAI_API_KEY" -e 'PRIVATE KEY' "$work/everything-said" || fail "a key got out"
echo "not in $(wc -l <"$work/everything-said") lines of objects, logs and metrics"

# Of several operators, the one that works.
pod=$(kubectl -n weighbridge-system get lease weighbridge-operator -o jsonpath='{.spec.holderIdentity}')
figure operator_rss_mb "$(awk '/^VmRSS/ { printf "%.1f", $2 * 1024 / 1e6 }' "/proc/$(container_process weighbridge-system "$pod")/status")" MB
