"""Anthropic's SDK over Vertex AI and over Bedrock."""

import json

import anthropic
from anthropic import AnthropicBedrock, AnthropicVertex
from google.oauth2 import service_account

from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, SIMULATED, WEATHER, alter, check_person, check_weather, equal, want
from clouds import refused

ASKED = [{"role": "user", "content": QUESTION}]
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
RESULTS = {"weather": RESULT, "nothing": NOTHING}
ERRORS = {
    "status-400": ("BadRequestError", 400),
    "status-404": ("NotFoundError", 404),
    "status-403": ("PermissionDeniedError", 403),
    "limited-no-hint": ("RateLimitError", 429),
    "status-500": ("InternalServerError", 500),
    "status-503": ("ServiceUnavailableError", 503),
}
CLOUDS = {
    "anthropic-vertex": ("claude-{}@20250929", {"bad-key": ("AuthenticationError", 401), "quota": ("RateLimitError", 429)}),
    "anthropic-bedrock": (
        "us.anthropic.claude-{}-v1:0",
        {"bad-key": ("PermissionDeniedError", 403), "no-such-behaviour": ("BadRequestError", 400)},
    ),
}


def vertex(url, key):
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    account = json.loads(key)
    credentials = service_account.Credentials.from_service_account_info(account, scopes=scopes)
    place = {"project_id": account["project_id"], "region": "us-central1"}
    return AnthropicVertex(**place, base_url=f"{url}/v1", credentials=credentials, max_retries=0)


def bedrock(url, key):
    options = {"aws_region": "us-east-1", "base_url": url, "max_retries": 0}
    if not key.startswith("{"):
        return AnthropicBedrock(api_key=key, **options)
    read = json.loads(key)
    return AnthropicBedrock(
        aws_access_key=read["accessKeyId"],
        aws_secret_key=read["secretAccessKey"],
        aws_session_token=read.get("sessionToken"),
        **options,
    )


def tool(name, schema):
    return {"name": name, "description": name, "input_schema": schema}


class Client:
    def __init__(self, sdk, name):
        self.sdk, self.name = sdk, name

    def ask(self, streaming, messages=ASKED, model="faithful", **more):
        options = {"model": self.name.format(model), "max_tokens": 2048, "messages": messages, **more}
        if not streaming:
            return self.sdk.messages.create(**options)
        with self.sdk.messages.stream(**options) as stream:
            for _ in stream:
                pass
            return stream.get_final_message()

    def text(self, streaming):
        answer = self.ask(streaming, system="Be brief.")
        equal([block.type for block in answer.content], ["text"], "blocks")
        equal(answer.content[0].text, SIMULATED, "text")
        equal(answer.stop_reason, "end_turn", "stop_reason")
        want(answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, f"usage {answer.usage!r}")

    def tools(self, streaming, **more):
        offered = [tool("weather", WEATHER), tool("nothing", EMPTY)]
        first = self.ask(streaming, tools=offered, **more)
        equal(first.stop_reason, "tool_use", "stop_reason")
        calls = [block for block in first.content if block.type == "tool_use"]
        equal([call.name for call in calls], ["weather", "nothing"], "calls")
        check_weather(calls[0].input)
        second = self.ask(streaming, history(first), tools=offered, **more)
        said = "".join(block.text for block in second.content if block.type == "text")
        want(RESULT in said and NOTHING in said, f"the answer does not tell what the tools said: {said!r}")

    def structured(self, streaming):
        answer = self.ask(streaming, output_config={"format": {"type": "json_schema", "schema": PERSON}})
        check_person("".join(block.text for block in answer.content))

    def thinking(self, streaming):
        answer = self.ask(streaming, **THINKING)
        equal([block.type for block in answer.content], ["thinking", "text"], "blocks")
        want(answer.content[0].signature, "not signed")
        self.tools(streaming, **THINKING)

    def signature(self):
        more = {"tools": [tool("weather", WEATHER)], **THINKING}
        turns = history(self.ask(False, **more))
        thought = turns[1]["content"][0]
        thought["signature"] = alter(thought["signature"])
        refused("BadRequestError", 400, lambda: self.ask(False, turns, **more))

    def betas(self, streaming):
        options = {"model": self.name.format("faithful"), "max_tokens": 100, "messages": ASKED, "betas": ["a-1", "b-2"]}
        answer = self.sdk.beta.messages.create(stream=streaming, **options)
        want(list(answer) if streaming else answer.content, "the answer is empty")

    def count(self):
        short, more = (
            self.sdk.messages.count_tokens(model=self.name.format("faithful"), messages=ASKED, **extra).input_tokens
            for extra in ({}, {"tools": [tool("weather", WEATHER)]})
        )
        want(0 < short < more, f"{short} tokens, and {more} with a tool")


def history(first):
    calls = [block for block in first.content if block.type == "tool_use"]
    said = [{"type": "tool_result", "tool_use_id": call.id, "content": RESULTS[call.name]} for call in reversed(calls)]
    blocks = [block.model_dump(exclude_none=True) for block in first.content]
    return [*ASKED, {"role": "assistant", "content": blocks}, {"role": "user", "content": said}]


def run(report, args):
    name, errors = CLOUDS[args.client]
    connect = vertex if args.client == "anthropic-vertex" else bedrock
    client = Client(connect(args.base_url, args.key), args.model or name)
    scenarios = {"text": client.text, "tools": client.tools, "structured": client.structured}
    for scenario, function in {**scenarios, "thinking": client.thinking, "betas": client.betas}.items():
        report.both(scenario, function)
    report.run("signature", client.signature)
    if args.client == "anthropic-vertex":
        report.run("count", client.count)
    for fault, (kind, status) in {**ERRORS, **errors}.items():
        report.both(f"error {fault}", lambda streaming: refused(kind, status, lambda: client.ask(streaming, model=fault)))
    for fault in ("error-first", "error-in-stream"):
        # Of an error after a 200 the SDK says that the status was 200.
        report.run(f"error {fault}", lambda: refused(anthropic.APIStatusError.__name__, 200, lambda: client.ask(True, model=fault)))
