"""The cases of llama.cpp's `tests/test-chat-template.cpp`, read out of its C++."""

import re

TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | R"(?P<delimiter>[^(\s]*)\((?P<raw>.*?)\)(?P=delimiter)"
      | "(?P<text>(?:[^"\\]|\\.)*)"
      | (?P<mark>[{}(),;])
      | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<other>.)""",
    re.S | re.X,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "'": "'", "\\": "\\", "0": "\0"}
FIELDS = ("name", "template", "expected_output", "expected_output_jinja", "bos", "eos", "supported_with_jinja", "extra")
DEFAULTS = {"expected_output_jinja": "", "bos": "", "eos": "", "supported_with_jinja": True, "extra": []}


def _unescape(text: str) -> str:
    def one(found: re.Match) -> str:
        if found[1] not in ESCAPES:
            raise ValueError(f"the escape \\{found[1]} is not read")
        return ESCAPES[found[1]]

    return re.sub(r"\\(.)", one, text, flags=re.S)


def _tokens(source: str):
    for found in TOKEN.finditer(source):
        if found["text"] is not None:
            yield "text", _unescape(found["text"])
        elif found["raw"] is not None:
            yield "text", found["raw"]
        elif found["mark"] is not None:
            yield "mark", found["mark"]
        elif found["word"] in ("true", "false"):
            yield "bool", found["word"] == "true"
        elif found["word"] in ("U8C", "u8"):
            continue
        elif found["skip"] is None:
            raise ValueError(f"{found[0]!r} is not read")


def _list(tokens) -> list:
    """What stands between a brace that was read and the one that closes it."""
    items, text = [], None
    for kind, value in tokens:
        if kind == "text":
            text = value if text is None else text + value  # literals side by side are one
        elif kind == "bool":
            items.append(value)
        elif value == "{":
            items.append(_list(tokens))
        elif value in "},":
            if text is not None:
                items.append(text)
                text = None
            if value == "}":
                return items
    raise ValueError("the list does not end")


def read(source: str) -> tuple[list[dict], list[dict]]:
    """The conversation that every case begins with, and the cases."""

    def listed(opening: str) -> list:
        tokens = _tokens(source[source.index(opening) + len(opening) :])
        return _list(tokens)

    messages = lambda pairs: [{"role": role, "content": content} for role, content in pairs]
    conversation = messages(listed("std::vector<llama_chat_message> conversation {"))
    cases = []
    for values in listed("std::vector<TestCase> test_cases {"):
        case = DEFAULTS | dict(zip(FIELDS, values, strict=False))
        case["extra"] = messages(case["extra"])
        cases.append(case)
    return conversation, cases
