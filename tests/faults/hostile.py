"""Servers that mean harm, on the standard library alone: run as a program, beyond the cluster or
in a pod whose command carries this text.

Usage: hostile.py ADDRESS BEHAVIOUR=PORT ... [agent=NAME OF A PROBE POD]
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import socket
import struct
import sys
import threading
import time
from typing import Any

WORDS = b"\x1b]0;owned\x07\x1b[2J\x9b31m\r<script>alert(1)</script>\n::error::made up\n"


def cut(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def endless(connection: socket.socket) -> None:
    """A banner without an end, from the first moment on."""
    while True:
        connection.sendall(b"220 " + b"x" * 65532)


def drip(connection: socket.socket) -> None:
    """One byte after the other, for ever."""
    while True:
        connection.sendall(b".")
        time.sleep(0.3)


def huge(connection: socket.socket) -> None:
    """More than anybody can hold, as the answer to a question."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
    for _ in range(1000):
        connection.sendall(bytes(65536))


def half(connection: socket.socket) -> None:
    """Half an answer, then a reset."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    time.sleep(0.2)
    cut(connection)


def words(connection: socket.socket) -> None:
    """Terminal escapes, markup and commands to a pipeline."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 " + WORDS)


def malformed(connection: socket.socket) -> None:
    """Bytes that begin like TLS and are none: record headers with impossible contents."""
    connection.recv(65536)
    for _ in range(4):
        connection.sendall(b"\x16\x03\x03\xff\xff" + b"\x02\xff\xff\xff" + b"\x00" * 200)


def strict(connection: socket.socket) -> None:
    """Imitates a proxy that demands a certificate: a reset to plaintext, and its alert to TLS
    (RFC 8446, section 6: fatal, certificate_required)."""
    said = connection.recv(65536)
    if said[:1] == b"\x16":
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x74")
        time.sleep(0.2)
    else:
        cut(connection)


def guess(connection: socket.socket) -> None:
    """Guesses at the proof that only the right pod can give: of known keys, and the nonce back."""
    for _ in range(3):
        nonce = connection.recv(65536).split()[-1:] or [b""]
        told = [hmac.new(key, nonce[0], hashlib.sha256).hexdigest() for key in (b"", b"ZT_KEY")]
        told += [nonce[0].decode("latin-1"), hashlib.sha256(nonce[0]).hexdigest(), "0" * 64]
        connection.sendall("".join(f"ZT1 {one} pod\n" for one in told).encode("latin-1"))


def forged(request: dict[str, Any], pod: str) -> dict[str, Any]:
    """A reply as of our agent, but for its proof: everything was reached, everybody answered."""
    nonce = str(request["nonce"])
    results = []
    for probe in request.get("probes", ()):
        asked = str(probe.get("send", "")).split()[-1:] or [""]
        data = f"ZT1 {hmac.new(b'', asked[0].encode(), hashlib.sha256).hexdigest()} {pod}\n"
        results.append(
            {
                "stage": "exchange",
                "end": "complete",
                "data": data,
                "sent": len(data),
                "ip": probe.get("ip", ""),
                "rcode": 0,
                "addresses": ["10.96.0.1"],
                "ms": 0.1,
            }
        )
    return {
        "v": 1,
        "nonce": nonce,
        "pod": pod,
        "kubernetes": "10.96.0.1",
        "proof": hmac.new(b"", nonce.encode(), hashlib.sha256).hexdigest(),
        "listening": [],
        "failed_ports": {},
        "started": time.time(),
        "took": 0.1,
        "results": results,
    }


def imitate(pod: str) -> None:
    """Take requests to a probe agent of this name, and answer all of them."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0zerotrust-" + pod)
        server.listen(64)
        while True:
            connection, _ = server.accept()
            with connection:
                data = b""
                while part := connection.recv(65536):
                    data += part
                body = json.dumps(forged(json.loads(data), pod)).encode()
                digest = hashlib.sha256(body).hexdigest().encode()
                connection.sendall(b"ZT1 %d %s\n" % (len(body), digest) + body)


BEHAVIOURS = {
    "endless": endless,
    "drip": drip,
    "huge": huge,
    "half": half,
    "words": words,
    "malformed": malformed,
    "strict": strict,
    "guess": guess,
}


def serve(address: str, behaviour: str, port: int) -> None:
    """Treat everybody who connects in this way."""
    with socket.create_server((address, port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_treat, args=(connection, behaviour), daemon=True).start()


def _treat(connection: socket.socket, behaviour: str) -> None:
    with connection, contextlib.suppress(OSError):
        BEHAVIOURS[behaviour](connection)


def main() -> None:
    """Serve until killed."""
    address = sys.argv[1]
    for word in sys.argv[2:]:
        name, _, value = word.partition("=")
        if name == "agent":
            thread = threading.Thread(target=imitate, args=(value,), daemon=True)
        else:
            thread = threading.Thread(target=serve, args=(address, name, int(value)), daemon=True)
        thread.start()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
