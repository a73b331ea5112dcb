"""The lab's application servers: HTTP, a line protocol, one that speaks first, one that is mute.

Usage: app.py http|lines|greeter|mute PORT
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORKLOAD = os.environ.get("WORKLOAD", "unnamed")


class Http(BaseHTTPRequestHandler):
    """Answers every path with who it is and what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self._answer()

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        document = {"workload": WORKLOAD, "path": self.path, "headers": headers}
        body = json.dumps(document).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.path != "/healthz":
            super().log_request(code, size)


class Lines(socketserver.StreamRequestHandler):
    """Repeats each line behind its own name."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(WORKLOAD.encode() + b": " + line)


class Greeter(socketserver.StreamRequestHandler):
    """Greets before the client says anything, as mail and some database servers do."""

    def handle(self) -> None:
        self.wfile.write(b"220 " + WORKLOAD.encode() + b" ready\r\n")
        for line in self.rfile:
            self.wfile.write(b"250 " + line)


class Mute(socketserver.StreamRequestHandler):
    """Reads everything and never says a word."""

    def handle(self) -> None:
        while self.rfile.read(1):
            pass


class Server(socketserver.ThreadingTCPServer):
    """A TCP server that restarts on its port at once and does not wait for its clients."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        # A peer that goes away, as every health check does, is nothing to report.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


HANDLERS = {"lines": Lines, "greeter": Greeter, "mute": Mute}


def main(kind: str, port: int) -> None:
    """Serve until SIGTERM."""
    # The first process of a container has no default action for signals.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    address = ("0.0.0.0", port)
    if kind == "http":
        ThreadingHTTPServer.request_queue_size = 128
        ThreadingHTTPServer(address, Http).serve_forever()
    else:
        Server(address, HANDLERS[kind]).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
