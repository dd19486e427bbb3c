"""The Anthropic SDK over Messages."""

import anthropic
from anthropic import Anthropic
from anthropic.types import ErrorResponse, Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent

import scenarios
import strict
from checks import EMPTY, IMAGE, IMAGE_TYPE, PERSON, QUESTION, SEEN, SYSTEM, WEATHER, alter, check_person, check_weather, equal, raises, want

CLIENT = "anthropic-python"
ASKED = [{"role": "user", "content": QUESTION}]
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
PICTURE = [
    {"type": "text", "text": QUESTION},
    {"type": "image", "source": {"type": "base64", "media_type": IMAGE_TYPE, "data": IMAGE}},
]
KINDS = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    402: anthropic.PaymentRequiredError,
    403: anthropic.PermissionDeniedError,
    404: anthropic.NotFoundError,
    429: anthropic.RateLimitError,
    503: anthropic.ServiceUnavailableError,
    529: anthropic.OverloadedError,
}


def tool(name, schema):
    return {"name": name, "description": name, "input_schema": schema}


def read_tokens(usage):
    """All tokens of the prompt; the dialect leaves those of the cache out of the first."""
    return usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


class Client(scenarios.Client):
    statuses = {
        "status-400": 400,
        "bad-key": 401,
        "status-402": 402,
        "status-403": 403,
        "status-404": 404,
        "limited-retry-after": 429,
        "status-500": 500,
        "status-503": 503,
        "status-529": 529,
        "no-such-behaviour": 404,
    }
    broken = {"error-first": None, "error-in-stream": None}

    def connect(self, url, key, timeout):
        return Anthropic(base_url=url, api_key=key, timeout=timeout, max_retries=0)

    def fails(self, status, call):
        return raises(KINDS.get(status, anthropic.InternalServerError), status, call)

    def breaks(self, _status, call):
        # Of an error after a 200 the SDK says that the status was 200.
        raises(anthropic.APIStatusError, 200, call)

    def ask(self, streaming, messages=ASKED, **options):
        options = {"model": self.session.model, "max_tokens": 2048, "messages": messages, **options}
        if self.session.greedy:
            # Newer models take none, and the SDK has no word for it any more.
            options["extra_body"] = self.session.greedy
        if not streaming:
            return self.sdk.messages.create(**options)
        with self.sdk.messages.stream(**options) as stream:
            for _ in stream:
                pass
            return stream.get_final_message()

    def text(self, streaming):
        answer = self.ask(streaming, system=SYSTEM)
        equal([block.type for block in answer.content], ["text"], "blocks")
        self.session.said(answer.content[0].text)
        equal(answer.stop_reason, "end_turn", "stop_reason")
        self.session.counted(read_tokens(answer.usage), answer.usage.output_tokens)

    def image(self, streaming):
        answer = self.ask(streaming, messages=[{"role": "user", "content": PICTURE}])
        equal("".join(block.text for block in answer.content), SEEN, "what the model saw")

    def cached(self, streaming):
        plain = self.ask(streaming).usage
        usage = self.ask(streaming, model=self.session.fault("cached")).usage
        self.session.cached(read_tokens(plain), read_tokens(usage), usage.cache_read_input_tokens)
        self.session.counted(read_tokens(usage), usage.output_tokens)

    def tools(self, streaming, parallel=False, **options):
        tools = [tool("weather", WEATHER)] + [tool("nothing", EMPTY)] * parallel
        choice = {} if parallel or options else {"tool_choice": {"type": "any"}}
        first = self.ask(streaming, tools=tools, **choice, **options)
        equal(first.stop_reason, "tool_use", "stop_reason")
        calls = [block for block in first.content if block.type == "tool_use"]
        equal([call.name for call in calls], ["weather", "nothing"] if parallel else ["weather"], "calls")
        equal(len({call.id for call in calls}), len(calls), "different ids of calls")
        check_weather(calls[0].input)
        if parallel:
            equal(calls[1].input, {}, "input of a tool that takes none")
        second = self.ask(streaming, messages=self.history(first), tools=tools, **options)
        self.session.told("".join(block.text for block in second.content if block.type == "text"), *(self.results[call.name] for call in calls))
        equal(second.stop_reason, "end_turn", "stop_reason of the second turn")

    def history(self, first):
        calls = [block for block in first.content if block.type == "tool_use"]
        said = [
            {"type": "tool_result", "tool_use_id": call.id, "content": self.results[call.name]} for call in reversed(calls)
        ]
        blocks = [block.model_dump(exclude_none=True) for block in first.content]
        return [*ASKED, {"role": "assistant", "content": blocks}, {"role": "user", "content": said}]

    def schema(self, streaming):
        options = {"output_config": {"format": {"type": "json_schema", "schema": PERSON}}}
        check_person("".join(block.text for block in self.ask(streaming, **options).content))

    def thinking(self, streaming):
        answer = self.ask(streaming, **THINKING)
        equal([block.type for block in answer.content], ["thinking", "text"], "blocks")
        want(answer.content[0].thinking, f"nothing is shown: {answer.content[0]!r:.300}")
        want(answer.content[0].signature or not self.session.upstream.signed, f"not signed: {answer.content[0]!r:.300}")
        self.session.said(answer.content[1].text)
        self.tools(streaming, **THINKING)

    def signature(self):
        tools = [tool("weather", WEATHER)]
        history = self.history(self.ask(False, tools=tools, **THINKING))
        blocks = history[1]["content"]
        equal(blocks[0]["type"], "thinking", "first block")
        ask = lambda content: lambda: self.ask(
            False, messages=[history[0], {"role": "assistant", "content": content}, history[2]], tools=tools, **THINKING
        )
        self.fails(400, ask(blocks[1:]))
        self.fails(400, ask([{**blocks[0], "signature": alter(blocks[0]["signature"])}, *blocks[1:]]))
        self.fails(400, ask([{**blocks[0], "thinking": "Something else."}, *blocks[1:]]))

    def models(self):
        self.listed([model.id for model in self.sdk.models.list()])
        equal(self.sdk.models.retrieve(self.session.model).id, self.session.model, "the one model")

    def count(self):
        short = self.sdk.messages.count_tokens(model=self.session.model, messages=ASKED).input_tokens
        more = self.sdk.messages.count_tokens(model=self.session.model, messages=ASKED, tools=[tool("weather", WEATHER)])
        want(0 < short < more.input_tokens, f"{short} tokens, and {more.input_tokens} with a tool")

    def failing(self, model, streaming, retries=0):
        sdk = self.sdk.with_options(max_retries=retries)
        answer = sdk.messages.create(model=model, max_tokens=100, messages=ASKED, stream=streaming)
        return list(answer) if streaming else answer

    def error(self, text):
        strict.read(ErrorResponse, text)

    def frame(self, name, data):
        if name == "error":
            self.error(data)
        else:
            read_event(name, data)


def read_event(name, data):
    if name == "ping":
        equal(data.replace(" ", ""), '{"type":"ping"}', "ping")
        return None
    read = strict.read(RawMessageStreamEvent, data)
    equal(read.type, name, "type of an event, by its name")
    return read


def look(exchange):
    order = []

    def event(name, data):
        order.append(name)
        read = read_event(name, data)
        if name == "content_block_start":
            order[-1] = f"start {read.index}"
        elif name in ("content_block_delta", "content_block_stop"):
            order[-1] = f"{name.rsplit('_', 1)[1]} {read.index}"

    if "/models" in exchange.path:
        return strict.models(exchange, ModelInfo)
    kind = MessageTokensCount if exchange.path.split("?")[0].endswith("count_tokens") else Message
    strict.check(exchange, lambda text: strict.read(kind, text), event)
    order = [name for name in order if name != "ping"]
    if not order:
        return
    equal((order[0], order[-2:]), ("message_start", ["message_delta", "message_stop"]), "frame of the stream")
    index, open_ = 0, False
    for name in order[1:-2]:
        if not open_:
            equal(name, f"start {index}", "event")
            open_ = True
        elif name == f"stop {index}":
            index, open_ = index + 1, False
        else:
            equal(name, f"delta {index}", "event")
    want(not open_, "a block is not closed")
