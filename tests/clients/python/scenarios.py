"""The scenarios, and what every program does with them."""

import faults
import strict
from checks import NOTHING, RESULT, equal, want

# Each ability is for the method of its name. The report calls one otherwise.
BOTH = ("text", "completions", "image", "cached", "tools", "parallel", "schema", "thinking", "stored")
ONCE = ("signature", "embeddings", "count", "models")
ABILITIES = (*BOTH, *ONCE, "keys", "errors", "retries")
NAMES = {"schema": "structured"}

# Every server says how long to wait, and the simulator says seven seconds; of a time of day that may be eight.
LONGEST_WAIT = 8


class Client:
    """One SDK in one dialect. What it has no method for its dialect does not have."""

    # What each tool answers.
    results = {"weather": RESULT, "nothing": NOTHING}
    # The simulator's own statuses, by fault; those of errors within a stream.
    statuses = {}
    broken = {}
    # Whether it tries again by itself.
    retries = True

    def __init__(self, session, url, key, timeout):
        self.session, self.url, self.timeout = session, url, timeout
        self.sdk = self.connect(url, key, timeout)

    def connect(self, url, key, timeout):
        """The SDK, which is to try nothing again."""
        raise NotImplementedError

    def failing(self, model, streaming, retries=0):
        """Asks a model that may misbehave, and reads the answer to its end."""
        raise NotImplementedError

    def fails(self, status, call):
        """Runs `call`, which must fail as this SDK says it of the status. Returns the error."""
        raise NotImplementedError

    def breaks(self, status, call):
        """Runs `call`, whose stream must end with an error of this status."""
        raise NotImplementedError

    def error(self, text):
        """Reads the body of an error, or its event's data, strictly."""
        raise NotImplementedError

    def frame(self, name, data):
        """Reads an event of a stream that breaks off, strictly; the last is an error."""
        raise NotImplementedError

    def look_at_failure(self, exchange):
        """Reads the frames of an answer that is an error, or becomes one."""
        if exchange.status == 200:
            strict.check(exchange, self.error, self.frame)
        else:
            self.error(exchange.body.decode())

    def wait(self, error):
        """Seconds that the caller is told to wait."""
        return float(error.response.headers["retry-after"])

    def refuses(self, field, call):
        """Runs `call`, which must be refused for `field`, by name."""
        error = self.fails(400, call)
        want(f"`{field}`" in str(error), f"`{field}` is not named: {error!s:.300}")
        param = getattr(error, "param", None)
        want(param in (None, field), f"`{param}` is said to be at fault and not `{field}`: {error!s:.300}")

    def parallel(self, streaming):
        self.tools(streaming, parallel=True)

    def limited(self, status, call):
        """Runs `call`, which must be told to wait."""
        wait = self.wait(self.fails(status, call))
        want(1 <= wait <= LONGEST_WAIT, f"told to wait for {wait} s")

    def keys(self):
        other = type(self)(self.session, self.url, "wb-another", self.timeout)
        self.fails(401, lambda: other.failing(self.session.model, False))
        self.fails(401, lambda: other.failing(self.session.model, True))
        # Whether there is such a model or not: the key is of another namespace.
        self.fails(403, lambda: self.failing("elsewhere/model", False))

    def listed(self, names):
        want(self.session.model in names, f"{self.session.model} is not listed: {names!r:.300}")
        equal(len(set(names)), len(names), "models listed once")


def run(session, client, look):
    """Runs every scenario that is asked for; `look` reads each answer's frames strictly."""

    def attempt(ability, streaming, function):
        scenario = NAMES.get(ability, ability)
        refused = session.upstream.refused.get(scenario, "")
        call = (lambda: client.refuses(refused, function)) if refused else function
        session.run(scenario, streaming, call, look, refused)

    for ability in (*BOTH, *ONCE):
        function = getattr(client, ability, None)
        if ability not in session.abilities or function is None:
            continue
        for streaming in (False, True) if ability in BOTH else (False,):
            attempt(ability, streaming, (lambda: function(streaming)) if ability in BOTH else function)
    if "keys" in session.abilities:
        session.run("keys", False, client.keys, lambda _: None)
    faults.run(session, client)
