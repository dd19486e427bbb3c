"""The OpenAI SDK over chat completions."""

import json

import openai
from openai import OpenAI
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import openai_errors
import strict
from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, WEATHER, check_person, check_weather, equal, want

CLIENT = "openai-python chat"
ASKED = [{"role": "user", "content": QUESTION}]


def tool(name, schema):
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema, "strict": True}}


FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}


class Client:
    def __init__(self, session, url, key, timeout):
        self.session = session
        self.sdk = OpenAI(base_url=f"{url}/v1", api_key=key, timeout=timeout, max_retries=0)

    def ask(self, streaming, messages=ASKED, **options):
        """The whole answer, put together by the SDK where it was streamed."""
        chat = self.sdk.chat.completions
        if not streaming:
            return chat.create(model=self.session.model, messages=messages, **options)
        options = {"stream_options": {"include_usage": True}, **options}
        with chat.stream(model=self.session.model, messages=messages, **options) as stream:
            for _ in stream:
                pass
            return stream.get_final_completion()

    def text(self, streaming):
        answer = self.ask(streaming)
        choice = answer.choices[0]
        self.session.said(choice.message.content)
        equal(choice.finish_reason, "stop", "finish_reason")
        usage = answer.usage
        want(usage is not None and usage.prompt_tokens > 0 and usage.completion_tokens > 0, f"usage {usage!r}")
        equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")

    def tools(self, streaming, parallel=False):
        tools = [tool("weather", WEATHER)] + [tool("nothing", EMPTY)] * parallel
        first = self.ask(streaming, tools=tools, **({} if parallel else {"tool_choice": "required"}))
        message = first.choices[0].message
        equal(first.choices[0].finish_reason, "tool_calls", "finish_reason")
        calls = message.tool_calls or []
        equal([call.function.name for call in calls], ["weather", "nothing"] if parallel else ["weather"], "calls")
        equal(len({call.id for call in calls}), len(calls), "different ids of calls")
        check_weather(json.loads(calls[0].function.arguments))
        if parallel:
            equal(json.loads(calls[1].function.arguments), {}, "arguments of a tool that has none")
        messages = [*ASKED, message.model_dump(exclude_none=True)]
        said = {"weather": RESULT, "nothing": NOTHING}
        # The other way round: an answer belongs to its call by the call's id.
        for call in reversed(calls):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": said[call.function.name]})
        second = self.ask(streaming, messages=messages, tools=tools)
        self.session.told(second.choices[0].message.content, *(said[call.function.name] for call in calls))
        equal(second.choices[0].finish_reason, "stop", "finish_reason of the second turn")

    def structured(self, streaming):
        answer = self.ask(streaming, response_format=FORMAT)
        check_person(answer.choices[0].message.content)

    def thinking(self, streaming):
        answer = self.ask(streaming, reasoning_effort="low")
        self.session.said(answer.choices[0].message.content)
        details = answer.usage.completion_tokens_details
        want(details is not None and details.reasoning_tokens > 0, f"no reasoning was counted: {answer.usage!r}")

    def embeddings(self):
        answer = self.sdk.embeddings.create(model=self.session.model, input=["one", "two"])
        equal([item.index for item in answer.data], [0, 1], "indexes")
        want(answer.data[0].embedding != answer.data[1].embedding, "two texts have one vector")
        plain = self.sdk.embeddings.create(model=self.session.model, input="one", encoding_format="float")
        got, expected = answer.data[0].embedding, plain.data[0].embedding
        equal(len(got), len(expected), "dimensions")
        want(all(abs(one - other) < 1e-6 for one, other in zip(got, expected)), "base64 and floats differ")

    def failing(self, model, streaming, retries=0):
        sdk = self.sdk.with_options(max_retries=retries)
        answer = sdk.chat.completions.create(model=model, messages=ASKED, stream=streaming)
        return list(answer) if streaming else answer


def look(exchange):
    def event(_, data):
        if data != "[DONE]":
            strict.read(ChatCompletionChunk, data)

    if exchange.path.endswith("/embeddings"):
        # The SDK asks for base64, and its type says floats: it decodes before it builds the type.
        if json.loads(exchange.request).get("encoding_format") != "base64":
            strict.check(exchange, lambda text: strict.read(CreateEmbeddingResponse, text), event)
        return
    if exchange.status == 200 and exchange.content_type.startswith("text/event-stream"):
        equal(strict.events(exchange.body)[-1], (None, "[DONE]"), "last event")
    strict.check(exchange, lambda text: strict.read(ChatCompletion, text), event)


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
    if "embeddings" in session.abilities:
        session.run("embeddings", False, client.embeddings, look)
    openai_errors.run(session, client, openai)
