"""The servers beyond the cluster: a website, a TCP sink and a pretend metadata service.

Runs by its path on a machine of its own, so it uses nothing from the rest of the lab.
"""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Website(BaseHTTPRequestHandler):
    text = b"outside\n"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)


class _Metadata(_Website):
    text = b"pretend-metadata\n"


def _sink(address: str, port: int) -> None:
    """Take connections and whatever comes over them, and never answer."""
    with socket.create_server((address, port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_swallow, args=(connection,), daemon=True).start()


def _swallow(connection: socket.socket) -> None:
    with connection:
        try:
            while connection.recv(65536):
                pass
        except OSError:
            pass


def main() -> None:
    """Serve until killed."""
    website = ThreadingHTTPServer(("203.0.113.10", 80), _Website)
    metadata = ThreadingHTTPServer(("169.254.169.254", 80), _Metadata)
    for server in (website, metadata):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    _sink("203.0.113.20", 9999)


if __name__ == "__main__":
    main()
