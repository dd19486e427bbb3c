"""Stands between an SDK and the server and keeps what the server said, byte for byte.

An SDK forgives what it does not understand. What it was sent is looked at apart (`strict.py`), whatever HTTP library
it uses, and its attempts are counted here.
"""

import http.client
import http.server
import socket
import threading
import urllib.parse
from dataclasses import dataclass


@dataclass
class Exchange:
    """One request and its answer."""

    path: str
    request: bytes
    status: int
    content_type: str
    body: bytes


class Recorder:
    """A server on a free loopback port that passes everything on to `base_url`."""

    def __init__(self, base_url, timeout):
        self.upstream = urllib.parse.urlsplit(base_url)
        self.timeout = timeout
        self.exchanges = []
        recorder = self

        class Handler(http.server.BaseHTTPRequestHandler):
            # One request a connection: its end is the answer's end, so that what breaks off breaks off here too.
            protocol_version = "HTTP/1.0"

            def do_POST(self):
                recorder.forward(self)

            def do_GET(self):
                recorder.forward(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def forward(self, handler):
        length = int(handler.headers.get("content-length") or 0)
        sent = handler.rfile.read(length)
        connection = http.client.HTTPConnection(self.upstream.hostname, self.upstream.port, timeout=self.timeout)
        dropped = ("host", "connection", "accept-encoding")
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in dropped}
        try:
            connection.request(handler.command, self.upstream.path.rstrip("/") + handler.path, sent or None, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            self.exchanges.append(Exchange(handler.path, sent, 0, "", b""))
            return
        exchange = Exchange(handler.path, sent, answer.status, answer.headers.get("content-type", ""), b"")
        self.exchanges.append(exchange)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            # A length is passed on, so that a body that ends too early is seen to.
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                handler.send_header(name, value)
        chunked = answer.headers.get("transfer-encoding") == "chunked"
        handler.end_headers()
        try:
            while chunk := answer.read1(65536):
                exchange.body += chunk
                handler.wfile.write(chunk)
                handler.wfile.flush()
        except (OSError, http.client.HTTPException):
            if chunked:
                # Without a length only a reset says that there was to be more.
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                handler.connection.close()
        finally:
            connection.close()

    def take(self):
        """What was exchanged since the last call."""
        taken, self.exchanges = self.exchanges, []
        return taken
