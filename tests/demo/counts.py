#!/usr/bin/env python3
"""Tokens as a client counts them: by model and direction, in a file that several clients add to.

    curl … | counts.py FILE MODEL      print the answer's text, add its usage to FILE

The file holds {"demo/smollm2": {"input": 120, "output": 300}}. Directions are disjoint, as in our metrics: what a
cache served is not input, reasoning is not output. "usage_missing" beside them counts answers without a usage, whose
prompts are in no "input".
"""

import json
import pathlib
import sys


def load(path):
    path = pathlib.Path(path)
    return json.loads(path.read_text()) if path.exists() else {}


def save(path, counts):
    pathlib.Path(path).write_text(json.dumps(counts))


def add(counts, model, usage):
    """Adds a `usage` in OpenAI's shape, details and all where there are any."""
    read = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    used = {
        "input": usage["prompt_tokens"] - read, "output": usage["completion_tokens"] - thought,
        "cache_read": read, "reasoning": thought,
    }
    of_model = counts.setdefault(model, {})
    for direction, count in used.items():
        if count:
            of_model[direction] = of_model.get(direction, 0) + count


def add_without_usage(counts, model, pieces):
    """Adds an answer that said nothing of its usage: its pieces are what is known."""
    of_model = counts.setdefault(model, {})
    for name, count in (("output", pieces), ("usage_missing", 1)):
        of_model[name] = of_model.get(name, 0) + count


def main():
    path, model = sys.argv[1:]
    text = sys.stdin.read()
    try:
        answer = json.loads(text)
        print(answer["choices"][0]["message"]["content"].strip())
        counts = load(path)
        add(counts, model, answer["usage"])
        save(path, counts)
    except (ValueError, KeyError):
        sys.exit(f"{model} answered {text!r}")


if __name__ == "__main__":
    main()
