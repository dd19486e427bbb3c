#!/usr/bin/env python3
"""Talks to models with the official OpenAI client and counts tokens as that client sees them (see counts.py).

    talk.py --base-url http://HOST/v1 --counts FILE MODEL…

A stream without a usage counts nothing, because its client has nothing to count by.
"""

import argparse
import concurrent.futures

import counts
from openai import OpenAI

QUESTIONS = ["Name three rivers.", "Why is the sky blue?", "Write a line about a bridge.", "What is 7 times 6?"]


def chat(client, model, question, stream):
    request = {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 48, "temperature": 0}
    if not stream:
        answer = client.chat.completions.create(**request)
        return answer.choices[0].message.content, answer.usage
    text, usage = "", None
    for chunk in client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return text, usage


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--counts", required=True)
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    client = OpenAI(base_url=args.base_url, api_key="none-needed", max_retries=0, timeout=120)

    counted = counts.load(args.counts)
    jobs = [(model, question, stream) for question in QUESTIONS for stream in (True, False) for model in args.models]
    with concurrent.futures.ThreadPoolExecutor(len(args.models)) as pool:
        answers = pool.map(lambda job: chat(client, *job), jobs)
        for (model, question, stream), (text, usage) in zip(jobs, answers, strict=True):
            if not text:
                raise SystemExit(f"{model} said nothing to {question!r}")
            way = "streamed" if stream else "whole"
            print(f"{model:<16} {way:<9} {question:<29} {' '.join(text.split())[:60]}…")
            if usage is not None:
                counts.add(counted, model, usage.model_dump())
    counts.save(args.counts, counted)


if __name__ == "__main__":
    main()
