#!/usr/bin/env python3
"""Writes the named seeds of corpus/ anew: a valid file of each kind, and one for each known way to be hostile.

Inputs that a fuzzer found are kept beside them, under names that begin with `crash-`, and are left alone.
"""

import json
import struct
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


U8, U32, F32, BOOL, STRING, ARRAY = 0, 4, 6, 7, 8, 9
I32 = 5


def pair(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


def u32(key, value):
    return pair(key, U32, struct.pack("<I", value))


def f32(key, value):
    return pair(key, F32, struct.pack("<f", value))


def text(key, value):
    return pair(key, STRING, string(value))


def array(key, kind, values):
    return pair(key, ARRAY, struct.pack("<IQ", kind, len(values)) + b"".join(values))


def tensor(name, shape, kind, offset):
    return (
        string(name)
        + struct.pack("<I", len(shape))
        + b"".join(struct.pack("<Q", size) for size in shape)
        + struct.pack("<IQ", kind, offset)
    )


def gguf(pairs=(), tensors=(), data=0, version=3, counts=None):
    """A file whose header may claim other `counts` of tensors and pairs than it has."""
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, tensor_count, pair_count) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def one(shape, kind=0, offset=0, data=32):
    return gguf(tensors=[tensor("w", shape, kind, offset)], data=data)


def byte_alphabet():
    """GPT-2's characters for the 256 bytes."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 324))
    return [chr(byte if byte in own else next(other)) for byte in range(256)]


def model(tokenizer, vocabulary):
    """A whole Llama of one layer."""
    width, kv, inner = 32, 16, 64
    pairs = [
        text("general.architecture", "llama"),
        u32("llama.block_count", 1),
        u32("llama.embedding_length", width),
        u32("llama.attention.head_count", 4),
        u32("llama.attention.head_count_kv", 2),
        u32("llama.feed_forward_length", inner),
        u32("llama.context_length", 128),
        f32("llama.attention.layer_norm_rms_epsilon", 1e-5),
        f32("llama.rope.freq_base", 10000.0),
        *tokenizer,
        text("tokenizer.chat_template", CHATML),
    ]
    q8_0 = 8
    layer = "blk.0."
    shapes = [
        ("token_embd.weight", [width, vocabulary], q8_0),
        ("output_norm.weight", [width], 0),
        (layer + "attn_norm.weight", [width], 0),
        (layer + "attn_q.weight", [width, width], q8_0),
        (layer + "attn_k.weight", [width, kv], q8_0),
        (layer + "attn_v.weight", [width, kv], q8_0),
        (layer + "attn_output.weight", [width, width], q8_0),
        (layer + "ffn_norm.weight", [width], 0),
        (layer + "ffn_gate.weight", [width, inner], q8_0),
        (layer + "ffn_up.weight", [width, inner], q8_0),
        (layer + "ffn_down.weight", [inner, width], q8_0),
    ]
    tensors, end = [], 0
    for name, shape, kind in shapes:
        elements = shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors.append(tensor(name, shape, kind, end))
        end += elements * 4 if kind == 0 else elements // 32 * 34
        end += -end % 32
    return gguf(pairs, tensors, end)


def bpe_tokenizer():
    tokens = ["<|im_start|>", "<|im_end|>", *byte_alphabet(), "he", "hel"]
    return [
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", "smollm"),
        array("tokenizer.ggml.tokens", STRING, [string(token) for token in tokens]),
        array("tokenizer.ggml.token_type", I32, [struct.pack("<i", 3 if id < 2 else 1) for id in range(len(tokens))]),
        array("tokenizer.ggml.merges", STRING, [string("h e"), string("he l")]),
        u32("tokenizer.ggml.eos_token_id", 1),
    ], len(tokens)


def spm_tokenizer():
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "h", "i", "\u2581h", "hi"]
    types = [2, 3, 3, 6, 1, 1, 1, 1, 1]
    return [
        text("tokenizer.ggml.model", "llama"),
        array("tokenizer.ggml.tokens", STRING, [string(token) for token in tokens]),
        array("tokenizer.ggml.token_type", I32, [struct.pack("<i", kind) for kind in types]),
        array("tokenizer.ggml.scores", F32, [struct.pack("<f", -id) for id in range(len(tokens))]),
        u32("tokenizer.ggml.bos_token_id", 1),
        u32("tokenizer.ggml.eos_token_id", 2),
        u32("tokenizer.ggml.unknown_token_id", 0),
    ], len(tokens)


GGUF = {
    "valid-bpe": model(*bpe_tokenizer()),
    "valid-spm": model(*spm_tokenizer()),
    "empty-file": b"",
    "version-1": gguf(version=1),
    "big-endian": gguf(version=3 << 24),
    "cve-2026-7482-offset-past-end": one([8], offset=1 << 40),
    "cve-2026-7482-offset-wraps": one([8], offset=(1 << 64) - 32),
    "cve-2026-27940-size-wraps": one([1 << 16] * 4),
    "cve-2026-27940-blocks-wrap": one([1 << 60, 32], kind=8),
    "ghsa-7rxv-length": gguf(pairs=[struct.pack("<Q", (1 << 64) - 1) + bytes(16)]),
    "tensor-count": gguf(counts=((1 << 64) - 1, 0)),
    "pair-count": gguf(counts=(0, 1 << 40)),
    "array-length": gguf(pairs=[pair("tokens", ARRAY, struct.pack("<IQ", STRING, 1 << 61))]),
    "array-nesting": gguf(pairs=[pair("deep", ARRAY, struct.pack("<IQ", ARRAY, 1) * 1000)]),
    "alignment-0": gguf(pairs=[u32("general.alignment", 0)]),
    "tensor-unaligned": one([8], offset=16, data=64),
    "dimension-0": one([0], data=0),
    "overlap": gguf(tensors=[tensor("a", [16], 0, 0), tensor("b", [16], 0, 32)], data=96),
    "tensor-twice": gguf(tensors=[tensor("a", [8], 0, 0), tensor("a", [8], 0, 32)], data=64),
    "boolean-2": gguf(pairs=[pair("flag", BOOL, b"\x02")]),
    "not-utf8": gguf(pairs=[pair(b"\xff\xfe", U8, b"\x00")]),
}


def header(entries, data=b"", length=None):
    content = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


SAFETENSORS = {
    "valid": header({"__metadata__": {"format": "pt"}, "a": entry([2, 2], 0, 16), "b": entry([3], 16, 22, "BF16")}, bytes(22)),
    "empty-file": b"",
    "length-past-end": header(b"", length=(1 << 64) - 1),
    "length-100-mb": header(b"{}", length=100_000_001),
    "offset-past-end": header({"a": entry([4], 0, 16)}, bytes(8)),
    "offset-wraps": header({"a": entry([4], (1 << 64) - 16, (1 << 64) - 1)}, bytes(8)),
    "offsets-backwards": header({"a": entry([2], 8, 0)}, bytes(8)),
    "overlap": header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "hole": header({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, bytes(20)),
    "tail": header({"a": entry([2], 0, 8)}, bytes(12)),
    "dtype-mismatch": header({"a": entry([2], 0, 8, "F64")}, bytes(8)),
    "dtype-unknown": header({"a": entry([2], 0, 8, "F31")}, bytes(8)),
    "shape-wraps": header({"a": entry([1 << 32, 1 << 32, 8], 0, 8)}, bytes(8)),
    "shape-0": header({"a": entry([0], 0, 0)}),
    "half-bytes": header({"a": entry([1], 0, 1, "F4")}, bytes(1)),
    "nesting": header(b'{"a":' + b"[" * 4000, bytes(8)),
}


def tokenizer(model, **parts):
    file = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model,
    }
    return json.dumps({**file, **parts}, ensure_ascii=False).encode()


def added(id, content, special=True):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": special}


def bpe(tokens, merges=()):
    return {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": tokens if isinstance(tokens, dict) else {token: id for id, token in enumerate(tokens)},
            "merges": list(merges)}


def word_piece(tokens):
    return {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": {token: id for id, token in enumerate(tokens)}}


LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", ",", "w", "##o", "x"]
PAIR = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
             {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {token: {"id": token, "ids": [BERT.index(token)], "tokens": [token]} for token in ("[CLS]", "[SEP]")},
}
SPLIT = {"type": "Split", "pattern": {"Regex": "(a|aa|[^b])+c"}, "behavior": "Isolated", "invert": False}
UNIGRAM = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["\u2581", -1.0], ["h", -2.5], ["\u2581he", -3.0]],
           "byte_fallback": False}


def nested(kind, field, depth, leaf):
    value = leaf
    for _ in range(depth):
        value = {"type": kind, field: [value]}
    return value


TOKENIZER = {
    "valid-bpe": tokenizer(bpe([*byte_alphabet(), "</s>", "he"], ["h e"]), added_tokens=[added(256, "</s>")],
                           pre_tokenizer=LEVEL, decoder=LEVEL),
    "valid-word-piece": tokenizer(word_piece(BERT), added_tokens=[added(2, "[CLS]"), added(3, "[SEP]")],
                                  normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                                              "strip_accents": None, "lowercase": True},
                                  pre_tokenizer={"type": "BertPreTokenizer"}, post_processor=PAIR,
                                  decoder={"type": "WordPiece", "prefix": "##", "cleanup": True}),
    "valid-unigram": tokenizer(UNIGRAM, pre_tokenizer=METASPACE, decoder=METASPACE),
    "id-4294967295": tokenizer(bpe({"a": 0, "b": 4294967295}), pre_tokenizer=LEVEL, decoder=LEVEL),
    "ids-sparse": tokenizer(bpe({"a": 0, "b": 4194303}), pre_tokenizer=LEVEL, decoder=LEVEL),
    "merge-of-nothing": tokenizer(bpe(["a"], ["a b"])),
    "no-tokens": tokenizer(bpe([]), decoder=LEVEL),
    "unk-outside": tokenizer({**UNIGRAM, "unk_id": 999}, decoder=METASPACE),
    "unk-missing": tokenizer(word_piece(["x"]), decoder=LEVEL),
    "template-of-unknown-token": tokenizer(word_piece(BERT), post_processor={**PAIR, "special_tokens": {}}),
    "padding-huge": tokenizer(bpe(["a"]), padding={"strategy": {"Fixed": (1 << 63)}, "direction": "Right",
                              "pad_to_multiple_of": 0, "pad_id": 9, "pad_type_id": 0, "pad_token": "[PAD]"}),
    "truncation-stride": tokenizer(bpe(["a"]), truncation={"max_length": 1, "strategy": "LongestFirst", "stride": 9,
                                                           "direction": "Right"}),
    "pattern-backtracks": tokenizer(bpe(byte_alphabet()), pre_tokenizer=SPLIT, decoder=LEVEL),
    "pattern-invalid": tokenizer(bpe(["a"]), pre_tokenizer={**SPLIT, "pattern": {"Regex": "(("}}),
    "replace-nothing": tokenizer(bpe(["a"]), normalizer={"type": "Replace", "pattern": {"String": ""}, "content": "aa"}),
    "charsmap-damaged": tokenizer(UNIGRAM, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAAAA=="}),
    "added-empty": tokenizer(bpe(["a"]), added_tokens=[added(1, "")], decoder=LEVEL),
    "nesting": tokenizer(bpe(["a"]), normalizer=nested("Sequence", "normalizers", 60, {"type": "NFC"})),
}

LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 128, "vocab_size": 48,
    "tie_word_embeddings": True, "hidden_act": "silu", "rope_theta": 10000.0, "eos_token_id": [1, 2], "bos_token_id": 1,
}
BERT_CONFIG = {
    "model_type": "bert", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 24, "type_vocab_size": 2, "vocab_size": 48, "hidden_act": "gelu",
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4,
            "original_max_position_embeddings": 32}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head"]}
COMPRESSED = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {
    "targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": "128x128"}}}}

CONFIG = {
    "valid-llama": LLAMA,
    "valid-llama3-rope": {**LLAMA, "rope_scaling": LLAMA3},
    "valid-yarn": {**LLAMA, "rope_scaling": YARN},
    "valid-longrope": {**LLAMA, "rope_scaling": LONGROPE},
    "valid-fp8": {**LLAMA, "quantization_config": FP8},
    "valid-compressed": {**LLAMA, "quantization_config": COMPRESSED},
    "fp8-block-huge": {**LLAMA, "quantization_config": {**FP8, "weight_block_size": [2**64 - 1, 2**63]}},
    "valid-bert": BERT_CONFIG,
    "valid-roberta": {**BERT_CONFIG, "model_type": "xlm-roberta", "pad_token_id": 1},
    "valid-moe": {**LLAMA, "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
                  "head_dim": 8, "norm_topk_prob": True},
    "valid-gemma3": {**LLAMA, "model_type": "gemma3_text", "sliding_window": 16, "layer_types": ["sliding_attention"],
                     "query_pre_attn_scalar": 8, "hidden_activation": "gelu_pytorch_tanh"},
    "valid-gemma2": {**LLAMA, "model_type": "gemma2", "sliding_window": 16, "query_pre_attn_scalar": 8,
                     "hidden_activation": "gelu_pytorch_tanh", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "valid-mistral": {**LLAMA, "model_type": "mistral", "sliding_window": 16},
    "valid-mixtral": {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "valid-phi3": {**LLAMA, "model_type": "phi3", "rope_scaling": LONGROPE, "sliding_window": 16, "partial_rotary_factor": 1.0},
    "valid-qwen2": {**LLAMA, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0},
    "valid-qwen3": {**LLAMA, "model_type": "qwen3", "head_dim": 8, "rope_scaling": YARN, "layer_types": ["full_attention"]},
    "heads-0": {**LLAMA, "num_attention_heads": 0},
    "layers-4294967295": {**LLAMA, "num_hidden_layers": 4294967295},
    "context-4294967295": {**LLAMA, "max_position_embeddings": 4294967295},
    "width-negative": {**LLAMA, "hidden_size": -1},
    "head-1": {**LLAMA, "head_dim": 1},
    "theta-1e308": {**LLAMA, "rope_theta": 1e308},
    "factor-0": {**LLAMA, "rope_scaling": {**YARN, "factor": 0}},
    "beta-equal": {**LLAMA, "rope_scaling": {**YARN, "beta_fast": 1, "beta_slow": 1}},
    "longrope-short": {**LLAMA, "rope_scaling": {**LONGROPE, "long_factor": []}},
    "llama3-factors-equal": {**LLAMA, "rope_scaling": {**LLAMA3, "high_freq_factor": 1.0}},
    "pad-4294967295": {**BERT_CONFIG, "model_type": "roberta", "pad_token_id": 4294967295},
    "eos-negative": {**LLAMA, "eos_token_id": [-1]},
    "no-object": [],
}

TEMPLATE = {
    "valid-chatml": CHATML,
    "valid-llama3": "{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content']|trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}\n{{- strftime_now('%d %b %Y') }}\n"
    "{%- for message in messages %}\n{%- if not (message.role == 'ipython' or 'tool_calls' in message) %}\n"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\n"
    "{%- elif message is mapping %}{{ message | tojson(indent=4) }}{%- endif %}\n{%- endfor %}\n",
    "valid-alternation": "{% if messages[0].role == 'system' %}{% set loop_messages = messages[1:] %}{% else %}"
    "{% set loop_messages = messages %}{% endif %}{% for m in loop_messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% generation %}[INST] {{ m['content'].strip() }} [/INST]{% endgeneration %}{% endfor %}",
    "valid-macro": "{% macro turn(m) %}{{ m.role }}: {{ m.content }}{% endmacro %}{% set ns = namespace(n=0) %}"
    "{% for m in messages %}{{ turn(m) }}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "slow-loop": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "slow-text-doubles": "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    # Not here: a list that doubles, `{% set ns.l = ns.l + ns.l %}` in a loop. minijinja 3.1 copies it at depth 33 without
    # a look at the fuel, and memory runs out. Put it in once that is mended there.
    "text-repeats": "{{ 'x' * 99999999999 }}{{ ('x' * 99999999) * 99 }}",
    "indent-wide": "{{ 'x\ny' | indent(99999999999) }}{{ 'x'.center(99999999999) }}{{ '%99999999999d' % 1 }}",
    "cve-2026-5760-attributes": "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ cycler.__init__.__globals__.os.popen('id') }}",
    "cve-2026-5760-include": "{% include '/etc/passwd' %}{% import 'os' as os %}{% extends 'x' %}",
    "macro-calls-itself": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "nesting": "{{ " + "(" * 400 + "1" + ")" * 400 + " }}",
    "open-statement": "{% if messages",
    "slices": "{{ messages[-9223372036854775808:9223372036854775807:-1] }}{{ 'é'[1:] }}{{ 'éa'[::-2] }}",
    "integers": "{{ 9223372036854775807 + 1 }}{{ -9223372036854775808 // -1 }}{{ 1 % 0 }}{{ 2 ** 99999 }}",
    "dates": "{{ strftime_now('%999999999d%-') }}{{ strftime_now('%Q%:::::z%') }}",
}


def write(target, seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not old.name.startswith("crash-"):
            old.unlink()
    for name, content in seeds.items():
        (folder / name).write_bytes(content)


write("gguf", GGUF)
write("safetensors_header", SAFETENSORS)
write("tokenizer_json", TOKENIZER)
write("config_json", {name: json.dumps(config).encode() for name, config in CONFIG.items()})
write("chat_template", {name: template.encode() for name, template in TEMPLATE.items()})
