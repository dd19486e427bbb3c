#!/usr/bin/env python3
"""Does llama.cpp, given our adapter.gguf on a family's model.gguf, compute what PEFT does?

    verify_llama.py FAMILIES ADAPTERS   # a line for each; exits 1 where one differs by more than TOLERANCE

Runs under the peers' python (../install.sh). Held to as many positions as the family itself is, where llama.cpp ignores a
window. What is left on Gemma is ggml's GELU, as in ../families/verify_llama.py.
"""

import ctypes
import json
import sys
from pathlib import Path

import llama_cpp as lc
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "families")]
from llama import Llama  # noqa: E402
from verify_llama import CONTEXT, TOLERANCE, read_safetensors  # noqa: E402


def measure(model, folder, positions):
    expected = {key.split(".", 1)[1]: value for key, value in read_safetensors(folder / "expected.safetensors").items()}
    engine = Llama(model, context=CONTEXT, batch=CONTEXT, flash_attention=False, repack=False, cache_f32=True)
    adapter = lc.llama_adapter_lora_init(engine.model, str(folder / "adapter.gguf").encode())
    if not adapter:
        raise SystemExit(f"llama.cpp refuses {folder}/adapter.gguf")
    if lc.llama_set_adapters_lora(engine.context, (lc.llama_adapter_lora_p_ctypes * 1)(adapter), 1, (ctypes.c_float * 1)(1.0)):
        raise SystemExit(f"llama.cpp does not apply {folder}/adapter.gguf")
    ids = expected["prompt_ids"].tolist()
    prefill, truth = engine.decode(ids, all_logits=True), expected["prefill_logits"]
    largest = np.abs(truth).max()
    apart = np.abs(prefill - truth).max(axis=1) / largest
    if positions is not None:
        engine.close()
        return {"positions": positions, "prefill": float(f"{apart[:positions].max():.1e}")}
    rows = [prefill[-1]]
    for step, token in enumerate(expected["greedy_ids"][:-1].tolist()):
        rows.append(engine.decode([token], start=len(ids) + step)[0])
    result = {"prefill": apart.max(), "steps": np.abs(np.array(rows[1:]) - expected["step_logits"]).max() / largest}
    greedy = int((np.array(rows).argmax(axis=1) == expected["greedy_ids"]).sum())
    engine.close()
    return {key: float(f"{value:.1e}") for key, value in result.items()} | {"greedy": greedy}


def main():
    families, adapters = map(Path, sys.argv[1:])
    failed = False
    bases = {record["name"]: record.get("llama_cpp", {}) for record in json.loads((families / "families.json").read_text())["families"]}
    for record in json.loads((adapters / "adapters.json").read_text())["adapters"]:
        if record["gguf"]:
            positions = bases[record["base"]]["positions"]
            positions = None if positions == "all" else positions
            measured = measure(families / record["base"] / "model.gguf", adapters / record["name"], positions)
            wrong = max(measured["prefill"], measured.get("steps", 0)) > TOLERANCE or measured.get("greedy", 17) != 17
            failed |= wrong
            print(f"{'DIFFERS ' if wrong else 'agrees  '} {record['name']}: {measured}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
