"""The Anthropic SDK over Messages."""

import anthropic
from anthropic import Anthropic
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent

import openai_errors
import strict
from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, WEATHER, alter, check_person, check_weather, equal, raises, want

CLIENT = "anthropic-python"
ASKED = [{"role": "user", "content": QUESTION}]
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
EXPECTED = {
    "status-400": ("BadRequestError", 400),
    "bad-key": ("AuthenticationError", 401),
    "status-402": ("PaymentRequiredError", 402),
    "status-403": ("PermissionDeniedError", 403),
    "status-404": ("NotFoundError", 404),
    "limited-retry-after": ("RateLimitError", 429),
    "status-500": ("InternalServerError", 500),
    "status-503": ("ServiceUnavailableError", 503),
    "status-529": ("OverloadedError", 529),
    "no-such-behaviour": ("NotFoundError", 404),
}


def tool(name, schema):
    return {"name": name, "description": name, "input_schema": schema}


class Client:
    def __init__(self, session, url, key, timeout):
        self.session = session
        self.sdk = Anthropic(base_url=url, api_key=key, timeout=timeout, max_retries=0)

    def ask(self, streaming, messages=ASKED, **options):
        options = {"model": self.session.model, "max_tokens": 2048, "messages": messages, **options}
        if not streaming:
            return self.sdk.messages.create(**options)
        with self.sdk.messages.stream(**options) as stream:
            for _ in stream:
                pass
            return stream.get_final_message()

    def text(self, streaming):
        answer = self.ask(streaming, system="Be brief.")
        equal([block.type for block in answer.content], ["text"], "blocks")
        self.session.said(answer.content[0].text)
        equal(answer.stop_reason, "end_turn", "stop_reason")
        want(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, f"usage {answer.usage!r}")

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

    results = {"weather": RESULT, "nothing": NOTHING}

    def history(self, first):
        calls = [block for block in first.content if block.type == "tool_use"]
        said = [
            {"type": "tool_result", "tool_use_id": call.id, "content": self.results[call.name]} for call in reversed(calls)
        ]
        blocks = [block.model_dump(exclude_none=True) for block in first.content]
        return [*ASKED, {"role": "assistant", "content": blocks}, {"role": "user", "content": said}]

    def structured(self, streaming):
        options = {"output_config": {"format": {"type": "json_schema", "schema": PERSON}}}
        check_person("".join(block.text for block in self.ask(streaming, **options).content))

    def thinking(self, streaming):
        answer = self.ask(streaming, **THINKING)
        equal([block.type for block in answer.content], ["thinking", "text"], "blocks")
        want(answer.content[0].thinking and answer.content[0].signature, f"not signed: {answer.content[0]!r:.300}")
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
        raises(anthropic.BadRequestError, 400, ask(blocks[1:]))
        raises(anthropic.BadRequestError, 400, ask([{**blocks[0], "signature": alter(blocks[0]["signature"])}, *blocks[1:]]))
        raises(anthropic.BadRequestError, 400, ask([{**blocks[0], "thinking": "Something else."}, *blocks[1:]]))

    def count(self):
        short = self.sdk.messages.count_tokens(model=self.session.model, messages=ASKED).input_tokens
        more = self.sdk.messages.count_tokens(model=self.session.model, messages=ASKED, tools=[tool("weather", WEATHER)])
        want(0 < short < more.input_tokens, f"{short} tokens, and {more.input_tokens} with a tool")

    def failing(self, model, streaming, retries=0):
        sdk = self.sdk.with_options(max_retries=retries)
        answer = sdk.messages.create(model=model, max_tokens=100, messages=ASKED, stream=streaming)
        return list(answer) if streaming else answer


def look(exchange):
    order = []

    def event(name, data):
        order.append(name)
        if name == "ping":
            equal(data.replace(" ", ""), '{"type":"ping"}', "ping")
            return
        read = strict.read(RawMessageStreamEvent, data)
        equal(read.type, name, "type of an event, by its name")
        if name == "content_block_start":
            order[-1] = f"start {read.index}"
        elif name in ("content_block_delta", "content_block_stop"):
            order[-1] = f"{name.rsplit('_', 1)[1]} {read.index}"

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


def run(session, url, key, timeout):
    client = Client(session, url, key, timeout)
    both = {"text": client.text, "tools": client.tools, "schema": client.structured, "thinking": client.thinking}
    for ability, function in both.items():
        if ability in session.abilities:
            for streaming in (False, True):
                name = {"schema": "structured"}.get(ability, ability)
                session.run(name, streaming, lambda: function(streaming), look)
    if "parallel" in session.abilities:
        for streaming in (False, True):
            session.run("parallel", streaming, lambda: client.tools(streaming, parallel=True), look)
    if "signature" in session.abilities:
        session.run("signature", False, client.signature, look)
    if "count" in session.abilities:
        session.run("count", False, client.count, look)
    # Of an error after a 200 the SDK says that the status was 200.
    openai_errors.run(session, client, anthropic, EXPECTED, ("APIStatusError", 200))
