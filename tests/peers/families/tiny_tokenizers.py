"""Tokenisers of exactly 128 tokens, so that a loader that wants tokenizer.json finds one and text can go in.

Only their shape is real: the goldens start from ids.
"""

import string

SIZE = 128
SPECIAL = ["<unk>", "<s>", "</s>"]
# Byte-level BPE writes a space as Ġ and a newline as Ċ; these merges fill the vocabulary up.
ALPHABET = ["Ġ", "Ċ"] + [chr(code) for code in range(33, 127)]
MERGES = [
    ("Ġ", "t"), ("Ġ", "a"), ("h", "e"), ("i", "n"), ("r", "e"), ("o", "n"), ("Ġt", "he"), ("e", "r"), ("Ġ", "s"), ("a", "t"),
    ("o", "r"), ("e", "n"), ("Ġ", "w"), ("i", "s"), ("i", "t"), ("n", "d"), ("o", "u"), ("e", "d"), ("Ġ", "c"), ("in", "g"),
    ("Ġ", "o"), ("a", "n"), ("e", "s"), ("Ġ", "b"), ("Ġ", "p"), ("Ġ", "f"), ("a", "l"), ("a", "r"), ("Ġa", "nd"),
]  # fmt: skip


def bpe_tokens():
    tokens = SPECIAL + ALPHABET + [left + right for left, right in MERGES]
    assert len(tokens) == len(set(tokens)) == SIZE, len(tokens)
    return tokens


def document(model, added, **parts):
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for index, token in added
        ],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
    } | parts | {"model": model}  # fmt: skip


def bpe():
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return document(
        {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(bpe_tokens())}, "merges": [list(merge) for merge in MERGES],
        },
        list(enumerate(SPECIAL)), pre_tokenizer=level, decoder=level,
    )  # fmt: skip


def wordpiece():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + list(string.ascii_lowercase) + list(string.digits) + list(".,?!'-:;()")
    tokens += ["##" + letter for letter in string.ascii_lowercase] + ["##" + digit for digit in string.digits]
    tokens += ["the", "and", "of", "to", "in", "is", "it", "on", "for", "with", "##ing", "##ed", "##er", "##es", "##ly", "##al", "##on",
               "##en", "##at", "##or", "##an", "what", "who", "how", "where", "when", "why", "not", "was", "are", "be", "by", "as",
               "or", "an", "at", "from", "this", "that", "have", "has"][: SIZE - len(tokens)]  # fmt: skip
    assert len(tokens) == len(set(tokens)) == SIZE, len(tokens)
    pieces = lambda *ids: [{"SpecialToken": {"id": i, "type_id": t}} if i[0] == "[" else {"Sequence": {"id": i, "type_id": t}} for i, t in ids]  # noqa: E731
    return document(
        {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {token: index for index, token in enumerate(tokens)},
        },
        list(enumerate(tokens[:5])),
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor={
            "type": "TemplateProcessing", "single": pieces(("[CLS]", 0), ("A", 0), ("[SEP]", 0)),
            "pair": pieces(("[CLS]", 0), ("A", 0), ("[SEP]", 0), ("B", 1), ("[SEP]", 1)),
            "special_tokens": {name: {"id": name, "ids": [index], "tokens": [name]} for name, index in (("[CLS]", 2), ("[SEP]", 3))},
        },
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )  # fmt: skip


def unigram():
    tokens = ["<s>", "<pad>", "</s>", "<unk>"] + ["▁"] + [chr(code) for code in range(33, 127)]
    words = ["▁the", "▁and", "▁of", "▁to", "▁in", "▁is", "▁it", "▁on", "ing", "ed", "er", "es", "ly", "al", "on", "en", "at", "or", "an",
             "▁a", "▁s", "▁w", "▁c", "▁what", "▁who", "▁how", "▁for", "▁with", "▁not", "▁was"]  # fmt: skip
    tokens += words[: SIZE - 1 - len(tokens)] + ["<mask>"]
    assert len(tokens) == len(set(tokens)) == SIZE, len(tokens)
    # Scores: whole words are likelier than their letters.
    scores = [0.0] * 4 + [-4.0 - 0.01 * index for index in range(len(tokens) - 5)] + [0.0]
    scores = [-3.0 - 0.01 * i if len(token.strip("▁")) > 1 and token[0] != "<" else score for i, (token, score) in enumerate(zip(tokens, scores))]
    special = {name: {"id": name, "ids": [index], "tokens": [name]} for name, index in (("<s>", 0), ("</s>", 2))}
    step = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}  # noqa: E731
    sequence = lambda name: {"Sequence": {"id": name, "type_id": 0}}  # noqa: E731
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return document(
        {"type": "Unigram", "unk_id": 3, "byte_fallback": False, "vocab": [[token, score] for token, score in zip(tokens, scores)]},
        [(0, "<s>"), (1, "<pad>"), (2, "</s>"), (3, "<unk>"), (SIZE - 1, "<mask>")],
        pre_tokenizer=meta, decoder=meta,
        post_processor={
            "type": "TemplateProcessing", "single": [step("<s>"), sequence("A"), step("</s>")],
            "pair": [step("<s>"), sequence("A"), step("</s>"), step("</s>"), sequence("B"), step("</s>")], "special_tokens": special,
        },
    )  # fmt: skip


def for_model_type(model_type):
    return {"bert": wordpiece, "xlm-roberta": unigram}.get(model_type, bpe)()
