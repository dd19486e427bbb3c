#!/usr/bin/env python3
"""Drives a server with one of the official Python SDKs and says what came of it, a line of JSON a scenario.

    client.py --dialect messages --base-url http://127.0.0.1:8080 --model default/claude --abilities text,tools

`--simulated` says that the provider simulator is behind the server, whose answers are known. `--plan` reads what to ask
from standard input in place of the flags: a line of JSON an upstream, with the fields of `checks.Upstream`. Exits 1 if any
failed.
"""

import argparse
import importlib
import json
import sys

import scenarios
from checks import Session, Upstream
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
    parser.add_argument("--plan", action="store_true", help="read upstreams from standard input")
    parser.add_argument("--model")
    parser.add_argument("--abilities", type=lambda text: text.split(","), help=", ".join(scenarios.ABILITIES))
    parser.add_argument("--faults", default="{}", metavar="TEMPLATE", help="the name of a model that misbehaves; {} is how")
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--api-key", default="weighbridge-test")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds a single request may take")
    args = parser.parse_args()
    if args.plan:
        upstreams = [Upstream(**json.loads(line)) for line in sys.stdin]
    elif args.model and args.abilities:
        upstreams = [Upstream(args.model, args.abilities, args.model, args.faults, args.simulated)]
    else:
        parser.error("give --model and --abilities, or --plan")
    unknown = {ability for upstream in upstreams for ability in upstream.abilities} - set(scenarios.ABILITIES)
    if unknown:
        parser.error(f"unknown abilities: {unknown}; there are {', '.join(scenarios.ABILITIES)}")
    recorder = Recorder(args.base_url, args.timeout)
    module = importlib.import_module(DIALECTS[args.dialect])
    failed = 0
    for upstream in upstreams:
        session = Session(upstream, module.CLIENT, recorder)
        scenarios.run(session, module.Client(session, recorder.url, args.api_key, args.timeout), module.look)
        failed += session.failed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
