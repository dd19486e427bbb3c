"""What the OpenAI SDK makes of errors, over either of its two ways to chat; and of Anthropic's SDK, made alike."""

from checks import equal, raises

# By how a model misbehaves: the class and the status.
OPENAI = {
    "status-400": ("BadRequestError", 400),
    "bad-key": ("AuthenticationError", 401),
    "status-403": ("PermissionDeniedError", 403),
    "status-404": ("NotFoundError", 404),
    "quota": ("RateLimitError", 429),
    "limited-retry-after": ("RateLimitError", 429),
    "status-500": ("InternalServerError", 500),
    "status-503": ("InternalServerError", 503),
    "no-such-behaviour": ("NotFoundError", 404),
}


def run(session, client, sdk, expected=OPENAI, in_stream=("APIError", None)):
    if "errors" in session.abilities:
        for fault, (kind, status) in expected.items():
            for streaming in (False, True):

                def refused():
                    raises(getattr(sdk, kind), status, lambda: client.failing(session.fault(fault), streaming))

                session.run(f"error {fault}", streaming, refused, lambda _: None)
        kind, status = in_stream
        for fault in ("error-first", "error-in-stream"):

            def broken():
                raises(getattr(sdk, kind), status, lambda: client.failing(session.fault(fault), True))

            session.run(f"error {fault}", True, broken, lambda _: None)
    if "retries" in session.abilities:
        session.run("retries until it works", False, lambda: works(session, client), lambda _: None)
        session.run("retries and gives up", False, lambda: gives_up(session, client, sdk), lambda _: None)
        session.run("no retry of a bad request", False, lambda: once(session, client, sdk), lambda _: None)


def works(session, client):
    client.failing(session.fault("once-limited-retry-after-ms"), False, retries=1)
    equal([exchange.status for exchange in session.recorder.exchanges], [429, 200], "statuses")


def gives_up(session, client, sdk):
    model = session.fault("limited-retry-after-ms")
    raises(sdk.RateLimitError, 429, lambda: client.failing(model, False, retries=2))
    equal([exchange.status for exchange in session.recorder.exchanges], [429, 429, 429], "statuses")


def once(session, client, sdk):
    raises(sdk.BadRequestError, 400, lambda: client.failing(session.fault("status-400"), False, retries=2))
    equal(len(session.recorder.exchanges), 1, "attempts")
