"""The OpenAI SDK over Responses."""

import json

import openai
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent

import openai_errors
import strict
from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, WEATHER, alter, check_person, check_weather, equal, raises, want

CLIENT = "openai-python responses"
ASKED = [{"role": "user", "content": QUESTION}]
REASONED = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}


def tool(name, schema):
    return {"type": "function", "name": name, "description": name, "parameters": schema, "strict": True}


FORMAT = {"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}}
ENDS = ("response.completed", "response.incomplete", "response.failed")


class Client:
    def __init__(self, session, url, key, timeout):
        self.session = session
        self.sdk = OpenAI(base_url=f"{url}/v1", api_key=key, timeout=timeout, max_retries=0)

    def ask(self, streaming, said=ASKED, **options):
        options = {"store": False, **options}
        if not streaming:
            return self.sdk.responses.create(model=self.session.model, input=said, **options)
        with self.sdk.responses.stream(model=self.session.model, input=said, **options) as stream:
            for _ in stream:
                pass
            return stream.get_final_response()

    def text(self, streaming):
        answer = self.ask(streaming)
        equal(answer.status, "completed", "status")
        self.session.said(answer.output_text)
        usage = answer.usage
        want(usage is not None and usage.input_tokens > 0 and usage.output_tokens > 0, f"usage {usage!r}")
        equal(usage.total_tokens, usage.input_tokens + usage.output_tokens, "total_tokens")

    def tools(self, streaming, parallel=False, **options):
        tools = [tool("weather", WEATHER)] + [tool("nothing", EMPTY)] * parallel
        choice = {} if parallel or options else {"tool_choice": "required"}
        first = self.ask(streaming, tools=tools, **choice, **options)
        calls = [item for item in first.output if item.type == "function_call"]
        equal([call.name for call in calls], ["weather", "nothing"] if parallel else ["weather"], "calls")
        equal(len({call.call_id for call in calls}), len(calls), "different ids of calls")
        check_weather(json.loads(calls[0].arguments))
        if parallel:
            equal(json.loads(calls[1].arguments), {}, "arguments of a tool that has none")
        second = self.ask(streaming, said=self.history(first), tools=tools, **options)
        self.session.told(second.output_text, *(self.results[call.name] for call in calls))
        return first

    results = {"weather": RESULT, "nothing": NOTHING}

    def history(self, first):
        items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        outputs = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": self.results[item["name"]]}
            for item in reversed(items)
            if item["type"] == "function_call"
        ]
        return [*ASKED, *items, *outputs]

    def structured(self, streaming):
        check_person(self.ask(streaming, text=FORMAT).output_text)

    def thinking(self, streaming):
        answer = self.ask(streaming, **REASONED)
        self.session.said(answer.output_text)
        reasoning = [item for item in answer.output if item.type == "reasoning"]
        want(reasoning and reasoning[0].summary and reasoning[0].summary[0].text, f"no summary: {reasoning!r:.300}")
        want(reasoning[0].encrypted_content, "no encrypted content")
        want(answer.usage.output_tokens_details.reasoning_tokens > 0, f"no reasoning was counted: {answer.usage!r}")
        self.tools(streaming, **REASONED)

    def signature(self):
        tools = [tool("weather", WEATHER)]
        first = self.ask(False, tools=tools, **REASONED)
        history = self.history(first)
        ask = lambda said: lambda: self.ask(False, said=said, tools=tools, **REASONED)
        without = [item for item in history if item.get("type") != "reasoning"]
        raises(openai.BadRequestError, 400, ask(without))
        for item in history:
            if item.get("type") == "reasoning":
                item["encrypted_content"] = alter(item["encrypted_content"])
        raises(openai.BadRequestError, 400, ask(history))

    def stored(self, streaming):
        """The provider remembers the first turn: the second says only what is new."""
        tools = [tool("weather", WEATHER)]
        first = self.ask(streaming, tools=tools, tool_choice="required", store=True)
        call = first.output[-1]
        said = [{"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
        second = self.ask(streaming, said=said, tools=tools, previous_response_id=first.id)
        self.session.told(second.output_text, RESULT)

    def failing(self, model, streaming, retries=0):
        sdk = self.sdk.with_options(max_retries=retries)
        answer = sdk.responses.create(model=model, input=ASKED, stream=streaming)
        if not streaming:
            return answer
        # To this SDK neither a failed answer nor an error is an exception, where it comes as an event.
        events = list(answer)
        last = events[-1]
        if last.type in ("response.failed", "error"):
            error = last if last.type == "error" else last.response.error
            raise openai.APIError(error.message, request=None, body=None)
        return events


def look(exchange):
    numbers = []
    names = []

    def event(name, data):
        read = strict.read(ResponseStreamEvent, data)
        equal(read.type, name, "type of an event, by its name")
        numbers.append(read.sequence_number)
        names.append(name)

    strict.check(exchange, lambda text: strict.read(Response, text), event)
    equal(numbers, list(range(len(numbers))), "sequence numbers")
    if names:
        equal(names[0], "response.created", "first event")
        equal([name for name in names if name in ENDS], names[-1:], "events that end the stream")


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
    if "stored" in session.abilities:
        for streaming in (False, True):
            session.run("stored", streaming, lambda: client.stored(streaming), look)
    if "signature" in session.abilities:
        session.run("signature", False, client.signature, look)
    openai_errors.run(session, client, openai)
