# Part of demo.sh: S=outage. Operator and apiserver are gone for $AWAY seconds, and callers notice nothing.
# shellcheck shell=bash

AWAY=${AWAY:-600}
[[ $AWAY =~ ^[1-9][0-9]*$ ]] || fail "SECONDS=$AWAY: how long the outage lasts, in seconds"
no_operator() { [[ -z $(kubectl -n weighbridge-system get pods -l app.kubernetes.io/component=operator -o name) ]]; }
no_apiserver() { ! kubectl get --raw /livez --request-timeout=2s; }

step "The operator goes, and then the apiserver"
replicas=$(kubectl -n weighbridge-system get deployment weighbridge-operator -o jsonpath='{.spec.replicas}')
show kubectl -n weighbridge-system scale deployment weighbridge-operator --replicas=0
until_true 60 no_operator
apiserver_away=yes
show "$TESTBED" apiserver stop
until_true 20 no_apiserver
begun=$(now)

step "$AWAY seconds without either, under load"
sleep "$AWAY"
kill -0 "${logs[load.log]}" || fail "the load ended by itself"
no_apiserver >/dev/null 2>&1 || fail "the apiserver came back by itself"
figure outage_seconds "$(since "$begun")" s

step "Both come back, and the model is as it was"
show "$TESTBED" apiserver start
until_true 120 kubectl get --raw /readyz
apiserver_away=
show kubectl -n weighbridge-system scale deployment weighbridge-operator --replicas="$replicas"
show kubectl -n weighbridge-system rollout status deployment weighbridge-operator --timeout=120s
await --for=condition=Ready modeldeployment/steady --timeout=60s
until_true 120 rolled_out none
