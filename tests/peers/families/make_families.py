#!/usr/bin/env python3
"""Makes tests/goldens/families from HF transformers: tiny random models of every family and what they compute.

    make_families.py FOLDER [NAME…]           # writes them into FOLDER
    make_families.py --check FOLDER [NAME…]   # makes them anew and compares; exits 1 on a difference

tests/goldens/README.md says what the files hold. Weights and prompts come from seeds through numpy's PCG64; the first
seed is taken under which no choice is close, F32 is near F64, and nothing in the model can be overlooked unseen.
Files must come out byte for byte, `expected.safetensors` within TOLERANCE of the largest logit.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

import gguf_file
import oracle
import tiny_tokenizers
from families import FAMILIES

TOLERANCE = 1e-5
SEEDS = 200


def make(name, family, folder):
    folder.mkdir(parents=True)
    oracle.write_config(folder, family.config)
    (folder / "tokenizer.json").write_text(
        json.dumps(tiny_tokenizers.for_model_type(family.config["model_type"]), ensure_ascii=True, separators=(",", ":")) + "\n"
    )
    shapes, config = oracle.tensor_shapes(family)
    newer = json.loads(config.to_json_string())
    newer.pop("_name_or_path", None)
    (folder / "config.transformers5.json").write_text(json.dumps(newer, indent=2, ensure_ascii=True) + "\n")
    rejected = []
    for seed in range(SEEDS):
        weights = oracle.make_weights(family, seed, shapes)
        oracle.write_weights(folder, weights, family.shards)
        try:
            tensors, facts = oracle.expect(family, seed, folder)
            effects = oracle.ablate(family, folder, weights, tensors)
            break
        except oracle.Rejected as why:
            rejected.append(str(why))
    else:
        raise SystemExit(f"{name}: none of {SEEDS} seeds will do: {rejected[-3:]}")
    save_file(tensors, folder / "expected.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors writes for its owner alone
    record = {"name": name, "kind": family.kind, "architecture": family.config["architectures"][0], "seed": seed}
    record |= {key: float(f"{value:.1e}") for key, value in facts.items()}
    record["least_effect"] = [min(effects, key=effects.get), float(f"{min(effects.values()):.1e}")]
    record["parameters"] = sum(value.size for value in weights.values())
    if family.cases and family.kind == "decoder":
        record["cases"] = list(family.cases)
    if family.kind == "decoder" and family.gguf != "":
        record["gguf"] = gguf_file.write(family, folder)
        if family.gguf:
            record["gguf_note"] = family.gguf
        if family.llama_positions != 0:
            record["llama_cpp"] = {"case": family.gguf_case, "positions": family.llama_positions or "all"}
    if family.llama_note:
        record["llama_cpp_note"] = family.llama_note
    print(f"{name}: seed {seed} ({len(rejected)} rejected), f32 {facts['f32_error']:.1e}, gap {facts.get('least_gap', 0):.1e}, "
          f"weakest {record['least_effect']}", file=sys.stderr, flush=True)  # fmt: skip
    return record


def index(records):
    made_by = {
        "script": "tests/peers/families/make_families.py", "transformers": transformers.__version__, "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__, "arithmetic": "float32, eager attention, CPU, one thread", "converter": "llama.cpp in llama-cpp-python 0.3.36",
    }  # fmt: skip
    lines = ",\n".join("  " + json.dumps(record, ensure_ascii=True) for record in records)
    return f'{{"made_by": {json.dumps(made_by, indent=2)},\n"families": [\n{lines}\n]}}\n'


def compare(name, committed, fresh):
    """Differences, in words."""
    problems = []
    ours, theirs = (sorted(path.name for path in folder.iterdir()) if folder.exists() else [] for folder in (committed, fresh))
    if ours != theirs:
        return [f"{name}: files {ours}, made anew {theirs}"]
    for file in ours:
        if file == "expected.safetensors":
            old, new = load_file(committed / file), load_file(fresh / file)
            if {key: value.shape for key, value in old.items()} != {key: value.shape for key, value in new.items()}:
                problems.append(f"{name}: {file} holds other tensors")
                continue
            for key, value in old.items():
                if value.dtype == np.int64:
                    if not np.array_equal(value, new[key]):
                        problems.append(f"{name}: {key} differs")
                elif oracle.difference(new[key], value) > TOLERANCE:
                    problems.append(f"{name}: {key} is {oracle.difference(new[key], value):.1e} off")
        elif (committed / file).read_bytes() != (fresh / file).read_bytes():
            problems.append(f"{name}: {file} differs")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(FAMILIES):
        parser.error(f"no such family: {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    names = arguments.names or list(FAMILIES)
    with tempfile.TemporaryDirectory(dir=None if arguments.check else arguments.folder.parent) as scratch:
        fresh = Path(scratch)
        records = {name: make(name, FAMILIES[name], fresh / name) for name in names}
        listed = arguments.folder / "families.json"
        before = {record["name"]: record for record in json.loads(listed.read_text())["families"]} if listed.exists() else {}
        if arguments.check:
            problems = [problem for name in names for problem in compare(name, arguments.folder / name, fresh / name)]
            problems += [f"{name}: seed {before.get(name, {}).get('seed')}, made anew {records[name]['seed']}"
                         for name in names if before.get(name, {}).get("seed") != records[name]["seed"]]  # fmt: skip
            if not arguments.names:
                left = {path.name for path in arguments.folder.iterdir() if path.is_dir()} - set(FAMILIES)
                problems += [f"{name}: no such family" for name in sorted(left)]
            print("\n".join(problems) or f"{len(names)} families on {platform.machine()}: as committed")
            return bool(problems)
        arguments.folder.mkdir(exist_ok=True)
        for name in names:
            target = arguments.folder / name
            if target.exists():
                for path in target.iterdir():
                    path.unlink()
                target.rmdir()
            (fresh / name).rename(target)
        listed.write_text(index([{**before, **records}[name] for name in FAMILIES if name in {**before, **records}]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
