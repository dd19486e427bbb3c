"""What sentence-transformers makes of some texts with all-MiniLM-L6-v2, as tests/goldens/embeddings holds it.

    make_embeddings.py MODEL GOLDEN            compares
    make_embeddings.py MODEL GOLDEN --write    takes new ones
"""

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import sentence_transformers
import torch
import transformers

# Languages and scripts, what a normaliser changes, what a vocabulary lacks, special tokens as text, nothing at all, and
# texts at and beyond the 256 tokens that the folder allows.
TEXTS = {
    "english": "The quick brown fox jumps over the lazy dog.",
    "question": "Why is the sky blue?",
    "german": "Größe, Straße, Übermut: drei Wörter mit Umlauten.",
    "french": "Où est la bibliothèque ? Elle est fermée à midi.",
    "spanish": "¿Cuánto cuesta el billete de ida y vuelta?",
    "turkish": "İstanbul'da ılık bir yağmur yağıyor.",
    "vietnamese": "Trời hôm nay đẹp quá, chúng ta đi dạo nhé.",
    "russian": "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "greek": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "arabic": "السماء زرقاء لأن الهواء يشتت الضوء الأزرق.",
    "hebrew": "שלום עולם, מה שלומך היום?",
    "hindi": "आसमान नीला क्यों है?",
    "chinese": "天空为什么是蓝色的?因为空气散射蓝光。",
    "japanese": "吾輩は猫である。名前はまだ無い。",
    "korean": "하늘은 왜 파란가요?",
    "thai": "ทำไมท้องฟ้าถึงเป็นสีฟ้า",
    "emoji": "🦀 Rust ☕ 👩‍👩‍👧‍👦 🇫🇷",
    "combining": "Cafe\u0301 nai\u0308ve ﬁne Ａｌｐｈａ ½",
    "control": "a\u0000b\ufffdc\u200bd\u00ade\tf\r\ng",
    "special": "[CLS] a [SEP] b [MASK] [PAD] [UNK]",
    "code": "fn main() { println!(\"{}\", 1 << 20); } // x_y-z",
    "numbers": "3.14159 1,000,000 1e-12 0xFF +49 (0)30 123456",
    "long word": "donaudampfschifffahrtsgesellschaftskapitaen" * 3,
    "empty": "",
    "blanks": " \n\t ",
    "254 words": "word " * 254,
    "400 words": "sky blue " * 200,
}


def vectors(folder):
    torch.set_num_threads(1)
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    assert model.max_seq_length == 256, model.max_seq_length
    # One at a time: padding must not be part of what is compared.
    return {name: model.encode([text], convert_to_numpy=True)[0].astype("<f4") for name, text in TEXTS.items()}


def main():
    folder, golden = Path(sys.argv[1]), Path(sys.argv[2])
    found = vectors(str(folder))
    if "--write" in sys.argv:
        document = {
            "made_by": {
                "script": "tests/peers/embeddings/make_embeddings.py",
                "sentence_transformers": sentence_transformers.__version__,
                "transformers": transformers.__version__,
                "torch": torch.__version__.split("+")[0],
                "model_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
                "vectors": "base64 of 384 little-endian f32 each",
            },
            "texts": [
                {"name": name, "text": text, "vector": base64.b64encode(found[name].tobytes()).decode()}
                for name, text in TEXTS.items()
            ],
        }
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")
        return
    committed = json.loads(golden.read_text())["texts"]
    assert {entry["name"]: entry["text"] for entry in committed} == TEXTS, "other texts: --write takes new ones"
    worst = 1.0
    for entry in committed:
        before = numpy.frombuffer(base64.b64decode(entry["vector"]), dtype="<f4")
        cosine = float(before @ found[entry["name"]])
        worst = min(worst, cosine)
        if cosine < 0.999999:
            print(f"{entry['name']}: cosine {cosine} to the committed vector")
    print(f"embeddings: least cosine {worst:.8f} to what is committed")
    sys.exit(worst < 0.999999)


main()
