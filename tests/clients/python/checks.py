"""What every client asks for, and how it says what came of it."""

import json
import traceback

QUESTION = "Name three colours of the rainbow."
# What the simulator answers to a question without tools.
SIMULATED = "Hello, wörld 😀!"
RESULT = "22.5 °C in “Zürich”"
NOTHING = "nothing at all"
ABILITIES = ("text", "tools", "parallel", "schema", "thinking", "signature", "stored", "embeddings", "count", "errors", "retries")

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "the city"},
        "days": {"type": "integer", "description": "how many days ahead"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string", "enum": ["kind", "tall"]}},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


class Failed(Exception):
    """A promise that was not kept, in words."""


def want(condition, message):
    if not condition:
        raise Failed(message)


def equal(got, expected, what):
    want(got == expected, f"{what}: got {got!r:.300}, expected {expected!r:.300}")


def one_of(got, expected, what):
    want(got in expected, f"{what}: got {got!r:.300}, expected one of {expected!r}")


def check_weather(arguments):
    want(isinstance(arguments, dict), f"arguments are no object: {arguments!r}")
    equal(set(arguments), {"city", "days"}, "names of the arguments")
    want(isinstance(arguments["city"], str), f"city is no string: {arguments!r}")
    want(isinstance(arguments["days"], int), f"days is no integer: {arguments!r}")


def check_person(text):
    try:
        person = json.loads(text)
    except ValueError:
        raise Failed(f"no JSON: {text!r:.300}") from None
    want(isinstance(person, dict) and set(person) == {"name", "age", "tags"}, f"not an instance: {text:.300}")
    want(isinstance(person["name"], str) and isinstance(person["age"], int), f"not an instance: {text:.300}")
    want(isinstance(person["tags"], list) and all(tag in ("kind", "tall") for tag in person["tags"]), f"not an instance: {text:.300}")


def alter(signature):
    """The same signature but for one letter in its middle."""
    middle = len(signature) // 2
    return signature[:middle] + ("A" if signature[middle] != "A" else "B") + signature[middle + 1 :]


class Session:
    """What one run of a client is asked to do, and its report."""

    def __init__(self, args, client, recorder):
        self.model, self.client, self.recorder = args.model, client, recorder
        self.simulated = args.simulated
        self.abilities = args.abilities
        self.faults = args.faults
        self.failed = 0

    def fault(self, name):
        """The model that misbehaves so."""
        return self.faults.replace("{}", name)

    def said(self, text):
        """A text that answers the question."""
        want(text, "the answer is empty")
        if self.simulated:
            equal(text, SIMULATED, "text")

    def told(self, text, *results):
        """A text that answers with what the tools said."""
        want(text, "the answer is empty")
        if self.simulated:
            for result in results:
                want(result in text, f"the answer does not tell {result!r}: {text!r:.300}")

    def run(self, scenario, streaming, function, strict):
        """Runs one scenario, looks at its frames and prints its line."""
        self.recorder.take()
        detail = ""
        try:
            function()
            for exchange in self.recorder.exchanges:
                strict(exchange)
        except Failed as reason:
            detail = str(reason)
        except Exception as error:  # noqa: BLE001 - whatever an SDK throws is the server's failure, or ours: show it
            ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/clients/" in frame.filename]
            detail = f"{type(error).__name__} at line {ours[-1].lineno if ours else 0}: {error!s:.600}"
        self.failed += bool(detail)
        line = {"client": self.client, "scenario": scenario, "streaming": streaming, "ok": not detail, "detail": detail}
        print(json.dumps(line, ensure_ascii=False), flush=True)
        return not detail


def raises(kinds, status, call):
    """Runs `call`, which must raise one of `kinds` with this status. Returns the error."""
    try:
        answer = call()
    except kinds as error:
        # The exact class: a base class would take any error for any other.
        one_of(type(error), kinds if isinstance(kinds, tuple) else (kinds,), "class of the error")
        got = getattr(error, "status_code", None) or getattr(error, "code", None)
        if status is not None:
            equal(got, status, "status of the error")
        return error
    except Exception as error:  # noqa: BLE001 - the class is what is looked at
        raise Failed(f"got {type(error).__name__}, expected {kinds}: {error!s:.300}") from None
    raise Failed(f"no error was raised, expected {kinds}; got {answer!r:.300}")
