#!/usr/bin/env python3
"""Talks to models with the official OpenAI client and counts tokens as that client sees them (see counts.py).

    OPENAI_API_KEY=… talk.py --base-url http://HOST/v1 --counts FILE MODEL…

llama.cpp's Python server sends no usage with a stream, whatever is asked for. The pieces of text are tokens there and
are counted; what the prompt weighed nobody downstream can know, and it is not guessed: such an answer is counted as
one without a usage, which the gateway's weighbridge_usage_missing_total must agree with.
"""

import argparse
import concurrent.futures

import counts
from openai import OpenAI

# What a model of 135 million parameters has an answer to.
QUESTIONS = [
    "What is the capital of Germany?", "Write one sentence about the sea.",
    "Write a line about a bridge.", "Why is the sky blue?",
]


def chat(client, model, question, stream):
    request = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 48, "temperature": 0}
    if not stream:
        answer = client.chat.completions.create(**request)
        return answer.choices[0].message.content, answer.usage.model_dump(), 0
    pieces, usage = [], None
    for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    return "".join(pieces), usage and usage.model_dump(), len(pieces)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--counts", required=True)
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    client = OpenAI(base_url=args.base_url, max_retries=0, timeout=120)

    counted = counts.load(args.counts)
    jobs = [(model, question, stream) for question in QUESTIONS for stream in (True, False) for model in args.models]
    with concurrent.futures.ThreadPoolExecutor(len(args.models)) as pool:
        answers = pool.map(lambda job: chat(client, *job), jobs)
        for (model, question, stream), (text, usage, pieces) in zip(jobs, answers, strict=True):
            if not text:
                raise SystemExit(f"{model} said nothing to {question!r}")
            way = "streamed" if stream else "whole"
            print(f"{model:<16} {way:<9} {question:<33} {' '.join(text.split())[:60]}…")
            if usage:
                counts.add(counted, model, usage)
            else:
                counts.add_without_usage(counted, model, pieces)
    counts.save(args.counts, counted)


if __name__ == "__main__":
    main()
