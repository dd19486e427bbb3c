"""What every client asks for, and how it says what came of it."""

import json
import traceback
from dataclasses import dataclass, field

QUESTION = "Name three colours of the rainbow."
SYSTEM = "Be brief."
# What the simulator answers to a question without tools.
SIMULATED = "Hello, wörld 😀!"
# Tokens that the older completions may have: the simulator has said all by then, and a model nothing yet.
FEW = 4
RESULT = "22.5 °C in “Zürich”"
NOTHING = "nothing at all"
# A picture whose base64 has every letter in which the two alphabets differ, and padding.
IMAGE_TYPE = "image/png"
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAFHRFWHRDb21tZW50APv/v/77/7/++/+//j+Hu0kAAAALSURBVHicY/gPBAAJ+wP9"
    "+15rKwAAAABJRU5ErkJggg=="
)
SEEN = f"I see {IMAGE_TYPE} {IMAGE}"

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


@dataclass
class Upstream:
    """What a client is pointed at."""

    model: str
    abilities: list
    # What the report calls it.
    name: str = ""
    # The name of a model that misbehaves; {} is how.
    faults: str = "{}"
    # The provider simulator answers in the end, whose words are known.
    simulated: bool = False
    # Thoughts are signed each for itself.
    signed: bool = True
    # What the question is answered with, where the model is asked for its likeliest words.
    answer: str | None = None
    # Tokens of that question and of its answer.
    tokens: list | None = None
    # By scenario, the field that the server must refuse by name.
    refused: dict = field(default_factory=dict)
    # By fault, the status, where it is not the simulator's own; and the same within a stream.
    statuses: dict | None = None
    broken: dict | None = None


class Session:
    """What one run of a client is asked to do, and its report."""

    def __init__(self, upstream, client, recorder):
        self.upstream, self.client, self.recorder = upstream, client, recorder
        self.model, self.simulated, self.abilities = upstream.model, upstream.simulated, upstream.abilities
        # A model that is not simulated is asked for its likeliest words, so that they can be compared.
        self.greedy = {} if upstream.answer is None else {"temperature": 0}
        self.failed = 0

    def fault(self, name):
        """The model that misbehaves so."""
        return self.upstream.faults.replace("{}", name)

    def said(self, text):
        """A text that answers the question."""
        want(text, "the answer is empty")
        known = SIMULATED if self.simulated else self.upstream.answer
        if known is not None:
            equal(text, known, "text")

    def completed(self, text, reason):
        """What the older completions say: they know no turns, and a model goes on from the question."""
        want(text, "the answer is empty")
        if self.simulated:
            equal(text, SIMULATED, "text")
        equal(reason, "stop" if self.simulated else "length", "why it ended")

    def counted(self, read, written, total=None):
        """Tokens, all that were read and all that were written."""
        want(read and written and read > 0 and written > 0, f"tokens read {read!r}, written {written!r}")
        if total is not None:
            equal(total, read + written, "total of the tokens")
        if self.upstream.tokens is not None:
            equal([read, written], self.upstream.tokens, "tokens read and written")

    def cached(self, plain, read, cached):
        """Of the same prompt at two models, of which one read half of it from its cache: tokens are in one place each."""
        equal(read, plain, "tokens of a prompt, cached or not")
        equal(cached, (plain + 1) // 2, "cached tokens")

    def told(self, text, *results):
        """A text that answers with what the tools said."""
        want(text, "the answer is empty")
        if self.simulated:
            for result in results:
                want(result in text, f"the answer does not tell {result!r}: {text!r:.300}")

    def run(self, scenario, streaming, function, strict, refused=""):
        """Runs one scenario, looks at its frames and prints its line. `refused`: which field is to be refused by name."""
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
        line = {"client": self.client, "upstream": self.upstream.name, "scenario": scenario, "streaming": streaming}
        line |= {"ok": not detail, "refused": refused, "detail": detail}
        print(json.dumps(line, ensure_ascii=False), flush=True)
        return not detail


def raises(kind, status, call):
    """Runs `call`, which must raise a `kind` with this status. Returns the error."""
    try:
        answer = call()
    except kind as error:
        # The exact class: a base class would take any error for any other.
        equal(type(error).__name__, kind.__name__, f"class of the error {error!s:.300}")
        got = getattr(error, "status_code", None) or getattr(error, "code", None)
        if status is not None:
            equal(got, status, f"status of the error {error!s:.300}")
        return error
    except Exception as error:  # noqa: BLE001 - the class is what is looked at
        raise Failed(f"got {type(error).__name__}, expected {kind.__name__} {status}: {error!s:.300}") from None
    raise Failed(f"no error was raised, expected {kind.__name__} {status}; got {answer!r:.300}")
