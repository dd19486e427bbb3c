#!/usr/bin/env bash
# Makes the signatures here anew, with the signer of OpenSSF: pip install model-signing==1.1.1 pyopenssl. The key is thrown away.
set -euo pipefail
cd "$(dirname "$0")"
key=$(mktemp)
trap 'rm -f "$key"' EXIT
openssl ecparam -name prime256v1 -genkey -noout -out "$key"
openssl pkey -in "$key" -pubout -out public.pem
rm -rf model && mkdir -p model/1_Pooling
printf 'weights' >model/weights.bin
printf '{"a": 1}' >model/config.json
printf '{}' >model/1_Pooling/config.json
model_signing sign key --private_key "$key" --signature model/model.sig model
model_signing sign key --private_key "$key" --signature weights.sig model/weights.bin
