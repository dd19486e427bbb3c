#!/usr/bin/env bash
# Part of `make peers`: providers whose dialects nobody here wrote. LiteLLM stands in front of llama.cpp's server and speaks
# Anthropic's and Gemini's; `weighbridge up` puts both, and llama.cpp itself, behind one URL; each vendor's client talks to each.
set -euo pipefail
cd "$(dirname "$0")/../.."
called=peers
source tests/demo/lib.sh
source tests/peers/server.sh

peer=$(tests/peers/install.sh)
litellm=$(tests/peers/gateways/install.sh python)
client=$(tests/clients/install.sh)
weights=$(examples/fetch-smollm2.sh)
cargo build -q --release --locked -p weighbridge
weighbridge=${CARGO_TARGET_DIR:-target}/release/weighbridge

work=$(mktemp -d)
processes=()
stop() {
    local status=$?
    ((status == 0)) || tail -n 20 "$work"/*.log >&2 || true
    for process in "${processes[@]}"; do kill "$process" 2>/dev/null && wait "$process" || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' HUP INT TERM

free_port() { "$client" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
secret() { "$client" -c 'import secrets; print("sk-" + secrets.token_hex(24))'; }

step "llama.cpp's server, and LiteLLM in front of it"
key=$(secret) litellm_key=$(secret) port=$(free_port)
LLAMA=http://127.0.0.1:$port
llama_cpp_server "$peer" "$weights" 127.0.0.1 "$port" "$key" >"$work/llama.log" 2>&1 &
processes+=($!)
until_true 60 curl -fsS -H "authorization: Bearer $key" "$LLAMA/v1/models"
port=$(free_port)
LITELLM=http://127.0.0.1:$port
cat >"$work/litellm.yaml" <<YAML
model_list:
  - model_name: smollm2
    litellm_params: { model: hosted_vllm/smollm2-llama-cpp, api_base: $LLAMA/v1, api_key: $key }
general_settings: { master_key: $litellm_key }
router_settings: { disable_cooldowns: true }
YAML
LITELLM_LOCAL_MODEL_COST_MAP=True "$litellm" -m litellm.proxy.proxy_cli --config "$work/litellm.yaml" \
    --host 127.0.0.1 --port "$port" --num_workers 1 --telemetry False >"$work/litellm.log" 2>&1 &
processes+=($!)
until_true 120 curl -fsS "$LITELLM/health/liveliness"

step "weighbridge up: three dialects upstream, behind one URL"
filled tests/peers/litellm.yaml LLAMA LITELLM >"$work/models.yaml"
LLAMA_KEY=$key LITELLM_KEY=$litellm_key "$weighbridge" up -f "$work/models.yaml" --secret llama/api-key=env:LLAMA_KEY \
    --secret litellm/api-key=env:LITELLM_KEY --listen 127.0.0.1:0 >"$work/up.log" 2>&1 &
processes+=($!)
until_true 60 grep -q 'serves at' "$work/up.log"
url=$(sed -n 's|.*serves at \(.*\)/v1$|\1|p' "$work/up.log")

step "Each vendor's client at each of them"
"$client" tests/peers/litellm_clients.py "$url" openai anthropic gemini
for key in "$key" "$litellm_key"; do
    ! grep -qF "$key" "$work/up.log" || fail "a key is in what weighbridge said"
done
