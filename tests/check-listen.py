#!/usr/bin/env python3
"""Says before a long build what `weighbridge up` would say after it: that an address is taken, lets others in, or none.

    check-listen.py LISTEN=127.0.0.1:8080 METRICS=9090 -- --allow-remote

The names are those of `make run`. METRICS may be empty: none. After `--` are the other flags of `weighbridge up`. The
sample that `make run` serves has no ModelAccess, so that nothing asks callers who they are.
"""

import errno
import ipaddress
import socket
import sys


# What was found free, kept so that a second name for it is found taken: `(name, socket)`.
taken = []

# As `weighbridge up` says it (cli/src/up/error.rs).
REMOTE = {
    "LISTEN": "lets other machines in, and nothing asks them who they are: listen on 127.0.0.1, put a ModelAccess into the "
    "file (`weighbridge key create` prints one) and start `weighbridge up` yourself, or add ARGS=--allow-remote",
    "METRICS": "lets other machines read the metrics, and nothing asks them who they are: listen on 127.0.0.1, or add "
    "ARGS=--allow-remote",
}


def parsed(address):
    """What the program makes of it, where a bare port is one of loopback; `None` where it is no address."""
    host, colon, port = address.rpartition(":")
    if host in ("", "localhost"):
        host = "127.0.0.1"
    try:
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        ip = ipaddress.ip_address(bare)
    except ValueError:
        return None
    # An address of IPv6 stands in brackets, so that its end and the port's beginning are told apart.
    if (ip.version == 6) != (bare != host) or not (port.isascii() and port.isdigit()):
        return None
    return ip, int(port)


def problem(name, address, allow_remote):
    found = parsed(address)
    port = {"METRICS": 9091}.get(name, 8081)
    example = f"write {name}={port}, or {name}=127.0.0.1:{port}"
    if found is None:
        return f"is no address: {example}"
    ip, port = found
    if port > 65535:
        return f"has a port above 65535: {example}"
    loopback = ip == ipaddress.ip_address("::1") if ip.version == 6 else ip.is_loopback
    if not loopback and not allow_remote:
        return REMOTE[name]
    try:
        listener = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET)
        # As the program does: a port whose last connection has just closed is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(ip), port))
        listener.listen()
        taken.append((name, listener))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return f"is no address of this machine: {example}"
        if error.errno != errno.EADDRINUSE:
            return f"can't be listened on: {error.strerror}; {example}"
        none = f", for none: make run {name}=" if name == "METRICS" else ""
        written = f"{address.rpartition(':')[0]}:" if ":" in address else ""
        whose = [other for other, listener in taken if listener.getsockname()[1] == port]
        is_taken = f"is {whose[0]}'s too" if whose else "is in use"
        return f"{is_taken}; for another: make run {name}={written}{port % 65535 + 1}{none}"
    return None


def main():
    given = sys.argv[1:]
    flags = given.index("--") if "--" in given else len(given)
    allow_remote = "--allow-remote" in given[flags:]
    for name, address in (word.split("=", 1) for word in given[:flags]):
        # METRICS may be nowhere; the door may not.
        if name == "METRICS" and not address:
            continue
        if found := problem(name, address, allow_remote):
            sys.exit(f"{name}={address} {found}")


main()
