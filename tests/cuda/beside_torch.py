#!/usr/bin/env python3
"""What PyTorch and transformers reach on this card for the shapes that ours was measured with, and ours over theirs.

    beside_torch.py [PART...]    # files with lines `figure NAME VALUE UNIT` of ours, from the same run

NOT RUN, with why, where there is no PyTorch that sees a card, or no transformers. DEVICE=cpu LAYERS=1 is for looking at
this program itself where there is no card.
"""

import os
import re
import sys
import time

try:
    import torch
except ImportError:
    torch = None

DEVICE = os.environ.get("DEVICE", "cuda")
if torch is None or (DEVICE == "cuda" and not torch.cuda.is_available()):
    print("NOT RUN: no PyTorch that sees a card")
    raise SystemExit(0)

# Llama 3 8B: rows and columns of a layer's matrices, and the head's.
HIDDEN, INNER, KV, VOCABULARY = 4096, 14336, 1024, 128256
LAYERS = int(os.environ.get("LAYERS", "32"))
LAYER = [(HIDDEN, HIDDEN), (KV, HIDDEN), (KV, HIDDEN), (HIDDEN, HIDDEN), (INNER, HIDDEN), (INNER, HIDDEN), (HIDDEN, INNER)]
TOKENS, DEPTH, STEPS, ROUNDS = 2048, 512, 32, 9


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def median_seconds(run):
    for _ in range(3):
        run()
    times = []
    for _ in range(ROUNDS):
        synchronize()
        began = time.perf_counter()
        run()
        synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times)[ROUNDS // 2]


def figure(name, value, unit):
    print(f"figure {name} {value:.4g} {unit}")


def ours(paths):
    found = {}
    # A part that failed left none.
    for path in filter(os.path.exists, paths):
        with open(path) as part:
            found.update((name, float(value)) for name, value in re.findall(r"^figure (\S+) (\S+)", part.read(), re.M))
    return found


def matmuls():
    """Seconds of a prefill's products alone: each of a layer's matrices once, times the layers."""
    seconds = 0.0
    for rows, columns in LAYER:
        x = torch.randn(TOKENS, columns, device=DEVICE, dtype=torch.bfloat16)
        weights = torch.randn(rows, columns, device=DEVICE, dtype=torch.bfloat16)
        seconds += median_seconds(lambda: x @ weights.T)
    return seconds * LAYERS


def decode():
    """Tokens a second of transformers' own model with random weights, one stream, its own cache of keys and values."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=32,
                         num_key_value_heads=8, vocab_size=VOCABULARY, max_position_embeddings=8192)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        model = LlamaForCausalLM(config).eval()
    with torch.inference_mode():
        out = model(torch.zeros(1, DEPTH, dtype=torch.long, device=DEVICE), use_cache=True)
        cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        began = None
        for step in range(STEPS + 3):
            if step == 3:
                synchronize()
                began = time.perf_counter()
            out = model(token, past_key_values=cache, use_cache=True)
            cache, token = out.past_key_values, out.logits[:, -1:].argmax(-1)
        synchronize()
        return STEPS / (time.perf_counter() - began)


known = ours(sys.argv[1:])
seconds = matmuls()
figure("torch_matmul_prefill_tokens_per_second", TOKENS / seconds, "tokens/s")
if "bf16_prefill_tokens_per_second" in known:
    figure("prefill_of_torch", known["bf16_prefill_tokens_per_second"] / (TOKENS / seconds), "ratio")
try:
    rate = decode()
except ImportError as problem:
    print(f"NOT RUN: transformers: {problem}")
else:
    figure("transformers_decode_tokens_per_second", rate, "tokens/s")
    if "bf16_decode_tokens_per_second" in known:
        figure("decode_over_transformers", known["bf16_decode_tokens_per_second"] / rate, "ratio")
