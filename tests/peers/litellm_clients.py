"""Each vendor's client, through Weighbridge, at each upstream: whole and streamed, with what was used, and an error.

    litellm_clients.py URL UPSTREAM…        an UPSTREAM is the name of a model behind the door

Prints a table; exits 1 where a cell failed. Nothing is asked of the text but that whole and streamed are the same: the model
is small, and greedy. llama.cpp's Python server counts no tokens in a stream, so that there what was used may be missing.
"""

import sys
import traceback

import anthropic
import openai
from google import genai
from google.genai import errors, types

QUESTION = "Name the capital of France in one word."
TOKENS = 12


def openai_chat(url, model):
    sdk = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def ask(**options):
        messages = [{"role": "user", "content": QUESTION}]
        return sdk.chat.completions.create(model=model, messages=messages, max_tokens=TOKENS, temperature=0, **options)

    def whole():
        answer = ask()
        return answer.choices[0].message.content, answer.usage.prompt_tokens, answer.usage.completion_tokens

    def streamed():
        chunks = list(ask(stream=True, stream_options={"include_usage": True}))
        usage = chunks[-1].usage or openai.types.CompletionUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        return text, usage.prompt_tokens, usage.completion_tokens

    return whole, streamed, openai.NotFoundError


def anthropic_messages(url, model):
    sdk = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    # The client's own types have no temperature any more; models that take none are newer than these.
    asked = {"model": model, "max_tokens": TOKENS, "messages": [{"role": "user", "content": QUESTION}]}
    asked["extra_body"] = {"temperature": 0}

    def read(answer):
        text = "".join(block.text for block in answer.content if block.type == "text")
        return text, answer.usage.input_tokens, answer.usage.output_tokens

    def streamed():
        with sdk.messages.stream(**asked) as stream:
            for _ in stream:
                pass
            return read(stream.get_final_message())

    return lambda: read(sdk.messages.create(**asked)), streamed, anthropic.NotFoundError


def gemini(url, model):
    sdk = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url))
    config = types.GenerateContentConfig(max_output_tokens=TOKENS, temperature=0)

    def usage(answer):
        used = answer.usage_metadata or types.GenerateContentResponseUsageMetadata()
        return used.prompt_token_count or 0, used.candidates_token_count or 0

    def whole():
        answer = sdk.models.generate_content(model=model, contents=QUESTION, config=config)
        return answer.text, *usage(answer)

    def streamed():
        chunks = list(sdk.models.generate_content_stream(model=model, contents=QUESTION, config=config))
        return "".join(chunk.text or "" for chunk in chunks), *usage(chunks[-1])

    return whole, streamed, errors.ClientError


CLIENTS = {"openai": openai_chat, "anthropic": anthropic_messages, "google-genai": gemini}


def check(client, url, upstream):
    whole, streamed, not_found = client(url, f"default/{upstream}")
    first, second = whole(), streamed()
    text, read, written = first
    if not text or second[0] != text:
        raise AssertionError(f"whole {first!r}, streamed {second!r}")
    if not (read > 0 and 0 < written <= TOKENS):
        raise AssertionError(f"usage of {first!r}")
    if second[2] and not (second[1] > 0 and second[2] <= TOKENS):
        raise AssertionError(f"usage of {second!r}")
    nobody, _, _ = client(url, "default/nobody")
    try:
        nobody()
    except not_found as error:
        # google-genai has one class for all that a client did wrong, and its own name for the status.
        if getattr(error, "status_code", getattr(error, "code", None)) != 404:
            raise
    else:
        raise AssertionError("a model that is not there answered")


def main(url, upstreams):
    failed = 0
    print(f"{'client':14}" + "".join(f"{upstream:>12}" for upstream in upstreams))
    for name, client in CLIENTS.items():
        cells = []
        for upstream in upstreams:
            try:
                check(client, url, upstream)
                cells.append("ok")
            except Exception:
                traceback.print_exc()
                failed += 1
                cells.append("FAILED")
        print(f"{name:14}" + "".join(f"{cell:>12}" for cell in cells), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
