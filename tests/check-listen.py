#!/usr/bin/env python3
"""Says before a long build what `weighbridge up` would say after it: that an address is taken, or none.

    check-listen.py LISTEN=127.0.0.1:8080 METRICS=9090        the names are those of `make run`; empty: none
"""

import errno
import ipaddress
import socket
import sys


# What was found free, kept so that a second name for it is found taken: `(name, socket)`.
taken = []


def problem(name, address):
    host, _, port = address.rpartition(":")
    # A bare port is one of loopback, as it is for the program.
    host = "127.0.0.1" if host in ("", "localhost") else host.strip("[]")
    try:
        version, port = ipaddress.ip_address(host).version, int(port)
    except ValueError:
        return f"is no address: write {name}=8081, or {name}=127.0.0.1:8081"
    try:
        listener = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET)
        # As the program does: a port whose last connection has just closed is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
        taken.append((name, listener))
    except OverflowError:
        return "has a port above 65535"
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return f"can't be listened on: {error.strerror}"
        none = f", for none: make run {name}=" if name == "METRICS" else ""
        written = f"{address.rpartition(':')[0]}:" if ":" in address else ""
        whose = [other for other, listener in taken if listener.getsockname()[1] == port]
        is_taken = f"is {whose[0]}'s too" if whose else "is in use"
        return f"{is_taken}; for another: make run {name}={written}{port % 65535 + 1}{none}"
    return None


for given in sys.argv[1:]:
    name, address = given.split("=", 1)
    if address and (found := problem(name, address)):
        sys.exit(f"{name}={address} {found}")
