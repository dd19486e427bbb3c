# Part of demo.sh: a provider that is not ours.
# shellcheck shell=bash

step "A closed API: llama.cpp's Python server on the node's address, behind a key"
key=$("$client" -c 'import secrets; print("sk-" + secrets.token_hex(24))')
port=$(free_port "$node_address")
UPSTREAM=http://$node_address:$port/v1
background llama.log llama_cpp_server "$peer" "$weights" "$node_address" "$port" "$key"
until_answers llama.log 60 curl -fsS -H "authorization: Bearer $key" "$UPSTREAM/models"
[[ $(curl -s -o /dev/null -w '%{http_code}' "$UPSTREAM/models") == 401 ]] || fail "the closed API answers without a key"
# Through a pipe: a key never stands in a command line.
printf %s "$key" | kubectl -n demo create secret generic acme --from-file=api-key=/dev/stdin --dry-run=client -o yaml |
    kubectl apply -f -
echo "$UPSTREAM answers with the key, and 401 without"
