#!/usr/bin/env python3
"""How far our next-token distributions are from llama.cpp's on the same quantised file.

    divergence.py types LOGITS SMOLLM2.gguf SYNTHETIC.gguf   # both models requantised to every type; exits 1 beyond a bar
    divergence.py file LOGITS MODEL.gguf                     # one file as it is, and its greedy continuations

LOGITS is the program `next_token_logits` of inference-server/examples. Both sides read the same ids, keep keys and values
in F32, and llama.cpp computes without flash attention and straight from the file's blocks. Quantising again is llama.cpp's own:
`llama_model_quantize`, one type for all matrices whose rows it divides.

Where a type is beyond a bar, that can be a mistake, or the noise of activations rounded to 8 bits, where a last bit flips a
rounding and thirty layers multiply it. Two more figures tell: `itself` is llama.cpp against llama.cpp with flash attention and
repacked weights (AMX where the CPU has it), which differ in the order of additions alone; `exact` is how far llama.cpp and
we are from the same weights with no activation rounded. Beyond a bar, but no further than llama.cpp is from itself and no
further from exact than llama.cpp, is printed as NOISE, all else beyond a bar as WRONG. Both fail: the bar is the bar.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import gguf
import llama_cpp as lc
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from llama import Llama, cpu_name, quiet  # noqa: E402

TEXT = HERE.parent.parent / "goldens" / "smollm2" / "perplexity.txt"
CHARACTERS = 4000  # of the text: enough for the windows in every vocabulary
WINDOW, WINDOWS = 256, 2
BARS = 1e-3, 0.05  # of the mean and of the 99.9th percentile
SLACK = 1.25  # of llama.cpp's own noise: two samples of one noise are not equal
NEAR_TIE = 0.05  # as in make_goldens.py: below it, a different best token is rounding
GREEDY_TOKENS = 64
PROMPTS = ["The capital of France is", "Light is", "def fibonacci(n):\n    if n < 2:\n        return n\n", "Water boils at"]

# The type, and the file type of llama.cpp that means "all matrices in it".
TYPES = {
    "F32": lc.LLAMA_FTYPE_ALL_F32,
    "F16": lc.LLAMA_FTYPE_MOSTLY_F16,
    "BF16": lc.LLAMA_FTYPE_MOSTLY_BF16,
    "Q8_0": lc.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q6_K": lc.LLAMA_FTYPE_MOSTLY_Q6_K,
    "Q5_1": lc.LLAMA_FTYPE_MOSTLY_Q5_1,
    "Q5_0": lc.LLAMA_FTYPE_MOSTLY_Q5_0,
    "Q5_K": lc.LLAMA_FTYPE_MOSTLY_Q5_K_S,
    "Q4_1": lc.LLAMA_FTYPE_MOSTLY_Q4_1,
    "Q4_0": lc.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_K": lc.LLAMA_FTYPE_MOSTLY_Q4_K_S,
    "IQ4_NL": lc.LLAMA_FTYPE_MOSTLY_IQ4_NL,
    "IQ4_XS": lc.LLAMA_FTYPE_MOSTLY_IQ4_XS,
    "MXFP4": lc.LLAMA_FTYPE_MOSTLY_MXFP4_MOE,
    "Q3_K": lc.LLAMA_FTYPE_MOSTLY_Q3_K_S,
    "Q2_K": lc.LLAMA_FTYPE_MOSTLY_Q2_K,
}


def quantize(source, target, name):
    """All of `source`'s matrices in one type, where their rows allow it; llama.cpp picks another where not."""
    params = lc.llama_model_quantize_default_params()
    params.ftype = TYPES[name]
    params.nthread = 2
    params.allow_requantize = True
    params.pure = True
    if lc.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp could not quantise {source} to {name}")


def held(path):
    """The types of a file's matrices, and how many have each."""
    kinds = Counter(tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) > 1 and min(tensor.shape) > 1)
    return " ".join(f"{kind}:{count}" for kind, count in kinds.most_common())


def theirs(path, windows, varied=False):
    engine = Llama(path, context=WINDOW, batch=WINDOW, flash_attention=varied, repack=varied, cache_f32=True)
    rows = []
    for window in windows:
        engine.clear()
        rows.append(engine.decode(window, all_logits=True))
    engine.close()
    return np.concatenate(rows)


def ours(program, path, text, windows, folder):
    """Our tokenizer's ids of `text`, and our logits of `windows`."""
    request, output = folder / "request.json", folder / "logits.f32"
    request.write_text(json.dumps({"text": text, "windows": windows}))
    done = subprocess.run([program, path, request, output], check=True, stdout=subprocess.PIPE)
    rows = sum(len(window) for window in windows)
    logits = np.fromfile(output, dtype="<f4").reshape(rows, -1)
    output.unlink()
    return json.loads(done.stdout), logits


def divergence(truth, found):
    """KL(truth || found) in nats of each row of logits."""

    def log_softmax(row):
        row = row.astype(np.float64)
        row -= row.max()
        return row - np.log(np.exp(row).sum())

    values = np.empty(len(truth))
    for i, (p, q) in enumerate(zip(truth, found, strict=True)):
        p, q = log_softmax(p), log_softmax(q)
        values[i] = (np.exp(p) * (p - q)).sum()
    if not np.isfinite(values).all():
        raise SystemExit("a logit is not finite")
    return values


def cut(ids):
    if len(ids) < WINDOW * WINDOWS:
        raise SystemExit(f"the text has {len(ids)} tokens, not {WINDOW * WINDOWS}")
    return [ids[i * WINDOW : (i + 1) * WINDOW] for i in range(WINDOWS)]


def tokenize(path, text):
    engine = Llama(path, context=WINDOW, batch=WINDOW)
    ids = engine.tokenize(text, special=False, add_special=True)
    engine.close()
    return ids


def compare(program, path, label, folder):
    """Prints one line of the table; what is wrong, in words."""
    text = TEXT.read_text()[:CHARACTERS]
    ids = tokenize(path, text)
    windows = cut(ids)
    truth = theirs(path, windows)
    our_ids, found = ours(program, path, text, windows, folder)
    faults = [] if our_ids == ids else [f"{label}: the text has other ids than llama.cpp's"]
    figures = measured(truth, found)
    word, why = "ok", [float("nan")] * 4
    if any(figure > bar for figure, bar in zip(figures, BARS, strict=True)):
        itself = measured(truth, theirs(path, windows, varied=True))
        unrounded = folder / "exact.gguf"
        quantize(path, unrounded, "F32")
        exact = theirs(unrounded, windows)
        unrounded.unlink()
        from_exact = [divergence(exact, logits).mean() for logits in (truth, found)]
        why = [*itself, *from_exact]
        is_noise = from_exact[1] <= SLACK * from_exact[0] and all(
            figure <= max(bar, SLACK * own) for figure, own, bar in zip(figures, itself, BARS, strict=True)
        )
        word = "NOISE" if is_noise else "WRONG"
        faults.append(f"{label}: beyond a bar, " + ("as far as llama.cpp is from itself" if is_noise else "and more than noise"))
    same = (truth.argmax(axis=1) == found.argmax(axis=1)).mean()
    numbers = " ".join("       -" if np.isnan(value) else f"{value:8.1e}" for value in [*figures, *why])
    print(f"{label:17} {numbers} {same:7.1%}  {word:5}  {held(path)}", flush=True)
    return faults


def measured(truth, found):
    """Mean and 99.9th percentile of the divergence."""
    values = divergence(truth, found)
    return [values.mean(), np.quantile(values, 0.999)]


def heading():
    print(f"KL(llama.cpp || ours) in nats, {WINDOW * WINDOWS} tokens of {TEXT.name}, {cpu_name()}")
    print(f"bars: mean {BARS[0]:g}, 99.9th percentile {BARS[1]:g}; what is beyond is held to llama.cpp itself")
    print(f"{'':17} {'ours':^17} {'itself':^17} {'exact, mean':^17}")
    columns = " ".join(f"{name:>8}" for name in ["mean", "99.9 %", "mean", "99.9 %", "theirs", "ours"])
    print(f"{'':17} {columns} {'best':>7}  {'':5}  matrices")


def compare_types(program, models, only):
    heading()
    faults = []
    with tempfile.TemporaryDirectory(prefix="weighbridge-divergence-") as folder:
        folder = Path(folder)
        for name, model in models:
            exact = folder / f"{name}-f32.gguf"
            quantize(model, exact, "F32")
            for kind in only or TYPES:
                path = folder / "quantised.gguf"
                quantize(exact, path, kind)
                faults += compare(program, path, f"{name} {kind}", folder)
                path.unlink()
            exact.unlink()
    return faults


def compare_file(program, path):
    heading()
    with tempfile.TemporaryDirectory(prefix="weighbridge-divergence-") as folder:
        folder = Path(folder)
        return compare(program, path, Path(path).stem[:18], folder) + compare_greedy(program, path, folder)


def compare_greedy(program, path, folder):
    """Greedy continuations by llama.cpp; ours, fed its tokens, must choose the same but in a near-tie."""
    engine = Llama(path, context=WINDOW, batch=WINDOW, flash_attention=False, repack=False, cache_f32=True)
    records = []
    for prompt in PROMPTS:
        engine.clear()
        ids = engine.tokenize(prompt, special=False, add_special=True)
        row, chosen, gaps = engine.decode(ids)[0], [], []
        while len(chosen) < GREEDY_TOKENS:
            best, second = np.sort(row)[-1], np.sort(row)[-2]
            chosen.append(int(row.argmax()))
            gaps.append(float(best - second))
            row = engine.decode([chosen[-1]], start=len(ids) + len(chosen) - 1)[0]
        records.append((prompt, ids, chosen, gaps, engine.detokenize(chosen).decode("utf-8", "replace")))
    engine.close()
    _, logits = ours(program, path, "", [ids + chosen[:-1] for _, ids, chosen, _, _ in records], folder)
    faults, start = [], 0
    for prompt, ids, chosen, gaps, text in records:
        found = logits[start + len(ids) - 1 : start + len(ids) + len(chosen) - 1].argmax(axis=1).tolist()
        start += len(ids) + len(chosen) - 1
        first = next((step for step in range(len(chosen)) if found[step] != chosen[step]), None)
        if first is None:
            verdict = f"{len(chosen)} tokens equal"
        else:
            tie = gaps[first] < NEAR_TIE
            verdict = f"differs at token {first}, where llama.cpp leads by {gaps[first]:.3f}: {'a near-tie' if tie else 'BEYOND'}"
            if not tie:
                faults.append(f"{prompt!r}: {verdict}")
        print(f"greedy {prompt!r}: {verdict}: {text[:60]!r}…")
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    types = commands.add_parser("types")
    types.add_argument("program")
    types.add_argument("smollm2")
    types.add_argument("synthetic")
    types.add_argument("--only", nargs="*", choices=TYPES, help="these types alone")
    file = commands.add_parser("file")
    file.add_argument("program")
    file.add_argument("model")
    args = parser.parse_args()
    quiet()
    if args.command == "types":
        faults = compare_types(args.program, [("smollm2", args.smollm2), ("synthetic", args.synthetic)], args.only)
    else:
        faults = compare_file(args.program, args.model)
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
