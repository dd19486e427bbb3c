"""Google's SDK over generateContent."""

import base64
import json
import re

from google import genai
from google.genai import errors, types

import scenarios
import strict
from checks import EMPTY, IMAGE, IMAGE_TYPE, PERSON, QUESTION, SEEN, SYSTEM, WEATHER, alter, check_person, check_weather, equal, raises, want

CLIENT = "google-genai"
ASKED = types.Content(role="user", parts=[types.Part(text=QUESTION)])
PICTURE = types.Content(
    role="user",
    parts=[types.Part(text=QUESTION), types.Part.from_bytes(data=base64.b64decode(IMAGE), mime_type=IMAGE_TYPE)],
)
THINKING = {"thinking_config": {"include_thoughts": True, "thinking_budget": 1024}}


def tools(*named):
    declared = [
        types.FunctionDeclaration(name=name, description=name, parameters_json_schema=schema) for name, schema in named
    ]
    return {"tools": [types.Tool(function_declarations=declared)], "automatic_function_calling": {"disable": True}}


class Answer:
    """An answer put together: this SDK leaves that to its user."""

    def __init__(self, chunks):
        self.chunks = chunks
        self.parts = []
        self.finish = None
        for chunk in chunks:
            for candidate in chunk.candidates or []:
                want(self.finish is None, "a candidate after its finish reason")
                self.parts += (candidate.content.parts if candidate.content else None) or []
                self.finish = candidate.finish_reason
        self.text = "".join(part.text for part in self.parts if part.text and not part.thought)
        self.thoughts = "".join(part.text for part in self.parts if part.text and part.thought)
        self.calls = [part.function_call for part in self.parts if part.function_call]
        self.usage = chunks[-1].usage_metadata

    def signed(self):
        return [part for part in self.parts if part.thought_signature]


class Client(scenarios.Client):
    statuses = {
        "status-400": 400,
        "bad-key": 400,
        "status-403": 403,
        "status-404": 404,
        "quota": 429,
        "limited-retry-info": 429,
        "status-500": 500,
        "status-503": 503,
        "no-such-behaviour": 404,
    }
    broken = {"error-first": 503, "error-in-stream": 503}
    retries = False

    def connect(self, url, key, timeout):
        options = types.HttpOptions(base_url=url, timeout=int(timeout * 1000))
        return genai.Client(api_key=key, http_options=options)

    def fails(self, status, call):
        return raises(errors.ClientError if status < 500 else errors.ServerError, status, call)

    def breaks(self, status, call):
        self.fails(status, call)

    def wait(self, error):
        details = error.details["error"]["details"]
        (delay,) = [detail["retryDelay"] for detail in details if detail["@type"].endswith("google.rpc.RetryInfo")]
        return float(delay.removesuffix("s"))

    def ask(self, streaming, contents=(ASKED,), model=None, **config):
        options = {"model": model or self.session.model, "contents": list(contents), "config": {**self.session.greedy, **config}}
        if streaming:
            return Answer(list(self.sdk.models.generate_content_stream(**options)))
        return Answer([self.sdk.models.generate_content(**options)])

    def text(self, streaming):
        answer = self.ask(streaming, system_instruction=SYSTEM)
        self.session.said(answer.text)
        equal(answer.finish, types.FinishReason.STOP, "finish reason")
        self.counted(answer.usage)

    def counted(self, usage):
        written = usage.candidates_token_count + (usage.thoughts_token_count or 0)
        self.session.counted(usage.prompt_token_count, written, usage.total_token_count)

    def image(self, streaming):
        equal(self.ask(streaming, [PICTURE]).text, SEEN, "what the model saw")

    def cached(self, streaming):
        plain = self.ask(streaming).usage
        usage = self.ask(streaming, model=self.session.fault("cached")).usage
        self.session.cached(plain.prompt_token_count, usage.prompt_token_count, usage.cached_content_token_count)
        self.counted(usage)

    def tools(self, streaming, parallel=False, **config):
        declared = tools(("weather", WEATHER), *([("nothing", EMPTY)] if parallel else []))
        if not parallel and not config:
            declared["tool_config"] = {"function_calling_config": {"mode": "ANY"}}
        first = self.ask(streaming, **declared, **config)
        equal([call.name for call in first.calls], ["weather", "nothing"] if parallel else ["weather"], "calls")
        equal(first.finish, types.FinishReason.STOP, "finish reason of a call")
        check_weather(first.calls[0].args)
        if parallel:
            equal(first.calls[1].args or {}, {}, "arguments of a tool that has none")
        declared.pop("tool_config", None)
        second = self.ask(streaming, self.history(first), **declared, **config)
        self.session.told(second.text, *(self.results[call.name] for call in first.calls))

    def history(self, first):
        responses = [
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": self.results[call.name]}))
            for call in first.calls
        ]
        return [ASKED, types.Content(role="model", parts=first.parts), types.Content(role="user", parts=responses)]

    def schema(self, streaming):
        for schema in ({"response_json_schema": PERSON}, {"response_schema": without_additional(PERSON)}):
            check_person(self.ask(streaming, response_mime_type="application/json", **schema).text)

    def thinking(self, streaming):
        answer = self.ask(streaming, **THINKING)
        want(answer.thoughts, "no thoughts")
        self.session.said(answer.text)
        want(answer.usage.thoughts_token_count > 0, f"no thoughts were counted: {answer.usage!r}")
        self.tools(streaming, **THINKING)

    def signature(self):
        declared = tools(("weather", WEATHER))
        first = self.ask(False, **declared)
        want(first.signed(), "no call is signed")
        for change in (lambda _: None, lambda signature: base64.b64decode(alter(base64.b64encode(signature).decode()))):
            parts = [part.model_copy(update={"thought_signature": change(part.thought_signature)}) if part.thought_signature else part for part in first.parts]
            history = self.history(first)
            history[1] = types.Content(role="model", parts=parts)
            self.fails(400, lambda: self.ask(False, history, **declared))

    def count(self):
        short = self.sdk.models.count_tokens(model=self.session.model, contents=QUESTION).total_tokens
        more = self.sdk.models.count_tokens(model=self.session.model, contents=QUESTION * 2).total_tokens
        want(0 < short < more, f"{short} tokens, and {more} of twice the text")

    def embeddings(self):
        answer = self.sdk.models.embed_content(model=self.session.model, contents=["one", "two"])
        equal(len(answer.embeddings), 2, "embeddings")
        want(answer.embeddings[0].values != answer.embeddings[1].values, "two texts have one vector")

    def models(self):
        self.listed([model.name.removeprefix("models/") for model in self.sdk.models.list()])
        equal(self.sdk.models.get(model=self.session.model).name, f"models/{self.session.model}", "the one model")

    def failing(self, model, streaming, retries=0):
        if streaming:
            return list(self.sdk.models.generate_content_stream(model=model, contents=QUESTION))
        return self.sdk.models.generate_content(model=model, contents=QUESTION)

    def error(self, text):
        # The SDK has no type of it: google.rpc.Status as the REST reference has it.
        said = json.loads(text)
        equal(list(said), ["error"], "fields around an error")
        error = dict(said["error"])
        for name, kind in {"code": int, "message": str, "status": str}.items():
            want(type(error.pop(name, None)) is kind, f"`{name}` of an error is no {kind.__name__}: {text:.300}")
        for detail in error.pop("details", []):
            want(isinstance(detail, dict) and isinstance(detail.get("@type"), str), f"a detail without a type: {text:.300}")
        equal(error, {}, "what else an error has")

    def look_at_failure(self, exchange):
        if exchange.status != 200:
            return super().look_at_failure(exchange)
        # Google's error within a stream is plain lines after its events.
        plain = re.search(rb"^\{", exchange.body, re.MULTILINE)
        end = plain.start() if plain else len(exchange.body)
        for name, data in strict.events(exchange.body[:end]):
            self.frame(name, data)
        if plain:
            self.error(exchange.body[end:].decode())

    def frame(self, name, data):
        equal(name, None, "name of an event")
        if "error" in json.loads(data):
            self.error(data)
        else:
            strict.read(types.GenerateContentResponse, data)


def without_additional(schema):
    """The schema as the subset of OpenAPI has it."""
    return {name: value for name, value in schema.items() if name != "additionalProperties"}


def look(exchange):
    if ":" not in exchange.path:
        # The REST reference has what the SDK calls supported actions.
        return strict.models(exchange, types.Model, ("supportedGenerationMethods", "displayName"))

    def event(name, data):
        equal(name, None, "name of an event")
        strict.read(types.GenerateContentResponse, data)

    def whole(text):
        method = exchange.path.split("?")[0].rsplit(":", 1)[1]
        if method == "countTokens":
            # Google's REST reference has these; the SDK drops them before it builds its type.
            strict.read(types.CountTokensResponse, text, ("promptTokensDetails", "cacheTokensDetails"))
        elif method == "embedContent":
            strict.read(types.ContentEmbedding, json.dumps(json.loads(text)["embedding"]))
        elif method == "batchEmbedContents":
            strict.read(types.EmbedContentResponse, text)
        else:
            strict.read(types.GenerateContentResponse, text)

    strict.check(exchange, whole, event)
