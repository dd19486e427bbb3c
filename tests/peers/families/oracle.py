"""transformers as the oracle: random weights, what it computes with them, and whether that is worth keeping."""

import json
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig

from families import STEPS

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.set_grad_enabled(False)

# A first token that is the best by less than this share of the largest logit may be another one in another engine.
LEAST_GAP = 1e-3
# F32 against F64, as a share of the largest logit: more would leave no room under the bar of 1e-4.
MOST_ERROR = 1e-5
# What overlooking a part of the model must at least change, as a share of the largest logit.
LEAST_EFFECT = 1e-3


class Rejected(Exception):
    """These weights make no good golden: take the next seed."""


def generator(seed, name):
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


def bf16(values):
    """Rounded to what BF16 holds: the same model in BF16 is exactly the same model, and F32 files compress to half."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def random_tensor(family, seed, name, shape):
    values = generator(seed, name).standard_normal(shape)
    leaf = name.rsplit(".", 2)[-2]
    if name.endswith(".bias"):
        values *= 0.3
    elif len(shape) == 1:
        values = values * 0.25 + (0.0 if family.norm_plus_one else 1.0)
    elif leaf in ("embed_tokens", "word_embeddings"):
        # Tied, they are the output matrix too; were they larger, the last token would always win again.
        tied = family.config.get("tie_word_embeddings", family.kind == "decoder")
        values *= 0.2 if family.norm_plus_one else 0.4 if tied else 1.0
    elif leaf in ("position_embeddings", "token_type_embeddings"):
        values *= 0.5
    else:
        # Scores with a deviation of about two: attention that prefers some tokens and forgets none.
        gain = {"q_proj": 1.5, "k_proj": 1.5, "query": 1.5, "key": 1.5, "qkv_proj": 1.4, "lm_head": 3.0, "gate": 2.0}.get(leaf, 1.2)
        values *= gain / np.sqrt(shape[-1])
    return bf16(values)


def model_class(config):
    return getattr(transformers, config["architectures"][0])


def write_config(folder, config):
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=True) + "\n")


def load(folder, dtype=torch.float32):
    """The model of a folder as transformers sees it, and nothing missing or left over."""
    config = json.loads((folder / "config.json").read_text())
    model, report = model_class(config).from_pretrained(folder, dtype=dtype, attn_implementation="eager", output_loading_info=True)
    if hasattr(model.config, "num_local_experts"):
        model.set_experts_implementation("eager")
    wrong = {key: value for key, value in report.items() if value}
    if wrong:
        raise SystemExit(f"{folder}: {wrong}")
    return model.eval()


def tensor_shapes(family):
    """Names and shapes as a checkpoint has them: transformers keeps some (Mixtral's experts) otherwise in memory."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        write_config(scratch, family.config)
        model = model_class(family.config)(AutoConfig.from_pretrained(scratch))
        model.save_pretrained(scratch / "saved")
        from safetensors import safe_open

        with safe_open(scratch / "saved" / "model.safetensors", "np") as f:
            return {name: tuple(f.get_slice(name).get_shape()) for name in sorted(f.keys())}, model.config


def make_weights(family, seed, shapes):
    return {name: random_tensor(family, seed, name, shape) for name, shape in shapes.items()}


def write_weights(folder, weights, shards):
    """One file, or shards with an index, cut between layers as real ones are: anywhere."""
    if shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(weights)
    total = sum(value.nbytes for value in weights.values())
    where, held, filled = {}, [{} for _ in range(shards)], 0
    for name in names:
        part = min(filled * shards // total, shards - 1)
        held[part][name] = weights[name]
        where[name] = f"model-{part + 1:05}-of-{shards:05}.safetensors"
        filled += weights[name].nbytes
    for part, tensors in enumerate(held):
        save_file(tensors, folder / f"model-{part + 1:05}-of-{shards:05}.safetensors", metadata={"format": "pt"})
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


class InDouble(TorchFunctionMode):
    """Turns the casts to F32 inside transformers' forward passes (norms, softmax, rotary angles) into casts to F64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.float:
            return args[0].double()
        if kwargs.get("dtype") is torch.float32:
            kwargs["dtype"] = torch.float64
        args = tuple(torch.float64 if argument is torch.float32 else argument for argument in args)
        return function(*args, **kwargs)


def prompt(family, seed, case, length):
    # From 5 on: no special token of any family.
    return generator(seed, f"prompt {case}").integers(5, family.config["vocab_size"], length).tolist()


def decode(model, ids, recompute, forced=None):
    """Logits of the prompt at every position, of STEPS steps after it, and the tokens that argmax chose."""
    out = model(input_ids=torch.tensor([ids]), use_cache=True)
    prefill, cache = out.logits[0], out.cache
    chosen, steps = [int(prefill[-1].argmax())], []
    for step in range(STEPS):
        token = chosen[-1] if forced is None else forced[step]
        if recompute:
            logits = model(input_ids=torch.tensor([ids + (chosen if forced is None else forced)[: step + 1]]), use_cache=False).logits[0, -1]
        else:
            out = model(input_ids=torch.tensor([[token]]), cache=cache, use_cache=True)
            logits, cache = out.logits[0, -1], out.cache
        steps.append(logits)
        chosen.append(int(logits.argmax()))
    return prefill.double().numpy(), torch.stack(steps).double().numpy(), chosen


def difference(one, other):
    return float(np.abs(one - other).max() / np.abs(other).max())


def expect_decoder(family, seed, model, double):
    tensors, facts = {}, {"f32_error": 0.0, "least_gap": 1.0}
    for case, length in family.cases.items():
        ids = prompt(family, seed, case, length)
        recompute = case in family.recomputed
        prefill, steps, chosen = decode(model, ids, recompute)
        with InDouble():
            exact_prefill, exact_steps, exact = decode(double, ids, recompute, forced=chosen)
        facts["f32_error"] = max(facts["f32_error"], difference(prefill, exact_prefill), difference(steps, exact_steps))
        rows = np.vstack([exact_prefill[-1:], exact_steps])
        best = np.sort(rows, axis=1)
        facts["least_gap"] = min(facts["least_gap"], float(((best[:, -1] - best[:, -2]) / np.abs(rows).max()).min()))
        if exact != chosen:
            raise Rejected("F32 and F64 choose other tokens")
        if len(set(chosen)) < 6:
            raise Rejected("greedy decoding repeats itself")
        if not recompute:
            # transformers against itself: the cache must not change the numbers.
            whole = model(input_ids=torch.tensor([ids + chosen[:-1]])).logits[0, length:].double().numpy()
            facts["cache_against_whole"] = max(facts.get("cache_against_whole", 0.0), difference(steps, whole))
        else:
            generated = model.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, length, dtype=torch.long), max_new_tokens=STEPS + 1, do_sample=False,
                eos_token_id=None, output_logits=True, return_dict_in_generate=True,
            )  # fmt: skip
            if generated.sequences[0, length:].tolist() != chosen:
                raise SystemExit(f"{case}: generate() chooses other tokens")
            facts["recomputed_against_generate"] = difference(torch.cat(generated.logits)[1:].double().numpy(), steps)
        tensors[f"{case}.prompt_ids"] = np.array(ids, dtype=np.int64)
        tensors[f"{case}.prefill_logits"] = prefill.astype(np.float32)
        tensors[f"{case}.step_logits"] = steps.astype(np.float32)
        tensors[f"{case}.greedy_ids"] = np.array(chosen, dtype=np.int64)
    return tensors, facts


def sequences(family, seed):
    """Token ids with the special tokens around, and token types: singles for embedders, pairs for rerankers."""
    xlm = family.config["model_type"] == "xlm-roberta"
    start, end = (0, 2) if xlm else (2, 3)
    result = []
    for index, (first, second) in enumerate([(1, 3), (7, 9), (17, 12), (40, 20)]):
        draw = generator(seed, f"sequence {index}").integers(5, family.config["vocab_size"] - 1, first + second).tolist()
        ids, types = [start, *draw[:first], end], [0] * (first + 2)
        if family.kind == "reranker":
            ids += ([end] if xlm else []) + draw[first:] + [end]
            types += [0] * (second + 2) if xlm else [1] * (second + 1)
        result.append((ids, types))
    return result


def encode(model, ids, types, mask=None):
    out = model(
        input_ids=torch.tensor(ids), token_type_ids=torch.tensor(types),
        attention_mask=torch.ones(np.shape(ids), dtype=torch.long) if mask is None else torch.tensor(mask),
    )  # fmt: skip
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state).double().numpy()


def unit(vector):
    return vector / np.linalg.norm(vector)


def expect_encoder(family, seed, model, double):
    tensors, facts, alone = {}, {"f32_error": 0.0}, []
    rows = sequences(family, seed)
    for index, (ids, types) in enumerate(rows):
        values = encode(model, [ids], [types])[0]
        with InDouble():
            exact = encode(double, [ids], [types])[0]
        facts["f32_error"] = max(facts["f32_error"], difference(values, exact))
        tensors[f"s{index}.input_ids"] = np.array(ids, dtype=np.int64)
        tensors[f"s{index}.token_type_ids"] = np.array(types, dtype=np.int64)
        if family.kind == "reranker":
            tensors[f"s{index}.logits"] = values.astype(np.float32)
            tensors[f"s{index}.score"] = (1 / (1 + np.exp(-values))).astype(np.float32)
        else:
            tensors[f"s{index}.last_hidden_state"] = values.astype(np.float32)
            tensors[f"s{index}.mean"] = unit(values.mean(axis=0)).astype(np.float32)
            tensors[f"s{index}.cls"] = unit(values[0]).astype(np.float32)
        alone.append(values)
    # Padded into one batch, as a server would run them: the same numbers.
    longest = max(len(ids) for ids, _ in rows)
    fill = lambda row, value: list(row) + [value] * (longest - len(row))  # noqa: E731
    batch = encode(
        model, [fill(ids, family.config["pad_token_id"]) for ids, _ in rows], [fill(types, 0) for _, types in rows],
        [fill([1] * len(ids), 0) for ids, _ in rows],
    )  # fmt: skip
    facts["batch_against_alone"] = max(
        difference(row if family.kind == "reranker" else row[: len(values)], values) for row, values in zip(batch, alone)
    )
    if family.kind == "reranker" and np.ptp([values[0] for values in alone]) < 0.5:
        raise Rejected("all pairs score alike")
    return tensors, facts


def expect(family, seed, folder):
    model, double = load(folder), load(folder).double()
    tensors, facts = (expect_decoder if family.kind == "decoder" else expect_encoder)(family, seed, model, double)
    if facts["f32_error"] > MOST_ERROR:
        raise Rejected(f"F32 is {facts['f32_error']:.1e} from F64")
    if facts.get("least_gap", 1.0) < LEAST_GAP:
        raise Rejected(f"a near-tie: {facts['least_gap']:.1e}")
    return tensors, facts


def outcome(family, model, tensors):
    """What the ablations are compared by: everything that was expected, in one row."""
    if family.kind == "decoder":
        case = next(iter(family.cases))
        return model(input_ids=torch.tensor([tensors[f"{case}.prompt_ids"].tolist()])).logits[0].double().numpy()
    rows = [(tensors[f"s{index}.input_ids"].tolist(), tensors[f"s{index}.token_type_ids"].tolist()) for index in range(4)]
    return np.concatenate([encode(model, [ids], [types]).ravel() for ids, types in rows])


def ablate(family, folder, weights, tensors):
    """How far each part of the model and each field of its config moves the logits when it is overlooked."""
    truth = outcome(family, load(folder), tensors)
    effects = {}

    def measure(name, config, changed):
        with tempfile.TemporaryDirectory() as scratch:
            scratch = Path(scratch)
            write_config(scratch, config)
            write_weights(scratch, changed, 1)
            effects[name] = difference(outcome(family, load(scratch), tensors), truth)

    newer = json.loads((folder / "config.transformers5.json").read_text())
    measure("newer config", newer, weights)
    if effects.pop("newer config") != 0:
        raise SystemExit(f"{folder.name}: config.transformers5.json is not the same model")
    kinds = {}
    for name, value in weights.items():
        if value.ndim == 1:
            kinds.setdefault(".".join(part for part in name.split(".") if not part.isdigit()), []).append(name)
    for kind, names in kinds.items():
        if kind.endswith("attention.self.key.bias") or (family.kind == "embedder" and "pooler" in kind):
            continue  # no position in it: the softmax cancels it; the pooler is in the file and not in the embedding
        neutral = 0.0 if kind.endswith(".bias") or family.norm_plus_one else 1.0
        measure(kind, family.config, weights | {name: np.full_like(weights[name], neutral) for name in names})
    if family.norm_plus_one:
        norms = [name for name, value in weights.items() if value.ndim == 1]
        measure("norm + 1", family.config, weights | {name: weights[name] - 1 for name in norms})
    for name, change in family.ablations.items():
        measure(name, family.config | change, weights)
    weak = {name: effect for name, effect in effects.items() if effect < LEAST_EFFECT}
    if weak:
        raise Rejected(f"would not show: {weak}")
    return effects
