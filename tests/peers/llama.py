"""llama.cpp through llama-cpp-python's low-level binding: as little of it as the peers need.

The high-level `Llama` class adds sampling defaults, caches and templates of its own; goldens must
say what llama.cpp says, so everything here is a plain call of its C functions.
"""

import ctypes
import hashlib
import platform
import sys
from pathlib import Path

import llama_cpp as lc
import numpy as np


def sha256(path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def system_info() -> str:
    """What llama.cpp itself says it was built with and found."""
    return " ".join(lc.llama_print_system_info().decode().split())


@lc.llama_log_callback
def _quiet(level, text, user_data):
    # Only errors: the loader's chatter would drown the figures. Level 4 is GGML_LOG_LEVEL_ERROR.
    if level == 4:
        print(text.decode(errors="replace"), end="", file=sys.stderr)


def quiet():
    lc.llama_log_set(_quiet, ctypes.c_void_p(0))


class Llama:
    def __init__(self, path, *, context=8192, batch=512, threads=2, flash_attention=None, repack=True, cache_f32=False):
        quiet()
        lc.llama_backend_init()
        params = lc.llama_model_default_params()
        params.n_gpu_layers = 0
        # Repacked layouts (and AMX on CPUs that have it) are llama.cpp's default and its fastest; without
        # them it computes straight from the file's blocks, with the same kernels on every x86.
        params.use_extra_bufts = repack
        self.path = str(path)
        self.model = lc.llama_model_load_from_file(self.path.encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp could not load {path}")
        self.vocab = lc.llama_model_get_vocab(self.model)
        self.vocab_size = lc.llama_vocab_n_tokens(self.vocab)
        params = lc.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = batch
        # One micro-batch a batch: otherwise a prompt is cut at 512 tokens behind our back.
        params.n_ubatch = batch
        params.n_threads = threads
        params.n_threads_batch = threads
        if flash_attention is not None:
            params.flash_attn_type = 1 if flash_attention else 0
        if cache_f32:
            params.type_k = params.type_v = 0  # GGML_TYPE_F32
        self.context = lc.llama_init_from_model(self.model, params)
        if not self.context:
            raise SystemExit("llama.cpp could not make a context")
        self.batch_limit = batch
        self.threads = threads

    def close(self):
        lc.llama_free(self.context)
        lc.llama_model_free(self.model)

    def tokenize(self, text: str, *, special: bool, add_special: bool = False) -> list[int]:
        data = text.encode("utf-8", "surrogatepass")
        room = len(data) + 8
        ids = (lc.llama_token * room)()
        n = lc.llama_tokenize(self.vocab, data, len(data), ids, room, add_special, special)
        if n < 0:
            raise RuntimeError(f"llama_tokenize wants room for {-n} tokens")
        return list(ids[:n])

    def detokenize(self, ids: list[int]) -> bytes:
        """Token bytes joined, special tokens written out."""
        out = b""
        buffer = ctypes.create_string_buffer(1024)
        for token in ids:
            n = lc.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, True)
            if n < 0:
                raise RuntimeError(f"token {token} is longer than {len(buffer)} bytes")
            out += buffer.raw[:n]
        return out

    def is_end(self, token: int) -> bool:
        return bool(lc.llama_vocab_is_eog(self.vocab, token))

    def clear(self):
        lc.llama_memory_clear(lc.llama_get_memory(self.context), True)

    def decode(self, ids: list[int], *, all_logits: bool = False, start: int = 0) -> np.ndarray:
        """One batch at positions start…; logits of the last position, or of all, as f32."""
        n = len(ids)
        if not 0 < n <= self.batch_limit:
            raise ValueError(f"{n} tokens in a batch of at most {self.batch_limit}")
        batch = lc.llama_batch_init(n, 0, 1)
        try:
            batch.n_tokens = n
            for i, token in enumerate(ids):
                batch.token[i] = token
                batch.pos[i] = start + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = all_logits or i == n - 1
            status = lc.llama_decode(self.context, batch)
            if status != 0:
                raise RuntimeError(f"llama_decode returned {status}")
            rows = range(n) if all_logits else [n - 1]
            return np.stack(
                [np.ctypeslib.as_array(lc.llama_get_logits_ith(self.context, i), shape=(self.vocab_size,)) for i in rows]
            ).astype(np.float32, copy=True)
        finally:
            lc.llama_batch_free(batch)


def write_f32(source, target):
    """A copy of a GGUF with every tensor dequantised: the same weights, without 8-bit activations.

    Quantised tensors make llama.cpp round what they are multiplied with to 8 bits; on F32 tensors
    it computes in F32. That is the nearest thing to the truth that llama.cpp can be asked for.
    """
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = 0 if name == "general.file_type" else field.contents()  # 0: all F32
        writer.add_key_value(name, value, field.types[0], field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
        writer.add_tensor(tensor.name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ggml():
    """libggml-base as a ctypes library, for its quantisers and dequantisers."""
    import llama_cpp

    folder = Path(llama_cpp.__file__).parent / "lib"
    for pattern in ("libggml-base.so*", "libggml-base.dylib"):
        for path in sorted(folder.glob(pattern)):
            return ctypes.CDLL(str(path))
    raise SystemExit(f"no libggml-base in {folder}")
