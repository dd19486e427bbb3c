"""What an SDK makes of errors, before and within a stream."""

from checks import equal


def run(session, client):
    upstream = session.upstream
    statuses = client.statuses if upstream.statuses is None else upstream.statuses
    broken = client.broken if upstream.broken is None else upstream.broken
    if "errors" in session.abilities:
        for fault, status in statuses.items():
            # Who is to come again is told when.
            fails = client.limited if fault.startswith("limited-") else client.fails
            # What comes first in a stream comes nowhere else.
            for streaming in (True,) if fault == "error-first" else (False, True):
                refused = lambda: fails(status, lambda: client.failing(session.fault(fault), streaming))
                session.run(f"error {fault}", streaming, refused, client.look_at_failure)
        for fault, status in broken.items():
            cut = lambda: client.breaks(status, lambda: client.failing(session.fault(fault), True))
            session.run(f"error {fault}", True, cut, client.look_at_failure)
    if "retries" in session.abilities:
        if client.retries:
            session.run("retries until it works", False, lambda: works(session, client), lambda _: None)
            session.run("retries and gives up", False, lambda: gives_up(session, client), lambda _: None)
            session.run("no retry of a bad request", False, lambda: once(session, client, "status-400", 400), lambda _: None)
        else:
            session.run("no retry unless asked", False, lambda: once(session, client, "status-503", 503), lambda _: None)


def works(session, client):
    client.failing(session.fault("once-limited-retry-after-ms"), False, retries=1)
    equal([exchange.status for exchange in session.recorder.exchanges], [429, 200], "statuses")


def gives_up(session, client):
    model = session.fault("limited-retry-after-ms")
    client.fails(429, lambda: client.failing(model, False, retries=2))
    equal([exchange.status for exchange in session.recorder.exchanges], [429, 429, 429], "statuses")


def once(session, client, fault, status):
    client.fails(status, lambda: client.failing(session.fault(fault), False, retries=2))
    equal(len(session.recorder.exchanges), 1, "attempts")
