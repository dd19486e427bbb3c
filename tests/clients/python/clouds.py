#!/usr/bin/env python3
"""Drives a cloud's API with one of the official Python SDKs and says what came of it, a line of JSON a scenario.

    clouds.py --client boto3 --base-url http://127.0.0.1:8001 --key '{"accessKeyId": …}'

The provider simulator answers in the end: what it says is known, and its models that misbehave are called by what they do. The SDK
signs or gets its token by itself, from the same key that a Secret would hold. Exits 1 if any scenario failed.
"""

import argparse
import importlib
import json
import sys
import traceback

from checks import Failed, equal, want

CLIENTS = {
    "boto3": "cloud_converse",
    "anthropic-bedrock": "cloud_messages",
    "anthropic-vertex": "cloud_messages",
    "google-genai-vertex": "cloud_generate",
}


class Report:
    """Runs scenarios and prints a line each."""

    def __init__(self, only):
        self.only = only
        self.failed = 0

    def run(self, scenario, function):
        if self.only and not any(scenario.startswith(name) for name in self.only):
            return
        detail = ""
        try:
            function()
        except Failed as reason:
            detail = str(reason)
        except Exception as error:  # noqa: BLE001 - whatever an SDK throws is the server's failure, or ours: show it
            ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/clients/" in frame.filename]
            detail = f"{type(error).__name__} at line {ours[-1].lineno if ours else 0}: {error!s:.600}"
        self.failed += bool(detail)
        print(json.dumps({"scenario": scenario, "detail": detail}, ensure_ascii=False), flush=True)

    def both(self, scenario, function):
        """Whole and streamed."""
        for streaming in (False, True):
            self.run(f"{scenario}, {'streamed' if streaming else 'whole'}", lambda: function(streaming))


def refused(kind, status, call):
    """Runs `call`, which must raise an error of exactly this class (or AWS's code) and status."""
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - the class is what is looked at
        said = getattr(error, "response", None)
        aws = isinstance(said, dict)
        got = said["Error"]["Code"] if aws else type(error).__name__
        equal(got, kind, f"class of the error {error!s:.200}")
        if status is not None:
            got = said["ResponseMetadata"]["HTTPStatusCode"] if aws else getattr(error, "status_code", getattr(error, "code", None))
            equal(got, status, "status of the error")
        return
    want(False, f"no error was raised, expected {kind}; got {answer!r:.300}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--client", required=True, choices=CLIENTS)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--key", required=True, help="as a Secret has it: JSON, or a Bedrock API key")
    parser.add_argument("--model", metavar="TEMPLATE", help="how models are called, with {} for what they do [default: as the cloud has it]")
    parser.add_argument("--ca", metavar="FILE", help="whom to trust, in PEM, where the server has a certificate [default: whom everybody does]")
    parser.add_argument("--only", default="", help="what the scenarios' names begin with, by commas [default: all]")
    args = parser.parse_args()
    report = Report([name for name in args.only.split(",") if name])
    importlib.import_module(CLIENTS[args.client]).run(report, args)
    return 1 if report.failed else 0


if __name__ == "__main__":
    # The scenarios import this module by its name.
    sys.modules["clouds"] = sys.modules["__main__"]
    sys.exit(main())
