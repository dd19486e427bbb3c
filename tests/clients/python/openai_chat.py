"""The OpenAI SDK over chat completions."""

import json

import openai
from openai import OpenAI
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import openai_sdk
import strict
from checks import EMPTY, FEW, IMAGE, IMAGE_TYPE, PERSON, QUESTION, SEEN, SYSTEM, WEATHER, check_person, check_weather, equal, want

CLIENT = "openai-python chat"
ASKED = [{"role": "user", "content": QUESTION}]
PICTURE = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": f"data:{IMAGE_TYPE};base64,{IMAGE}"}}]
# Thinking, which OpenAI's own dialect has no place for: in the words of DeepSeek, vLLM and OpenRouter.
REASONING = [f"choices.{where}.{name}" for where in ("message", "delta") for name in ("reasoning_content", "reasoning_details")]

# What the simulator's models that misbehave add, to see that it passes.
ODD = "x"


def tool(name, schema):
    return {"type": "function", "function": {"name": name, "description": name, "parameters": schema, "strict": True}}


FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}


class Client(openai_sdk.Client):
    def ask(self, streaming, messages=ASKED, **options):
        """The whole answer, put together by the SDK where it was streamed."""
        chat = self.sdk.chat.completions
        options = {"model": self.session.model, "messages": messages, **self.session.greedy, **options}
        if not streaming:
            return chat.create(**options)
        with chat.stream(stream_options={"include_usage": True}, **options) as stream:
            for _ in stream:
                pass
            return stream.get_final_completion()

    def text(self, streaming):
        answer = self.ask(streaming, messages=[{"role": "system", "content": SYSTEM}, *ASKED])
        choice = answer.choices[0]
        self.session.said(choice.message.content)
        equal(choice.finish_reason, "stop", "finish_reason")
        usage = answer.usage
        self.session.counted(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

    def completions(self, streaming):
        options = {"model": self.session.model, "prompt": QUESTION, "max_tokens": FEW, **self.session.greedy}
        if streaming:
            options |= {"stream": True, "stream_options": {"include_usage": True}}
        answer = self.sdk.completions.create(**options)
        answers = list(answer) if streaming else [answer]
        choices = [choice for answer in answers for choice in answer.choices]
        self.session.completed("".join(choice.text for choice in choices), choices[-1].finish_reason)
        usage = answers[-1].usage
        equal(usage.completion_tokens, FEW, "tokens written")
        equal(usage.total_tokens, usage.prompt_tokens + FEW, "total of the tokens")

    def image(self, streaming):
        answer = self.ask(streaming, messages=[{"role": "user", "content": PICTURE}])
        equal(answer.choices[0].message.content, SEEN, "what the model saw")

    def cached(self, streaming):
        plain = self.ask(streaming).usage
        usage = self.ask(streaming, model=self.session.fault("cached")).usage
        self.session.cached(plain.prompt_tokens, usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens)
        self.session.counted(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

    def tools(self, streaming, parallel=False, **options):
        tools = [tool("weather", WEATHER)] + [tool("nothing", EMPTY)] * parallel
        choice = {} if parallel or options else {"tool_choice": "required"}
        first = self.ask(streaming, tools=tools, **choice, **options)
        message = first.choices[0].message
        equal(first.choices[0].finish_reason, "tool_calls", "finish_reason")
        calls = message.tool_calls or []
        equal([call.function.name for call in calls], ["weather", "nothing"] if parallel else ["weather"], "calls")
        equal(len({call.id for call in calls}), len(calls), "different ids of calls")
        check_weather(json.loads(calls[0].function.arguments))
        if parallel:
            equal(json.loads(calls[1].function.arguments), {}, "arguments of a tool that has none")
        messages = [*ASKED, message.model_dump(exclude_none=True)]
        # The other way round: an answer belongs to its call by the call's id.
        for call in reversed(calls):
            messages.append({"role": "tool", "tool_call_id": call.id, "content": self.results[call.function.name]})
        second = self.ask(streaming, messages=messages, tools=tools, **options)
        self.session.told(second.choices[0].message.content, *(self.results[call.function.name] for call in calls))
        equal(second.choices[0].finish_reason, "stop", "finish_reason of the second turn")

    def schema(self, streaming):
        answer = self.ask(streaming, response_format=FORMAT)
        check_person(answer.choices[0].message.content)

    def thinking(self, streaming):
        answer = self.ask(streaming, reasoning_effort="low")
        self.session.said(answer.choices[0].message.content)
        details = answer.usage.completion_tokens_details
        want(details is not None and details.reasoning_tokens > 0, f"no reasoning was counted: {answer.usage!r}")
        self.tools(streaming, reasoning_effort="low")

    def models(self):
        self.listed([model.id for model in self.sdk.models.list()])
        equal(self.sdk.models.retrieve(self.session.model).id, self.session.model, "the one model")

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

    def frame(self, name, data):
        if "error" in json.loads(data):
            self.error(data)
        else:
            event(name, data, [*REASONING, ODD])


def event(_, data, beyond=REASONING):
    if data != "[DONE]":
        strict.read(ChatCompletionChunk, data, beyond)


def completion(_, data):
    if data == "[DONE]":
        return
    chunk = json.loads(data)
    # The API says null until the end, where the SDK's type knows no null.
    for choice in chunk["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    strict.read(Completion, json.dumps(chunk))


def look(exchange):
    if "/models" in exchange.path:
        return strict.models(exchange, Model)
    if exchange.path.endswith("/completions") and not exchange.path.endswith("/chat/completions"):
        return strict.check(exchange, lambda text: strict.read(Completion, text), completion)
    if exchange.path.endswith("/embeddings"):
        # The SDK asks for base64, and its type says floats: it decodes before it builds the type.
        if json.loads(exchange.request).get("encoding_format") != "base64":
            strict.check(exchange, lambda text: strict.read(CreateEmbeddingResponse, text), event)
        return
    if exchange.status == 200 and exchange.content_type.startswith("text/event-stream"):
        equal(strict.events(exchange.body)[-1], (None, "[DONE]"), "last event")
    strict.check(exchange, lambda text: strict.read(ChatCompletion, text, REASONING), event)
