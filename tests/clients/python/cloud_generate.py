"""Google's SDK over Vertex AI."""

import base64
import json

from google import genai
from google.genai import types
from google.oauth2 import service_account

from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, SIMULATED, WEATHER, alter, check_person, check_weather, equal, want
from clouds import refused

ASKED = types.Content(role="user", parts=[types.Part(text=QUESTION)])
RESULTS = {"weather": RESULT, "nothing": NOTHING}
ERRORS = {
    "status-400": ("ClientError", 400),
    "bad-key": ("ClientError", 401),
    "status-403": ("ClientError", 403),
    "no-such-behaviour": ("ClientError", 404),
    "quota": ("ClientError", 429),
    "limited-no-hint": ("ClientError", 429),
    "status-500": ("ServerError", 500),
    "status-503": ("ServerError", 503),
}


def tools(*named):
    declared = [types.FunctionDeclaration(name=name, description=name, parameters_json_schema=schema) for name, schema in named]
    return {"tools": [types.Tool(function_declarations=declared)], "automatic_function_calling": {"disable": True}}


class Client:
    def __init__(self, args):
        account = json.loads(args.key)
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        credentials = service_account.Credentials.from_service_account_info(account, scopes=scopes)
        self.sdk, self.beta = (
            genai.Client(
                vertexai=True,
                project=account["project_id"],
                location="us-central1",
                credentials=credentials,
                http_options=types.HttpOptions(base_url=args.base_url, api_version=version, timeout=60_000),
            )
            # Vertex AI lists models in its beta alone.
            for version in ("v1", "v1beta1")
        )

    def ask(self, streaming, contents=(ASKED,), model="faithful", **config):
        options = {"model": f"gemini-{model}", "contents": list(contents), "config": config}
        if not streaming:
            return [self.sdk.models.generate_content(**options)]
        return list(self.sdk.models.generate_content_stream(**options))

    def text(self, streaming):
        answer = self.ask(streaming, system_instruction="Be brief.")
        equal("".join(part.text for part in parts(answer)), SIMULATED, "text")
        usage = answer[-1].usage_metadata
        want(usage.prompt_token_count > 0 and usage.candidates_token_count > 0, f"usage {usage!r}")

    def tools(self, streaming, **config):
        declared = tools(("weather", WEATHER), ("nothing", EMPTY))
        first = parts(self.ask(streaming, **declared, **config))
        calls = [part.function_call for part in first if part.function_call]
        equal([call.name for call in calls], ["weather", "nothing"], "calls")
        check_weather(calls[0].args)
        second = parts(self.ask(streaming, history(first), **declared, **config))
        said = "".join(part.text or "" for part in second)
        want(RESULT in said and NOTHING in said, f"the answer does not tell what the tools said: {said!r}")

    def structured(self, streaming):
        answer = self.ask(streaming, response_mime_type="application/json", response_json_schema=PERSON)
        check_person("".join(part.text for part in parts(answer)))

    def thinking(self, streaming):
        config = {"thinking_config": {"include_thoughts": True, "thinking_budget": 1024}}
        want(any(part.thought for part in parts(self.ask(streaming, **config))), "no thoughts")
        self.tools(streaming, **config)

    def signature(self):
        declared = tools(("weather", WEATHER))
        first = parts(self.ask(False, **declared))
        signed = [part for part in first if part.thought_signature]
        altered = alter(base64.b64encode(signed[0].thought_signature).decode())
        signed[0].thought_signature = base64.b64decode(altered)
        refused("ClientError", 400, lambda: self.ask(False, history(first), **declared))

    def ids(self):
        """What Vertex AI is said to refuse, and the SDK passes on: it is the simulator that is asked."""
        declared = tools(("weather", WEATHER))
        first = parts(self.ask(False, **declared))
        first[0].function_call.id = "call-1"
        refused("ClientError", 400, lambda: self.ask(False, history(first), **declared))

    def count(self):
        count = lambda text: self.sdk.models.count_tokens(model="gemini-faithful", contents=text).total_tokens
        short, more = count(QUESTION), count(QUESTION * 2)
        want(0 < short < more, f"{short} tokens, and {more} of twice the text")

    def models(self):
        listed = [model.name for model in self.beta.models.list(config={"query_base": True})]
        want("publishers/google/models/gemini-faithful" in listed, f"not listed: {listed!r:.300}")

    def embeddings(self):
        # Of several contents Google's client asks Vertex AI's Gemini embedders for one vector.
        for model, count in (("gemini-faithful", 1), ("text-embedding-faithful", 2)):
            answer = self.sdk.models.embed_content(model=model, contents=["one", "two"], config={"output_dimensionality": 5})
            vectors = [embedding.values for embedding in answer.embeddings]
            want(len({tuple(vector) for vector in vectors}) == count and len(vectors[0]) == 5, f"{model}: {vectors!r:.200}")


def parts(chunks):
    contents = [candidate.content for chunk in chunks for candidate in chunk.candidates or []]
    return [part for content in contents if content for part in content.parts or []]


def history(first):
    calls = [part.function_call for part in first if part.function_call]
    said = [
        types.Part(function_response=types.FunctionResponse(name=call.name, response={"result": RESULTS[call.name]})) for call in calls
    ]
    return [ASKED, types.Content(role="model", parts=first), types.Content(role="user", parts=said)]


def run(report, args):
    client = Client(args)
    scenarios = {"text": client.text, "tools": client.tools, "structured": client.structured, "thinking": client.thinking}
    for name, function in scenarios.items():
        report.both(name, function)
    for function in (client.signature, client.ids, client.count, client.models, client.embeddings):
        report.run(function.__name__, function)
    for fault, (kind, status) in ERRORS.items():
        report.both(f"error {fault}", lambda streaming: refused(kind, status, lambda: client.ask(streaming, model=fault)))
    for fault in ("error-first", "error-in-stream"):
        report.run(f"error {fault}", lambda: refused("ServerError", 503, lambda: client.ask(True, model=fault)))
