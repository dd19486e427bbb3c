"""AWS's SDK over Converse; every frame is read again by the SDK's own model of the API, strictly."""

import json
import os

import boto3
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch, EventStream
from botocore.exceptions import EventStreamError

from checks import EMPTY, NOTHING, PERSON, QUESTION, RESULT, SIMULATED, WEATHER, alter, check_person, check_weather, equal, want
from clouds import refused

MODEL = "us.amazon.nova-{}-v1:0"
ASKED = [{"role": "user", "content": [{"text": QUESTION}]}]
RESULTS = {"weather": RESULT, "nothing": NOTHING}
ERRORS = {
    "status-400": ("ValidationException", 400),
    "bad-key": ("UnrecognizedClientException", 403),
    "quota": ("ServiceQuotaExceededException", 400),
    "status-403": ("AccessDeniedException", 403),
    "status-404": ("ResourceNotFoundException", 404),
    "status-408": ("ModelTimeoutException", 408),
    "status-424": ("ModelErrorException", 424),
    "limited-no-hint": ("ThrottlingException", 429),
    "status-500": ("InternalServerException", 500),
    "status-503": ("ServiceUnavailableException", 503),
    "no-such-behaviour": ("ValidationException", 400),
}


def tool(name, schema):
    return {"toolSpec": {"name": name, "description": name, "inputSchema": {"json": schema}}}


class Client:
    def __init__(self, args, attempts=1):
        key, named = args.key, {}
        self.name = args.model or MODEL
        if key.startswith("{"):
            read = json.loads(key)
            named = {
                "aws_access_key_id": read["accessKeyId"],
                "aws_secret_access_key": read["secretAccessKey"],
                "aws_session_token": read.get("sessionToken"),
            }
        else:
            os.environ["AWS_BEARER_TOKEN_BEDROCK"] = key
        config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=60, connect_timeout=10)
        options = {"region_name": "us-east-1", "endpoint_url": args.base_url, "config": config, "verify": args.ca, **named}
        self.sdk = boto3.client("bedrock-runtime", **options)
        # At AWS the list of models is at a host of its own.
        self.control = boto3.client("bedrock", **options)
        self.statuses = []
        events = self.sdk.meta.events
        events.register("before-parse.bedrock-runtime.*", self.whole)

    def whole(self, operation_model, response_dict, **_):
        self.statuses.append(response_dict["status_code"])
        if response_dict["status_code"] == 200 and not operation_model.has_event_stream_output:
            strict(operation_model.output_shape, json.loads(response_dict["body"]), operation_model.output_shape.name)

    def ask(self, streaming, messages=ASKED, model="faithful", **more):
        options = {"modelId": self.name.format(model), "messages": messages, **more}
        if not streaming:
            answer = self.sdk.converse(**options)
            return {"content": answer["output"]["message"]["content"], "stop": answer["stopReason"], "usage": answer["usage"]}
        answer = {"content": []}
        order = []
        for event in self.sdk.converse_stream(**options)["stream"]:
            ((kind, said),) = event.items()
            order.append(kind)
            if kind == "contentBlockStart":
                answer["content"].append({"toolUse": {**said["start"]["toolUse"], "input": ""}})
            elif kind == "contentBlockDelta":
                take(answer["content"], said["contentBlockIndex"], said["delta"])
            elif kind == "messageStop":
                answer["stop"] = said["stopReason"]
            elif kind == "metadata":
                answer["usage"] = said["usage"]
        equal((order[0], order[-2:]), ("messageStart", ["messageStop", "metadata"]), "frame of the stream")
        equal(order.count("contentBlockStop"), len(answer["content"]), "blocks that were closed")
        for block in answer["content"]:
            if "toolUse" in block:
                block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
        return answer

    def text(self, streaming):
        answer = self.ask(streaming, system=[{"text": "Be brief."}], inferenceConfig={"maxTokens": 2048})
        equal(answer["content"], [{"text": SIMULATED}], "content")
        equal(answer["stop"], "end_turn", "stopReason")
        usage = answer["usage"]
        want(usage["inputTokens"] > 0 and usage["outputTokens"] > 0, f"usage {usage!r}")

    def stopped(self, streaming):
        equal(self.ask(streaming, inferenceConfig={"stopSequences": ["rld"]})["stop"], "stop_sequence", "stopReason")
        equal(self.ask(streaming, inferenceConfig={"maxTokens": 1})["stop"], "max_tokens", "stopReason")

    def tools(self, streaming, parallel=False, **more):
        offered = [tool("weather", WEATHER)] + [tool("nothing", EMPTY)] * parallel
        config = {"tools": offered} if parallel or more else {"tools": offered, "toolChoice": {"any": {}}}
        first = self.ask(streaming, toolConfig=config, **more)
        equal(first["stop"], "tool_use", "stopReason")
        calls = [block["toolUse"] for block in first["content"] if "toolUse" in block]
        equal([call["name"] for call in calls], ["weather", "nothing"] if parallel else ["weather"], "calls")
        check_weather(calls[0]["input"])
        if parallel:
            equal(calls[1]["input"], {}, "input of a tool that takes none")
        second = self.ask(streaming, history(first), toolConfig={"tools": offered}, **more)
        said = "".join(block.get("text", "") for block in second["content"])
        for call in calls:
            want(RESULTS[call["name"]] in said, f"the answer does not tell what {call['name']} said: {said!r}")

    def structured(self, streaming):
        schema = {"jsonSchema": {"name": "person", "schema": json.dumps(PERSON)}}
        answer = self.ask(streaming, outputConfig={"textFormat": {"type": "json_schema", "structure": schema}})
        check_person(answer["content"][0]["text"])

    def thinking(self, streaming):
        effort = {"outputConfig": {"effort": "low"}}
        answer = self.ask(streaming, **effort)
        equal([list(block) for block in answer["content"]], [["reasoningContent"], ["text"]], "blocks")
        self.tools(streaming, **effort)

    def signature(self):
        more = {"toolConfig": {"tools": [tool("weather", WEATHER)]}, "outputConfig": {"effort": "low"}}
        turns = history(self.ask(False, **more))
        thought = turns[1]["content"][0]["reasoningContent"]["reasoningText"]
        thought["signature"] = alter(thought["signature"])
        refused("ValidationException", 400, lambda: self.ask(False, turns, **more))

    def cached(self, streaming):
        long = [{"role": "user", "content": [{"text": QUESTION * (40 + streaming)}, {"cachePoint": {"type": "default"}}]}]
        written, read = (self.ask(streaming, long)["usage"] for _ in range(2))
        want(written["cacheWriteInputTokens"] > 0 == written["cacheReadInputTokens"], f"not written: {written!r}")
        equal(written["cacheDetails"], [{"ttl": "5m", "inputTokens": written["cacheWriteInputTokens"]}], "details")
        equal(read["cacheReadInputTokens"], written["cacheWriteInputTokens"], "tokens read from the cache")

    def count(self):
        ask = lambda **more: self.sdk.count_tokens(modelId=self.name.format("faithful"), input={"converse": {"messages": ASKED, **more}})
        short, more = ask()["inputTokens"], ask(toolConfig={"tools": [tool("weather", WEATHER)]})["inputTokens"]
        want(0 < short < more, f"{short} tokens, and {more} with a tool")

    def models(self):
        listed = [model["modelId"] for model in self.control.list_foundation_models()["modelSummaries"]]
        want("amazon.nova-faithful-v1:0" in listed, f"not listed: {listed!r:.300}")


def take(content, index, delta):
    if index == len(content):
        content.append({})
    block = content[index]
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    else:
        said = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
        for name, piece in delta["reasoningContent"].items():
            said[name] = said.get(name, "") + piece


def history(first):
    calls = [block["toolUse"] for block in first["content"] if "toolUse" in block]
    said = [{"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": RESULTS[call["name"]]}]}} for call in reversed(calls)]
    return [*ASKED, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": said}]


def strict(shape, value, place):
    """`value` as the model of the API has it: nothing missing, nothing that it does not know, everything of its type."""
    kind = "document" if getattr(shape, "is_document_type", False) else shape.type_name
    if kind == "structure":
        want(isinstance(value, dict), f"{place} is no object: {value!r:.200}")
        unknown = set(value) - set(shape.members) - {"p"}
        want(not unknown, f"{place} has what the API does not know: {unknown}")
        missing = set(getattr(shape, "required_members", [])) - set(value)
        want(not missing, f"{place} lacks {missing}")
        if getattr(shape, "is_tagged_union", False):
            equal(len(value), 1, f"members of the union {place}")
        for name, member in shape.members.items():
            if name in value:
                strict(member, value[name], f"{place}.{name}")
    elif kind == "list":
        for index, item in enumerate(value):
            strict(shape.member, item, f"{place}[{index}]")
    elif kind == "string":
        want(isinstance(value, str) and (not shape.enum or value in shape.enum), f"{place} is {value!r:.200}")
    elif kind in ("integer", "long"):
        want(isinstance(value, int), f"{place} is {value!r:.200}")


def watch(client):
    """Reads every event of a stream strictly, before the SDK does."""
    shape = client.sdk.meta.service_model.operation_model("ConverseStream").output_shape.members["stream"]
    parse = EventStream._parse_event

    def parsed(self, event):
        if event.headers.get(":message-type") == "event":
            kind = event.headers[":event-type"]
            strict(shape.members[kind], json.loads(event.payload), kind)
        return parse(self, event)

    EventStream._parse_event = parsed


def broken(client, model, kind):
    try:
        client.ask(True, model=model)
    except kind as error:
        return error
    want(False, f"{model} is no {kind.__name__}")


def retries(args):
    once = Client(args, attempts=2)
    once.ask(False, model="once-limited-no-hint")
    equal(once.statuses, [429, 200], "statuses")
    bad = Client(args, attempts=3)
    refused("ValidationException", 400, lambda: bad.ask(False, model="status-400"))
    equal(bad.statuses, [400], "statuses")


def run(report, args):
    client = Client(args)
    watch(client)
    scenarios = {"text": client.text, "stop": client.stopped, "tools": client.tools, "structured": client.structured}
    for name, function in {**scenarios, "thinking": client.thinking, "cached": client.cached}.items():
        report.both(name, function)
    report.both("parallel", lambda streaming: client.tools(streaming, parallel=True))
    report.run("signature", client.signature)
    report.run("count", client.count)
    report.run("models", client.models)
    for fault, (kind, status) in ERRORS.items():
        report.both(f"error {fault}", lambda streaming: refused(kind, status, lambda: client.ask(streaming, model=fault)))
    for fault in ("error-first", "error-in-stream"):
        said = lambda: want("serviceUnavailableException" in str(broken(client, fault, EventStreamError)), "another exception")
        report.run(f"error {fault}", said)
    report.run("error damaged", lambda: broken(client, "damaged", ChecksumMismatch))
    report.run("retries", lambda: retries(args))
