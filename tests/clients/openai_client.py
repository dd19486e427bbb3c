#!/usr/bin/env python3
"""Drives a server with the *official* OpenAI Python client and says which of its promises it keeps.

    openai_client.py --base-url http://127.0.0.1:8080/v1 --model default/smollm2 --bare-model smollm2

Prints one line per check and `N passed, N failed`; exits 1 if any failed. The client validates
every answer against its own schema (`_strict_response_validation`), which it does not do by
default: a missing or mistyped field fails here instead of in somebody's application.

Checks are independent and named; `--only` and `--skip` take names. `--skip` is for a server that is
not ours behind the gateway: say in the caller why a check is skipped.
"""

import argparse
import asyncio
import concurrent.futures
import http.client
import json
import os
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

import openai
from openai import AsyncOpenAI, OpenAI

QUESTION = [{"role": "user", "content": "Name three colours of the rainbow and say a sentence about each."}]
PROMPT = "The three primary colours are red, yellow and"
# Greedy, so that two requests can be compared; enough tokens to see a stream be a stream.
GREEDY = {"temperature": 0, "max_tokens": 32}

CHECKS = []
DIALECT_OF_ERRORS = ("message", "type", "param", "code")


def check(function):
    """Registers a check under its own name, in the order of this file."""
    CHECKS.append((function.__name__.replace("_", "-"), function))
    return function


class Failed(Exception):
    """A promise that was not kept, in words."""


class Skipped(Exception):
    """The command line didn't give what this check needs."""


def want(condition, message):
    # Not `assert`: `python -O` drops those, and a test that checks nothing passes.
    if not condition:
        raise Failed(message)


def equal(got, expected, what):
    want(got == expected, f"{what}: got {got!r}, expected {expected!r}")


def expect_error(kind, status, call):
    """Runs `call`, which must raise `kind` with `status` and a body in OpenAI's shape."""
    try:
        answer = call()
    except openai.APIStatusError as error:
        want(type(error) is kind, f"got {type(error).__name__} ({error.status_code}: {error.message}), expected {kind.__name__}")
        equal(error.status_code, status, "status")
        body = error.response.json()
        want(isinstance(body, dict) and isinstance(body.get("error"), dict), f"body has no `error` object: {body!r}")
        want(
            all(field in body["error"] for field in DIALECT_OF_ERRORS),
            f"`error` lacks one of {DIALECT_OF_ERRORS}: {body['error']!r}",
        )
        want(isinstance(body["error"]["message"], str) and body["error"]["message"], "`error.message` is empty")
        equal(body["error"]["type"], "invalid_request_error", "error.type")
        return body["error"]
    raise Failed(f"no error was raised, expected {kind.__name__}; got {answer!r:.200}")


class Streamed:
    """A chat or text stream read to its end, with what every stream must hold checked on the way."""

    def __init__(self, stream, text_of):
        self.ids, self.finish, self.pieces, self.usage_chunks, self.chunks = set(), [], [], [], []
        for chunk in stream:
            want(not self.usage_chunks, "a chunk came after the one with the usage")
            self.chunks.append(chunk)
            self.ids.add(chunk.id)
            if chunk.usage is not None:
                self.usage_chunks.append(chunk)
            for choice in chunk.choices:
                equal(choice.index, 0, "choice.index")
                piece = text_of(choice)
                if piece:
                    want(not self.finish, "text came after the finish_reason")
                    self.pieces.append(piece)
                if choice.finish_reason is not None:
                    self.finish.append(choice.finish_reason)
        equal(len(self.ids), 1, f"different ids in one stream ({self.ids})")
        equal(len(self.finish), 1, "number of finish reasons")
        self.text = "".join(self.pieces)


class Driver:
    def __init__(self, args):
        self.args = args
        self.model = args.model
        common = {"base_url": args.base_url, "api_key": args.api_key, "max_retries": 0, "timeout": args.timeout}
        self.client = OpenAI(_strict_response_validation=True, **common)
        # A streamed text completion has `finish_reason: null` until its last chunk at OpenAI too, while
        # the client's own type says it is never null. Validation is off for those streams alone.
        self.lenient = OpenAI(**common)
        self.common = common

    def chat(self, messages=QUESTION, **options):
        return self.client.chat.completions.create(model=self.model, messages=messages, **{**GREEDY, **options})

    def chat_stream(self, messages=QUESTION, **options):
        stream = self.client.chat.completions.create(model=self.model, messages=messages, stream=True, **{**GREEDY, **options})
        return Streamed(stream, lambda choice: choice.delta.content)

    def complete(self, prompt=PROMPT, **options):
        return self.client.completions.create(model=self.model, prompt=prompt, **{**GREEDY, **options})

    def complete_stream(self, prompt=PROMPT, **options):
        stream = self.lenient.completions.create(model=self.model, prompt=prompt, stream=True, **{**GREEDY, **options})
        return Streamed(stream, lambda choice: choice.text)

    def raw(self, path, body, content_type="application/json"):
        """POSTs bytes as they are: what no well-behaved client would send. Returns (status, headers, body)."""
        request = urllib.request.Request(
            self.args.base_url.rstrip("/") + path,
            data=body,
            headers={"content-type": content_type, "authorization": f"Bearer {self.args.api_key}"},
        )
        # No proxy from the environment: the server under test is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.args.timeout) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


# ---- models -------------------------------------------------------------------------------------


@check
def models_list(d):
    models = list(d.client.models.list())
    ours = [model for model in models if model.id == d.model]
    want(len(ours) == 1, f"{d.model!r} is not listed once: {[model.id for model in models]}")
    equal(ours[0].object, "model", "object")
    want(isinstance(ours[0].created, int), "`created` is not a number")
    want(isinstance(ours[0].owned_by, str) and ours[0].owned_by, "`owned_by` is empty")


@check
def models_retrieve(d):
    # The client percent-encodes the slash of `namespace/model`.
    equal(d.client.models.retrieve(d.model).id, d.model, "id")


@check
def models_retrieve_unknown(d):
    expect_error(openai.NotFoundError, 404, lambda: d.client.models.retrieve("no-such-model"))


# ---- chat ---------------------------------------------------------------------------------------


@check
def chat(d):
    before = int(time.time())
    answer = d.chat()
    equal(answer.object, "chat.completion", "object")
    want(answer.id, "`id` is empty")
    want(before - 60 <= answer.created <= int(time.time()) + 60, f"`created` is not now: {answer.created}")
    equal(answer.model, d.model, "model")
    equal(len(answer.choices), 1, "number of choices")
    choice = answer.choices[0]
    equal(choice.index, 0, "index")
    equal(choice.message.role, "assistant", "role")
    want(choice.message.content, "the answer is empty")
    want(choice.finish_reason in ("stop", "length"), f"finish_reason {choice.finish_reason!r}")
    usage = answer.usage
    want(usage is not None, "no usage")
    want(usage.prompt_tokens > 0, "no prompt tokens counted")
    want(0 < usage.completion_tokens <= 32, f"completion_tokens {usage.completion_tokens}")
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")


@check
def chat_greedy_repeats(d):
    equal(d.chat().choices[0].message.content, d.chat().choices[0].message.content, "second greedy answer")


@check
def chat_max_tokens(d):
    for name in ("max_tokens", "max_completion_tokens"):
        options = {"max_tokens": openai.omit, name: 5} if hasattr(openai, "omit") else {name: 5}
        answer = d.chat(**options)
        equal(answer.choices[0].finish_reason, "length", f"finish_reason with {name}")
        equal(answer.usage.completion_tokens, 5, f"completion_tokens with {name}")


@check
def chat_one_token(d):
    answer = d.chat(max_tokens=1)
    equal(answer.usage.completion_tokens, 1, "completion_tokens")
    equal(answer.choices[0].finish_reason, "length", "finish_reason")


@check
def chat_system_and_turns(d):
    messages = [
        {"role": "system", "content": "You answer briefly."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello, Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    longer, shorter = d.chat(messages), d.chat(messages[3:])
    want(
        longer.usage.prompt_tokens > shorter.usage.prompt_tokens,
        "earlier turns did not reach the model: the prompt is no longer than the last turn's",
    )


@check
def chat_content_parts(d):
    """Content as a list of text parts is what many frameworks send; it means the same as the string."""
    parts = [{"role": "user", "content": [{"type": "text", "text": QUESTION[0]["content"]}]}]
    equal(d.chat(parts).choices[0].message.content, d.chat().choices[0].message.content, "answer")


@check
def chat_unicode(d):
    messages = [{"role": "user", "content": "Repeat exactly: 😀🎉 héllo wörld 你好 👩‍💻 привет"}]
    whole, streamed = d.chat(messages), d.chat_stream(messages)
    equal(streamed.text, whole.choices[0].message.content, "streamed text")
    # U+FFFD in the middle means a chunk was cut inside a character. At the very end it may be honest:
    # max_tokens can cut a character whose other bytes were never generated.
    want("\ufffd" not in streamed.text[:-1], f"a broken character: {streamed.text!r}")


@check
def chat_stream(d):
    streamed = d.chat_stream()
    for chunk in streamed.chunks:
        equal(chunk.object, "chat.completion.chunk", "object")
        equal(chunk.model, d.model, "model")
    equal(streamed.chunks[0].choices[0].delta.role, "assistant", "role in the first chunk")
    equal(streamed.usage_chunks, [], "usage that nobody asked for")
    want(len(streamed.pieces) >= 8, f"32 tokens came in {len(streamed.pieces)} pieces: that is no stream")
    whole = d.chat().choices[0]
    equal(streamed.text, whole.message.content, "streamed text")
    equal(streamed.finish[0], whole.finish_reason, "streamed finish_reason")


@check
def chat_stream_usage(d):
    streamed = d.chat_stream(stream_options={"include_usage": True})
    equal(len(streamed.usage_chunks), 1, "number of chunks with usage")
    last = streamed.chunks[-1]
    equal(last.choices, [], "choices of the chunk with the usage")
    usage, whole = last.usage, d.chat().usage
    equal(
        (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens),
        (whole.prompt_tokens, whole.completion_tokens, whole.total_tokens),
        "usage",
    )


@check
def chat_stream_usage_declined(d):
    streamed = d.chat_stream(stream_options={"include_usage": False})
    equal(streamed.usage_chunks, [], "usage that was declined")


@check
def chat_stream_on_the_wire(d):
    """What the client hides: the content type, and that the stream ends with [DONE]."""
    body = json.dumps({"model": d.model, "messages": QUESTION, "stream": True, **GREEDY}).encode()
    status, headers, raw = d.raw("/chat/completions", body)
    equal(status, 200, "status")
    equal(headers.get_content_type(), "text/event-stream", "content type")
    events = [event for event in raw.decode("utf-8").replace("\r\n", "\n").split("\n\n") if event and not event.startswith(":")]
    want(all(event.startswith("data: ") for event in events), f"an event without data: {events!r:.200}")
    equal(events[-1], "data: [DONE]", "last event")
    for event in events[:-1]:
        json.loads(event[len("data: "):])


@check
def chat_stop(d):
    text = d.chat().choices[0].message.content
    stop = stop_in_the_middle_of(text)
    answer = d.chat(stop=stop).choices[0]
    equal(answer.message.content, text[: text.index(stop)], f"text before {stop!r}")
    equal(answer.finish_reason, "stop", "finish_reason")


@check
def chat_stop_streamed(d):
    """A stop string may span several tokens: its beginning must be held back, not sent and regretted."""
    text = d.chat().choices[0].message.content
    stop = stop_in_the_middle_of(text)
    streamed = d.chat_stream(stop=["never to be seen \u2603", stop])
    equal(streamed.text, text[: text.index(stop)], f"text before {stop!r}")
    equal(streamed.finish[0], "stop", "finish_reason")


@check
def chat_stop_that_never_comes(d):
    """What was held back as the possible start of a stop string is sent in the end."""
    text = d.chat().choices[0].message.content
    streamed = d.chat_stream(stop=[text[-3:] + "\u2603", "\u2603"])
    equal(streamed.text, text, "text")


def stop_in_the_middle_of(text):
    """Nine characters from the middle: longer than most tokens, so that it spans some."""
    middle = len(text) // 2
    stop = text[middle : middle + 9]
    want(len(stop) == 9, f"the answer is too short to cut: {text!r}")
    return stop


@check
def chat_seed(d):
    options = {"temperature": 1.0, "top_p": 1.0}
    first, again, other = (d.chat(seed=seed, **options).choices[0].message.content for seed in (7, 7, 8))
    equal(again, first, "the same seed again")
    want(other != first, f"another seed gave the same 32 tokens: {first!r}")


@check
def chat_seed_streamed(d):
    options = {"temperature": 1.0, "seed": 11}
    equal(d.chat_stream(**options).text, d.chat(**options).choices[0].message.content, "streamed text with a seed")


@check
def chat_unseeded_varies(d):
    """Three samples at temperature 1.5 without a seed; 32 tokens agree by chance never."""
    answers = {d.chat(temperature=1.5).choices[0].message.content for _ in range(3)}
    want(len(answers) > 1, f"sampling gave one answer three times: {answers!r}")


@check
def chat_top_p_zero_is_greedy(d):
    """Whatever the temperature, a nucleus of nothing but the best token is the greedy choice."""
    equal(
        d.chat(temperature=1.0, top_p=1e-9, seed=3).choices[0].message.content,
        d.chat().choices[0].message.content,
        "answer with top_p 1e-9",
    )


@check
def chat_concurrent(d):
    """Eight streams at once all end, each with its own id."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        streams = list(pool.map(lambda i: d.chat_stream([{"role": "user", "content": f"Count from {i}."}]), range(8)))
    equal(len({identity for streamed in streams for identity in streamed.ids}), 8, "number of different ids")
    want(all(streamed.text for streamed in streams), "an empty stream")


@check
def chat_async(d):
    async def one(client):
        pieces = []
        stream = await client.chat.completions.create(model=d.model, messages=QUESTION, stream=True, **GREEDY)
        async for chunk in stream:
            pieces += [choice.delta.content or "" for choice in chunk.choices]
        return "".join(pieces)

    async def both():
        async with AsyncOpenAI(_strict_response_validation=True, **d.common) as client:
            return await asyncio.gather(one(client), one(client))

    first, second = asyncio.run(both())
    want(first and second, "an empty stream")


@check
def chat_stream_helper(d):
    """The client's accumulating helper, which rebuilds the whole answer from its chunks.

    It takes finish_reason "length" for an error, so the answer is made to end at a stop string.
    """
    text = d.chat().choices[0].message.content
    stop = stop_in_the_middle_of(text)
    with d.client.chat.completions.stream(model=d.model, messages=QUESTION, stop=stop, **GREEDY) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    equal(final.choices[0].message.content, text[: text.index(stop)], "accumulated text")


@check
def bare_model(d):
    if d.args.bare_model is None:
        raise Skipped("no --bare-model")
    answer = d.client.chat.completions.create(model=d.args.bare_model, messages=QUESTION, **GREEDY)
    equal(answer.choices[0].message.content, d.chat().choices[0].message.content, "answer under the bare name")


# ---- text completions ---------------------------------------------------------------------------


@check
def completion(d):
    answer = d.complete()
    equal(answer.object, "text_completion", "object")
    equal(answer.model, d.model, "model")
    want(answer.choices[0].text, "the text is empty")
    want(answer.choices[0].finish_reason in ("stop", "length"), f"finish_reason {answer.choices[0].finish_reason!r}")
    want(0 < answer.usage.completion_tokens <= 32, f"completion_tokens {answer.usage.completion_tokens}")
    equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens, "total_tokens")


@check
def completion_default_max_tokens(d):
    """16 for text completions, unlike chat: OpenAI's own reference says so."""
    answer = d.client.completions.create(model=d.model, prompt="One, two, three, four, five, six, seven,", temperature=0)
    want(answer.usage.completion_tokens <= 16, f"completion_tokens {answer.usage.completion_tokens}")


@check
def completion_stream(d):
    streamed = d.complete_stream(stream_options={"include_usage": True})
    whole = d.complete()
    equal(streamed.text, whole.choices[0].text, "streamed text")
    equal(streamed.finish[0], whole.choices[0].finish_reason, "finish_reason")
    equal(len(streamed.usage_chunks), 1, "number of chunks with usage")
    equal(streamed.chunks[-1].usage.completion_tokens, whole.usage.completion_tokens, "completion_tokens")
    for chunk in streamed.chunks:
        equal(chunk.object, "text_completion", "object")


@check
def completion_stop(d):
    text = d.complete().choices[0].text
    stop = stop_in_the_middle_of(text)
    for answer, reason in (
        (d.complete(stop=[stop]).choices[0].text, d.complete(stop=[stop]).choices[0].finish_reason),
        (lambda s: (s.text, s.finish[0]))(d.complete_stream(stop=stop)),
    ):
        equal(answer, text[: text.index(stop)], f"text before {stop!r}")
        equal(reason, "stop", "finish_reason")


@check
def completion_seed(d):
    first, again, other = (d.complete(seed=seed, temperature=1.0).choices[0].text for seed in (7, 7, 8))
    equal(again, first, "the same seed again")
    want(other != first, f"another seed gave the same text: {first!r}")


# ---- bad input ----------------------------------------------------------------------------------


@check
def unknown_model(d):
    for stream in (False, True):
        error = expect_error(
            openai.NotFoundError,
            404,
            lambda: d.client.chat.completions.create(model="no-such-model", messages=QUESTION, stream=stream, **GREEDY),
        )
        equal(error["code"], "model_not_found", "error.code")
        want("no-such-model" in error["message"], f"the message doesn't name the model: {error['message']!r}")


@check
def unknown_model_completion(d):
    error = expect_error(
        openai.NotFoundError, 404, lambda: d.client.completions.create(model="no-such-model", prompt=PROMPT, **GREEDY)
    )
    equal(error["code"], "model_not_found", "error.code")


@check
def bad_max_tokens(d):
    for value in (-1, 0, 2**63, "many", 1.5):
        for call in (lambda: d.chat(max_tokens=value), lambda: d.complete(max_tokens=value)):
            error = expect_error(openai.BadRequestError, 400, call)
            want("max_tokens" in error["message"], f"max_tokens={value!r}: the message doesn't name it: {error['message']!r}")


@check
def bad_max_tokens_streamed(d):
    """An error found before the first token is a status, not an event inside a 200."""
    expect_error(openai.BadRequestError, 400, lambda: list(d.client.chat.completions.create(
        model=d.model, messages=QUESTION, stream=True, max_tokens=-1)))


@check
def bad_sampling(d):
    for name, value in (("temperature", -1), ("temperature", 2.5), ("top_p", 1.5), ("top_p", -0.1), ("temperature", "hot")):
        error = expect_error(openai.BadRequestError, 400, lambda: d.chat(**{name: value}))
        want(name in error["message"], f"{name}={value!r}: the message doesn't name it: {error['message']!r}")


@check
def bad_messages(d):
    for messages in ([], [{"role": "user"}], [{"role": "wizard", "content": "x"}], "hello"):
        expect_error(openai.BadRequestError, 400, lambda: d.chat(messages))


@check
def bad_json(d):
    for body in (b"", b"{", b"[]", b"\xff\xfe", b'{"model": "\xc3\x28"}', b"[" * 100_000, b"null"):
        status, _, raw = d.raw("/chat/completions", body)
        equal(status, 400, f"status for {body[:20]!r}")
        want("error" in json.loads(raw), f"the answer to {body[:20]!r} is not in OpenAI's shape: {raw[:100]!r}")


@check
def prompt_too_long(d):
    error = expect_error(
        openai.BadRequestError, 400, lambda: d.chat([{"role": "user", "content": "weigh the bridge " * 40_000}])
    )
    equal(error["code"], "context_length_exceeded", "error.code")


@check
def unknown_path(d):
    status, _, _ = d.raw("/no/such/path", b"{}")
    equal(status, 404, "status")


# ---- leaving in the middle ----------------------------------------------------------------------


@check
def early_close(d):
    """Twelve clients leave after three chunks; the next request is answered as if nothing had been."""
    before = d.chat().choices[0].message.content
    for _ in range(12):
        stream = d.client.chat.completions.create(
            model=d.model, messages=QUESTION, stream=True, temperature=0, max_tokens=512
        )
        for i, _ in enumerate(stream):
            if i == 2:
                break
        stream.close()
    equal(d.chat().choices[0].message.content, before, "answer after the clients left")


@check
def early_close_together(d):
    """The same, many at once and by dropping the connection without reading the answer."""
    url = urllib.parse.urlsplit(d.args.base_url)
    body = json.dumps({"model": d.model, "messages": QUESTION, "stream": True, "temperature": 0, "max_tokens": 512})
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection

    def leave():
        connection = kind(url.hostname, url.port, timeout=d.args.timeout)
        connection.request(
            "POST", url.path.rstrip("/") + "/chat/completions", body,
            {"content-type": "application/json", "authorization": f"Bearer {d.args.api_key}"},
        )
        connection.close()

    threads = [threading.Thread(target=leave) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    want(d.chat().choices[0].message.content, "no answer after the clients left")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", help="with the /v1")
    parser.add_argument("--model", help="the name to ask for, as /v1/models lists it")
    parser.add_argument("--bare-model", help="another name for the same model (without its namespace)")
    # From the environment as with any OpenAI program: a command line is everybody's to read.
    parser.add_argument("--api-key", default=os.environ.get("OPENAI_API_KEY", "weighbridge-test"))
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a single request may take")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names of the checks and stop")
    args = parser.parse_args()
    names = [name for name, _ in CHECKS]
    if args.list:
        print("\n".join(names))
        return 0
    if not args.base_url or not args.model:
        parser.error("--base-url and --model are needed")
    for name in args.only + args.skip:
        if name not in names:
            parser.error(f"no check is called {name!r}; see --list")

    driver, passed, failed, skipped = Driver(args), 0, 0, 0
    print(f"openai {openai.__version__}, Python {sys.version.split()[0]}, {args.base_url}, model {args.model}")
    for name, function in CHECKS:
        if name in args.skip or (args.only and name not in args.only):
            skipped += name in args.skip
            continue
        try:
            function(driver)
        except Skipped as reason:
            skipped += 1
            print(f"skip  {name}: {reason}")
        except Failed as reason:
            failed += 1
            print(f"FAIL  {name}: {reason}")
        except Exception as error:  # noqa: BLE001 - whatever the client throws is the server's failure, or ours: show it
            failed += 1
            where = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in where if frame.filename == __file__][-1]
            print(f"FAIL  {name}: {type(error).__name__} at line {ours.lineno}: {error!s:.400}")
        else:
            passed += 1
            print(f"ok    {name}")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
