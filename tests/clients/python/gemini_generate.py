"""Google's SDK over generateContent."""

import base64
import json

from google import genai
from google.genai import errors, types

import strict
from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, WEATHER, alter, check_person, check_weather, equal, raises, want

CLIENT = "google-genai"
EXPECTED = {
    "status-400": (errors.ClientError, 400),
    "bad-key": (errors.ClientError, 400),
    "status-403": (errors.ClientError, 403),
    "status-404": (errors.ClientError, 404),
    "quota": (errors.ClientError, 429),
    "limited-retry-info": (errors.ClientError, 429),
    "status-500": (errors.ServerError, 500),
    "status-503": (errors.ServerError, 503),
    "no-such-behaviour": (errors.ClientError, 404),
}
ASKED = types.Content(role="user", parts=[types.Part(text=QUESTION)])
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


class Client:
    def __init__(self, session, url, key, timeout):
        self.session = session
        options = types.HttpOptions(base_url=url, timeout=int(timeout * 1000))
        self.sdk = genai.Client(api_key=key, http_options=options)

    def ask(self, streaming, contents=(ASKED,), **config):
        options = {"model": self.session.model, "contents": list(contents), "config": config}
        if streaming:
            return Answer(list(self.sdk.models.generate_content_stream(**options)))
        return Answer([self.sdk.models.generate_content(**options)])

    def text(self, streaming):
        answer = self.ask(streaming, system_instruction="Be brief.")
        self.session.said(answer.text)
        equal(answer.finish, types.FinishReason.STOP, "finish reason")
        usage = answer.usage
        want(usage and usage.prompt_token_count > 0 and usage.candidates_token_count > 0, f"usage {usage!r}")
        counted = usage.prompt_token_count + usage.candidates_token_count + (usage.thoughts_token_count or 0)
        equal(usage.total_token_count, counted, "total")

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

    results = {"weather": RESULT, "nothing": NOTHING}

    def history(self, first):
        responses = [
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": self.results[call.name]}))
            for call in first.calls
        ]
        return [ASKED, types.Content(role="model", parts=first.parts), types.Content(role="user", parts=responses)]

    def structured(self, streaming):
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
            raises(errors.ClientError, 400, lambda: self.ask(False, history, **declared))

    def count(self):
        short = self.sdk.models.count_tokens(model=self.session.model, contents=QUESTION).total_tokens
        more = self.sdk.models.count_tokens(model=self.session.model, contents=QUESTION * 2).total_tokens
        want(0 < short < more, f"{short} tokens, and {more} of twice the text")

    def embeddings(self):
        answer = self.sdk.models.embed_content(model=self.session.model, contents=["one", "two"])
        equal(len(answer.embeddings), 2, "embeddings")
        want(answer.embeddings[0].values != answer.embeddings[1].values, "two texts have one vector")

    def failing(self, model, streaming):
        if streaming:
            return list(self.sdk.models.generate_content_stream(model=model, contents=QUESTION))
        return self.sdk.models.generate_content(model=model, contents=QUESTION)


def without_additional(schema):
    """The schema as the subset of OpenAPI has it."""
    return {name: value for name, value in schema.items() if name != "additionalProperties"}


def look(exchange):
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
    for ability, function in {"signature": client.signature, "count": client.count, "embeddings": client.embeddings}.items():
        if ability in session.abilities:
            session.run(ability, False, function, look)
    if "errors" in session.abilities:
        for fault, (kind, status) in EXPECTED.items():
            for streaming in (False, True):
                refused = lambda: raises(kind, status, lambda: client.failing(session.fault(fault), streaming))
                session.run(f"error {fault}", streaming, refused, lambda _: None)
        for fault in ("error-first", "error-in-stream"):
            broken = lambda: raises(errors.ServerError, 503, lambda: client.failing(session.fault(fault), True))
            session.run(f"error {fault}", True, broken, lambda _: None)
    if "retries" in session.abilities:
        session.run("no retry unless asked", False, lambda: once(session, client), lambda _: None)


def once(session, client):
    raises(errors.ServerError, 503, lambda: client.failing(session.fault("status-503"), False))
    equal(len(session.recorder.exchanges), 1, "attempts")
