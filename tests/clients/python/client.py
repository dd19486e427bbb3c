#!/usr/bin/env python3
"""Drives a server with one of the official Python SDKs and says what came of it, a line of JSON a scenario.

    client.py --dialect messages --base-url http://127.0.0.1:8080 --model default/claude --abilities text,tools

`--simulated` says that the provider simulator is behind the server, whose answers are known. Exits 1 if any failed.
"""

import argparse
import importlib
import sys

from checks import ABILITIES, Session
from recorder import Recorder

DIALECTS = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "generate": "gemini_generate",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dialect", required=True, choices=DIALECTS)
    parser.add_argument("--base-url", required=True, help="without /v1: what stands before every SDK's own path")
    parser.add_argument("--model", required=True)
    parser.add_argument("--abilities", required=True, type=lambda text: text.split(","), help=", ".join(ABILITIES))
    parser.add_argument("--faults", default="{}", metavar="TEMPLATE", help="the name of a model that misbehaves; {} is how")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--api-key", default="weighbridge-test")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a single request may take")
    args = parser.parse_args()
    unknown = [ability for ability in args.abilities if ability not in ABILITIES]
    if unknown:
        parser.error(f"unknown abilities: {unknown}; there are {', '.join(ABILITIES)}")
    recorder = Recorder(args.base_url, args.timeout)
    module = importlib.import_module(DIALECTS[args.dialect])
    session = Session(args, module.CLIENT, recorder)
    module.run(session, recorder.url, args.api_key, args.timeout)
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
