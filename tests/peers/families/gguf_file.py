"""model.gguf beside a model.safetensors, through llama.cpp's own converter.

Only the vocabulary is ours: the converter recognises tokenisers by a digest of what they do and would refuse ours of
128 tokens, so the same tokens and merges are written here as a byte-level BPE ("gpt2").
"""

import contextlib
import io
import logging
import sys
from pathlib import Path

sys.path[:0] = [str(Path(sys.prefix) / "llama.cpp"), str(Path(sys.prefix) / "llama.cpp" / "gguf-py")]

import gguf  # noqa: E402
from conversion import get_model_class  # noqa: E402

import tiny_tokenizers  # noqa: E402


def vocabulary(writer):
    tokens = tiny_tokenizers.bpe_tokens()
    special = len(tiny_tokenizers.SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * special + [gguf.TokenType.NORMAL] * (len(tokens) - special))
    writer.add_token_merges([" ".join(merge) for merge in tiny_tokenizers.MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def adapted(base, family):
    """The converter's class with our vocabulary and, where GGUF has no field for it, Gemma's query scale folded in."""
    config = family.config
    scalar = config.get("query_pre_attn_scalar")
    fold = 1.0 if scalar is None else (config["head_dim"] / scalar) ** 0.5
    folded = "q_norm.weight" if config["model_type"] == "gemma3_text" else "q_proj.weight"

    class Adapted(base):
        model_arch = base.model_arch

        def set_vocab(self):
            vocabulary(self.gguf_writer)

        def modify_tensors(self, data_torch, name, bid):
            for mapped, value in super().modify_tensors(data_torch, name, bid):
                yield mapped, value * fold if fold != 1.0 and name.endswith(folded) else value

    return Adapted, fold != 1.0


def write(family, folder):
    """Writes the file; says in a word or two how."""
    logging.disable(logging.WARNING)
    base = get_model_class(family.config["architectures"][0])
    cls, folded = adapted(base, family)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        # llama.cpp looks into the name: in one with "phi3" it wants that model's special tokens.
        cls(folder, gguf.LlamaFileType.ALL_F32, folder / "model.gguf", model_name="tiny random").write()
    return f"{base.__name__}, query scale folded into the weights" if folded else base.__name__
