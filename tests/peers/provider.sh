#!/usr/bin/env bash
# Part of `make peers`: an ExternalProvider whose other end is another implementation. llama.cpp's Python server asks for
# a key; `weighbridge up` puts it and our own engine behind one URL; the official OpenAI client talks to both.
set -euo pipefail
cd "$(dirname "$0")/../.."
called=peers
source tests/demo/lib.sh
source tests/peers/server.sh

peer=$(tests/peers/install.sh)
client=$(tests/clients/install.sh)
weights=$(examples/fetch-smollm2.sh)
cargo build -q --release --locked -p weighbridge
weighbridge=${CARGO_TARGET_DIR:-target}/release/weighbridge

work=$(mktemp -d)
server='' door=''
stop() {
    local status=$?
    ((status == 0)) || tail -n 20 "$work"/*.log >&2 || true
    for process in $door $server; do kill "$process" 2>/dev/null && wait "$process" || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' HUP INT TERM

step "A closed API: llama.cpp's Python server behind a key"
key=$("$client" -c 'import secrets; print("sk-" + secrets.token_hex(24))')
port=$("$client" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
UPSTREAM=http://127.0.0.1:$port/v1
llama_cpp_server "$peer" "$weights" 127.0.0.1 "$port" "$key" >"$work/llama.log" 2>&1 &
server=$!
until_true 60 curl -fsS -H "authorization: Bearer $key" "$UPSTREAM/models"
[[ $(curl -s -o /dev/null -w '%{http_code}' "$UPSTREAM/models") == 401 ]] || fail "the closed API answers without a key"
echo "$UPSTREAM answers with the key, and 401 without"

step "weighbridge up: that API and our own engine behind one URL"
{ cat examples/smollm2.yaml && echo --- && closed_api smollm2-llama-cpp; } >"$work/models.yaml"
LLAMA_KEY=$key "$weighbridge" up -f "$work/models.yaml" --claim models="$(dirname "$weights")" \
    --secret acme/api-key=env:LLAMA_KEY --listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
door=$!
until_true 60 grep -q 'serves at' "$work/up.log"
url=$(sed -n 's/.*serves at //p' "$work/up.log")
curl -fsS "$url/models" && echo

step "The official OpenAI client, at our engine"
"$client" tests/clients/openai_client.py --base-url "$url" --model default/smollm2 --bare-model smollm2

step "The same client, the same URL, another model name: llama.cpp"
"$client" tests/clients/openai_client.py --base-url "$url" --model default/fast --bare-model fast \
    "${beyond_llama_cpp[@]/#/--skip=}"
! grep -qF "$key" "$work/up.log" || fail "the key is in what weighbridge said"

step "Both end when told to"
kill -INT "$door"
wait "$door" || fail "weighbridge up ended with status $?"
door=''
kill -INT "$server"
# What it makes of a signal is its own; that it is gone is what counts.
wait "$server" || true
server=''
! curl -fsS --max-time 5 "$UPSTREAM/models" 2>/dev/null || fail "the closed API still answers"
