"""Makes tests/goldens/templates: what chat templates write, by jinja2 as transformers sets it up.

    make_templates.py FOLDER GOLDENS          # writes
    make_templates.py --check FOLDER GOLDENS  # compares with what is there

FOLDER is what tests/vocabularies/fetch.sh prints: llama.cpp's templates, and the C++ source of its template test.
"""

import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

import conversations
import cpp_cases

# What `strftime_now` tells, whenever this runs.
NOW = datetime.datetime(2024, 7, 26, 9, 5, 3)
BOS, EOS = "<s>", "</s>"


class Refused(Exception):
    """The template raised it, in its own words."""


def raise_exception(message):
    raise Refused(message)


def render(template: str, messages: list, tools: list | None, bos: str, eos: str) -> dict:
    try:
        text = _compile_jinja_template(template).render(
            messages=json.loads(json.dumps(messages)),
            tools=json.loads(json.dumps(tools)),
            documents=None,
            add_generation_prompt=True,
            bos_token=bos,
            eos_token=eos,
            strftime_now=NOW.strftime,
            raise_exception=raise_exception,
        )
    except Refused as words:
        return {"refused": str(words)}
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        return {"failed": f"{type(error).__name__}: {error}"}
    return {"text": text}


def of_files(folder: pathlib.Path) -> dict:
    templates = {}
    for path in sorted((folder / "templates").glob("*.jinja")):
        source = path.read_bytes().decode()
        templates[path.stem] = {
            name: render(source, messages, conversations.TOOLS if tools else None, BOS, EOS)
            for name, (messages, tools) in conversations.CONVERSATIONS.items()
            if not tools or "tools" in source
        }
    return templates


def of_llama_cpp(folder: pathlib.Path) -> dict:
    source = (folder / "tests/test-chat-template.cpp").read_text(encoding="utf-8")
    begin, cases = cpp_cases.read(source)
    for case in cases:
        legacy, own = case.pop("expected_output"), case.pop("expected_output_jinja")
        # What llama.cpp's Jinja gives, where its test asks that at all.
        if case.pop("supported_with_jinja"):
            case["llama_cpp"] = own or legacy
        case["jinja2"] = render(case["template"], begin + case["extra"], None, case["bos"], case["eos"])
    return {"messages": begin, "cases": cases}


def main() -> int:
    check = sys.argv[1] == "--check"
    folder, goldens = map(pathlib.Path, sys.argv[-2:])
    test = folder / "tests/test-chat-template.cpp"
    made_by = {
        "by": f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}",
        "of": "llama.cpp in the source package of llama-cpp-python; templates and cases under llama.cpp's MIT licence",
        "test_chat_template_sha256": hashlib.sha256(test.read_bytes()).hexdigest(),
    }
    made = {
        "files.json": {
            "made_by": made_by,
            "now": f"{NOW.isoformat()}Z",
            "bos": BOS,
            "eos": EOS,
            "tools": conversations.TOOLS,
            "conversations": {
                name: {"messages": messages, "tools": tools}
                for name, (messages, tools) in conversations.CONVERSATIONS.items()
            },
            "templates": of_files(folder),
        },
        "llama_cpp.json": {"made_by": made_by, **of_llama_cpp(folder)},
    }
    differ = 0
    for name, content in made.items():
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        path = goldens / name
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{name} differs", file=sys.stderr)
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(main())
