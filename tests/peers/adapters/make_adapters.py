#!/usr/bin/env python3
"""Makes tests/goldens/adapters from PEFT: LoRA adapters of random weights on the tiny models of tests/goldens/families.

    make_adapters.py FAMILIES FOLDER           # writes them into FOLDER
    make_adapters.py --check FAMILIES FOLDER   # makes them anew and compares; exits 1 on a difference

Weights come from seeds through numpy's PCG64; the first seed is taken under which no choice of greedy decoding is close and
each addition, left out, moves the logits. `adapter.gguf` is the same adapter under llama.cpp's names, which verify_llama.py
has llama.cpp read.
"""

import argparse
import json
import sys
import tempfile
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "families")]

import numpy as np
import oracle
import torch
from families import STEPS
from safetensors.numpy import load_file, save_file

sys.path[:0] = [str(Path(sys.prefix) / "llama.cpp" / "gguf-py")]
import gguf  # noqa: E402
import peft  # noqa: E402

TOLERANCE = 1e-5
PROMPT = 40
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip

# Name of the adapter -> model, type that it is stored in, architecture in GGUF (none where one alpha cannot say it), config.
ADAPTERS = {
    "llama2-all": ("llama2", torch.float32, "llama", dict(r=4, lora_alpha=8, target_modules=ALL)),
    "llama2-patterns": ("llama2", torch.bfloat16, None, dict(
        r=4, lora_alpha=6, target_modules=r".*\.(self_attn\.[qkv]_proj|mlp\.down_proj)",
        rank_pattern={"q_proj": 7, r"layers\.1\.mlp\.down_proj": 2}, alpha_pattern={"v_proj": 12})),
    "qwen3-stabilised": ("qwen3", torch.float16, None, dict(r=3, lora_alpha=5, use_rslora=True, target_modules=ALL)),
    "gemma3-all": ("gemma3", torch.float32, "gemma3", dict(r=5, lora_alpha=10, target_modules=ALL)),
    "phi3-fused": ("phi3", torch.float32, "phi3", dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])),
}  # fmt: skip


def random(seed, name, shape):
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    # A is as large as PEFT's first guess; B is no zero, or nothing would be seen.
    return torch.from_numpy((generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32))


def outcome(model, ids):
    prefill, steps, chosen = oracle.decode(model, ids, False)
    rows = np.vstack([prefill[-1:], steps])
    best = np.sort(rows, axis=1)
    gap = float(((best[:, -1] - best[:, -2]) / np.abs(rows).max()).min())
    return prefill, steps, chosen, gap


def weakest(model, ids, prefill):
    """What leaving out one addition changes least, as a share of the largest logit."""
    least = ("", 1.0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            kept = parameter.data.clone()
            parameter.data.zero_()
            without = model(input_ids=torch.tensor([ids])).logits[0].double().numpy()
            parameter.data.copy_(kept)
            least = min(least, (name, oracle.difference(without, prefill)), key=lambda pair: pair[1])
    return least


def write_gguf(folder, architecture, heads, alpha):
    writer = gguf.GGUFWriter(folder / "adapter.gguf", architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    for name, value in sorted(load_file(folder / "adapter_model.safetensors").items()):
        module, half = name.removeprefix("base_model.model.model.layers.").removesuffix(".weight").rsplit(".", 1)
        layer, part = module.split(".", 1)
        if architecture == "llama" and half == "lora_B" and NAMES[part] in heads:
            # What llama.cpp's converter does to the rows of these matrices.
            count = heads[NAMES[part]]
            value = value.reshape(count, 2, value.shape[0] // count // 2, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(f"blk.{layer}.{NAMES[part]}.weight.{half.lower()}", np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name, families, folder):
    base, dtype, architecture, settings = ADAPTERS[name]
    for seed in range(200):
        config = peft.LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path=base, **settings)
        model = peft.get_peft_model(oracle.load(families / base), config).eval()
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.data = random(seed, key, tuple(parameter.shape)).to(dtype).float()
        ids = np.random.Generator(np.random.PCG64([seed, 1])).integers(5, 128, PROMPT).tolist()
        prefill, steps, chosen, gap = outcome(model, ids)
        least = weakest(model, ids, prefill)
        if gap >= oracle.LEAST_GAP and len(set(chosen)) >= 6 and least[1] >= oracle.LEAST_EFFECT:
            break
    else:
        raise SystemExit(f"{name}: no seed will do")
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            parameter.data = parameter.data.to(dtype)
    config.inference_mode = True
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    # As written, but for what differs from run to run.
    written = json.loads((folder / "adapter_config.json").read_text())
    written["base_model_name_or_path"] = base
    if isinstance(written["target_modules"], list):
        written["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(written, indent=2, ensure_ascii=True) + "\n")
    tensors = {"prompt_ids": np.array(ids, np.int64), "greedy_ids": np.array(chosen, np.int64)}
    tensors |= {"prefill_logits": prefill.astype(np.float32), "step_logits": steps.astype(np.float32)}
    save_file({f"main.{key}": value for key, value in tensors.items()}, folder / "expected.safetensors")
    if architecture:
        shape = model.config
        heads = {"attn_q": shape.num_attention_heads, "attn_k": shape.num_key_value_heads}
        write_gguf(folder, architecture, heads, settings["lora_alpha"])
    for path in folder.iterdir():
        path.chmod(0o644)
    record = {"name": name, "base": base, "seed": seed, "least_gap": float(f"{gap:.1e}"), "least_effect": [least[0], float(f"{least[1]:.1e}")]}
    print(record, file=sys.stderr, flush=True)
    return record | {"gguf": bool(architecture)}


def compare(name, committed, fresh):
    problems = []
    for path in sorted(fresh.iterdir()):
        if path.name == "expected.safetensors":
            old, new = load_file(committed / path.name), load_file(path)
            problems += [f"{name}: {key} differs" for key in new if new[key].dtype == np.int64 and not np.array_equal(old[key], new[key])]
            problems += [f"{name}: {key} is off" for key in new if new[key].dtype != np.int64 and oracle.difference(new[key], old[key]) > TOLERANCE]
        elif path.read_bytes() != (committed / path.name).read_bytes():
            problems.append(f"{name}: {path.name} differs")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("families", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    made_by = {"script": "tests/peers/adapters/make_adapters.py", "peft": peft.__version__, "transformers": oracle.transformers.__version__,
               "torch": torch.__version__.split("+")[0], "steps": STEPS}  # fmt: skip
    if arguments.check:
        with tempfile.TemporaryDirectory() as scratch:
            problems = []
            for name in ADAPTERS:
                make(name, arguments.families, Path(scratch) / name)
                problems += compare(name, arguments.folder / name, Path(scratch) / name)
        print("\n".join(problems) or f"{len(ADAPTERS)} adapters: as committed")
        return bool(problems)
    records = [make(name, arguments.families, arguments.folder / name) for name in ADAPTERS]
    lines = ",\n".join("  " + json.dumps(record) for record in records)
    (arguments.folder / "adapters.json").write_text(f'{{"made_by": {json.dumps(made_by, indent=2)},\n"adapters": [\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
