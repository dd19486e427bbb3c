"""Makes tests/goldens/tokenizers: a small `tokenizer.json` of each shape that model families publish, trained here, and what
Python's `tokenizers` makes of texts in many scripts with it: the ids, and the text that they give back.

    make_tokenizers.py GOLDENS          # writes
    make_tokenizers.py --check GOLDENS  # compares with what is there
"""

import json
import pathlib
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import tokenization_cases as texts  # noqa: E402

SAMPLE = HERE.parent.parent / "goldens" / "smollm2"
ENGLISH, MULTILINGUAL = SAMPLE / "perplexity.txt", SAMPLE / "multilingual.txt"
CASES = texts.SCRIPTS + texts.EMOJI + texts.WHITESPACE + texts.SPECIAL_LOOKALIKES
WORDS = 700

# How Llama 3 and Qwen2 split words, as their files have it.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(split, normalizer=None, first=None):
    """BPE over GPT-2's alphabet, words split by `split`, or by GPT-2's own rule."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=split == LLAMA3))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    tokenizer.pre_tokenizer = level if split is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), level])
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    train(tokenizer, trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if first:
        begin(tokenizer, first)
    return tokenizer


def spaced(normalizer, pre_tokenizer, decoder):
    """BPE over text whose spaces are ▁, with a token for each byte (Llama 2, Mistral, Gemma)."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    special = ["<unk>", "<s>", "</s>", "<start_of_turn>"]
    # Without a pre-tokenizer a line is one word; trained words must not be whole lines.
    tokenizer.pre_tokenizer = tokenizer.pre_tokenizer or pre_tokenizers.Split("▁", "merged_with_next")
    train(tokenizer, trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special + BYTES, limit_alphabet=200))
    document = json.loads(tokenizer.to_str())
    document["pre_tokenizer"] = json.loads(tokenizer.to_str())["pre_tokenizer"] if pre_tokenizer else None
    # As the families' files have it: bytes are words of the vocabulary, and no added tokens.
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.decoder = decoder
    begin(tokenizer, "<s>")
    return tokenizer


def word_piece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    train(tokenizer, trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]")))
    return tokenizer


def unigram():
    """As XLM-RoBERTa's, but for its map of characters, which SentencePiece alone can make."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    train(tokenizer, trainers.UnigramTrainer(vocab_size=WORDS, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>"), [ENGLISH])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    around(tokenizer, "<s> $A </s>", ["<s>", "</s>"])
    return tokenizer


def train(tokenizer, trainer, corpus=(ENGLISH, MULTILINGUAL)):
    trainer.show_progress = False
    lines = [line for path in corpus for line in path.read_text().splitlines(keepends=True)]
    tokenizer.train_from_iterator(lines, trainer)


def begin(tokenizer, first):
    around(tokenizer, f"{first} $A", [first])


def around(tokenizer, single, special):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(token, tokenizer.token_to_id(token)) for token in special]
    )


def shapes():
    n, p, d = normalizers, pre_tokenizers, decoders
    unspaced = [d.Replace("▁", " "), d.ByteFallback(), d.Fuse()]
    return {
        "gpt2": byte_level(None),
        "llama3": byte_level(LLAMA3, first="<|begin_of_text|>"),
        "qwen2": byte_level(QWEN2, normalizer=n.NFC()),
        "llama2": spaced(n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), None, d.Sequence([*unspaced, d.Strip(" ", 1, 0)])),
        "gemma": spaced(n.Replace(" ", "▁"), p.Split(" ", "merged_with_previous"), d.Sequence(unspaced)),
        "bert": word_piece(),
        "xlm-roberta": unigram(),
    }


def golden(tokenizer):
    cases = {}
    for name, text in CASES:
        ids = tokenizer.encode(text).ids
        cases[name] = {"ids": ids, "text": tokenizer.decode(ids)}
    return {"tokenizer": json.loads(tokenizer.to_str()), "cases": cases}


def main():
    check = sys.argv[1] == "--check"
    folder = pathlib.Path(sys.argv[-1])
    folder.mkdir(parents=True, exist_ok=True)
    differ = []
    # Keyed as the goldens are: the test reads them from here.
    written = json.dumps(dict(CASES), ensure_ascii=True, separators=(",", ":")) + "\n"
    if not check:
        (folder / "texts.json").write_text(written)
    elif (folder / "texts.json").read_text() != written:
        differ.append("texts.json")
    for name, tokenizer in shapes().items():
        path = folder / f"{name}.json"
        if not check:
            path.write_text(json.dumps(golden(tokenizer), ensure_ascii=True, separators=(",", ":")) + "\n")
            continue
        # Training's ties may fall otherwise on another day: the committed file is the one that is asked.
        committed = json.loads(path.read_text())
        fresh = golden(Tokenizer.from_str(json.dumps(committed["tokenizer"])))["cases"]
        differ += [f"{name} {case}" for case in fresh.keys() | committed["cases"].keys() if fresh.get(case) != committed["cases"].get(case)]
        print(f"{name}: {len(fresh)} texts")
    for line in differ:
        print(f"differs: {line}", file=sys.stderr)
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
