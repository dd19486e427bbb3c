#!/usr/bin/env python3
"""Does llama.cpp, given our model.gguf, compute what transformers does?

    verify_llama.py FOLDER           # a line for each family; exits 1 where it differs by more than TOLERANCE
    verify_llama.py --write FOLDER   # and the measured differences into families.json

Runs under the peers' python (../install.sh), which has no safetensors: the format is read by hand. Differences are
shares of the largest logit. Caches are F32 here; what is left on Gemma (4e-4 and 7e-4) is GELU, which ggml looks up in a
table of half precision: transformers with such a GELU comes within 1.5e-4 of llama.cpp.
"""

import argparse
import json
import struct
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from llama import Llama  # noqa: E402

TOLERANCE = 1e-3
CONTEXT = 256


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    types = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(data[8 + size :][slice(*entry["data_offsets"])], types[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def measure(folder, case, positions):
    expected = {key.split(".", 1)[1]: value for key, value in read_safetensors(folder / "expected.safetensors").items() if key.startswith(case + ".")}
    engine = Llama(folder / "model.gguf", context=CONTEXT, batch=CONTEXT, flash_attention=False, repack=False, cache_f32=True)
    ids = expected["prompt_ids"].tolist()
    prefill, truth = engine.decode(ids, all_logits=True), expected["prefill_logits"]
    largest = np.abs(truth).max()
    apart = np.abs(prefill - truth).max(axis=1) / largest
    result = {"prefill": apart[: positions or None].max()}
    if positions is None:
        rows = [prefill[-1]]
        for step, token in enumerate(expected["greedy_ids"][:-1].tolist()):
            rows.append(engine.decode([token], start=len(ids) + step)[0])
        result["steps"] = (np.abs(np.array(rows[1:]) - expected["step_logits"]).max()) / largest
        result["greedy"] = int((np.array(rows).argmax(axis=1) == expected["greedy_ids"]).sum())
    else:
        result["beyond"] = apart[positions:].max()
    engine.close()
    return {key: value if isinstance(value, int) else float(f"{value:.1e}") for key, value in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    listed = arguments.folder / "families.json"
    head, failed, lines = json.loads(listed.read_text()), False, []
    for record in head["families"]:
        if "llama_cpp" in record:
            here = record["llama_cpp"]
            positions = None if here["positions"] == "all" else here["positions"]
            measured = measure(arguments.folder / record["name"], here["case"], positions)
            wrong = max(measured["prefill"], measured.get("steps", 0)) > TOLERANCE or measured.get("greedy", 17) != 17
            failed |= wrong
            print(f"{'DIFFERS ' if wrong else 'agrees  '} {record['name']}: {measured}")
            record["llama_cpp"] = {key: here[key] for key in ("case", "positions")} | measured
        lines.append("  " + json.dumps(record, ensure_ascii=True))
    if arguments.write:
        listed.write_text(f'{{"made_by": {json.dumps(head["made_by"], indent=2)},\n"families": [\n' + ",\n".join(lines) + "\n]}\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
