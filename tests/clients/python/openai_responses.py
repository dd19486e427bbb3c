"""The OpenAI SDK over Responses."""

import json

import openai
from openai.types.responses import Response, ResponseStreamEvent

import openai_sdk
import strict
from checks import EMPTY, IMAGE, IMAGE_TYPE, PERSON, QUESTION, RESULT, SEEN, SYSTEM, WEATHER, alter, check_person, check_weather, equal, want

CLIENT = "openai-python responses"
ASKED = [{"role": "user", "content": QUESTION}]
PICTURE = [{"type": "input_text", "text": QUESTION}, {"type": "input_image", "detail": "auto", "image_url": f"data:{IMAGE_TYPE};base64,{IMAGE}"}]
REASONED = {"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}


def tool(name, schema):
    return {"type": "function", "name": name, "description": name, "parameters": schema, "strict": True}


FORMAT = {"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}}
ENDS = ("response.completed", "response.incomplete", "response.failed")


class Client(openai_sdk.Client):
    def ask(self, streaming, said=ASKED, **options):
        options = {"model": self.session.model, "input": said, "store": False, **self.session.greedy, **options}
        if not streaming:
            return self.sdk.responses.create(**options)
        with self.sdk.responses.stream(**options) as stream:
            for _ in stream:
                pass
            return stream.get_final_response()

    def text(self, streaming):
        answer = self.ask(streaming, instructions=SYSTEM)
        equal(answer.status, "completed", "status")
        self.session.said(answer.output_text)
        usage = answer.usage
        self.session.counted(usage.input_tokens, usage.output_tokens, usage.total_tokens)

    def image(self, streaming):
        answer = self.ask(streaming, said=[{"role": "user", "content": PICTURE}])
        equal(answer.output_text, SEEN, "what the model saw")

    def cached(self, streaming):
        plain = self.ask(streaming).usage
        usage = self.ask(streaming, model=self.session.fault("cached")).usage
        self.session.cached(plain.input_tokens, usage.input_tokens, usage.input_tokens_details.cached_tokens)
        self.session.counted(usage.input_tokens, usage.output_tokens, usage.total_tokens)

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

    def history(self, first):
        items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        outputs = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": self.results[item["name"]]}
            for item in reversed(items)
            if item["type"] == "function_call"
        ]
        return [*ASKED, *items, *outputs]

    def schema(self, streaming):
        check_person(self.ask(streaming, text=FORMAT).output_text)

    def thinking(self, streaming):
        answer = self.ask(streaming, **REASONED)
        self.session.said(answer.output_text)
        reasoning = [item for item in answer.output if item.type == "reasoning"]
        want(reasoning and reasoning[0].summary and reasoning[0].summary[0].text, f"no summary: {reasoning!r:.300}")
        want(reasoning[0].encrypted_content or not self.session.upstream.signed, "no encrypted content")
        want(answer.usage.output_tokens_details.reasoning_tokens > 0, f"no reasoning was counted: {answer.usage!r}")
        self.tools(streaming, **REASONED)

    def signature(self):
        tools = [tool("weather", WEATHER)]
        first = self.ask(False, tools=tools, **REASONED)
        history = self.history(first)
        ask = lambda said: lambda: self.ask(False, said=said, tools=tools, **REASONED)
        without = [item for item in history if item.get("type") != "reasoning"]
        self.fails(400, ask(without))
        for item in history:
            if item.get("type") == "reasoning":
                item["encrypted_content"] = alter(item["encrypted_content"])
        self.fails(400, ask(history))

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

    def frame(self, name, data):
        read_event(name, data)


def read_event(name, data):
    # Node's SDK has a name in the type of this one.
    named = ["name"] if name == "response.function_call_arguments.done" else []
    read = strict.read(ResponseStreamEvent, data, named)
    equal(read.type, name, "type of an event, by its name")
    return read


def look(exchange):
    numbers = []
    names = []

    def event(name, data):
        numbers.append(read_event(name, data).sequence_number)
        names.append(name)

    strict.check(exchange, lambda text: strict.read(Response, text), event)
    equal(numbers, list(range(len(numbers))), "sequence numbers")
    if names:
        equal(names[0], "response.created", "first event")
        equal([name for name in names if name in ENDS], names[-1:], "events that end the stream")
