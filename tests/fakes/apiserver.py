"""A fake API server on loopback, for the faults that a real one will not show on demand."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import struct
import sys
import threading
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pytest_zerotrust.core.observation import expected_answer
from tests.fakes.cluster import Cluster
from tests.fakes.servers import reset
from tests.fakes.world import KUBERNETES

SUCCESS = b'{"metadata":{},"status":"Success"}'
Script = Callable[["ExecStream", bytes], None]
"""Plays an exec: gets the stream and the relay's whole output, sends what it likes of it."""


@dataclass
class Fault:
    """What happens to requests whose method and path match, ``times`` times (None: always)."""

    method: str
    path: str
    status: int = 500
    body: Any = field(default_factory=lambda: {"message": "no such luck"})
    headers: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    cut: bool = False
    hang: bool = False

    def takes(self, method: str, path: str) -> bool:
        if self.method not in ("", method) or self.path not in path or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class ExecStream:
    """The server's end of a WebSocket (RFC 6455)."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler

    def send(self, data: bytes, opcode: int = 2) -> None:
        """Send one frame."""
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", 0x80 | opcode, size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | opcode, 127, size)
        self.handler.wfile.write(head + data)

    def stdout(self, data: bytes) -> None:
        for start in range(0, len(data), 8192):
            self.send(b"\x01" + data[start : start + 8192])

    def stderr(self, data: bytes) -> None:
        self.send(b"\x02" + data)

    def status(self, data: bytes = SUCCESS) -> None:
        self.send(b"\x03" + data)

    def close(self, code: int = 1000) -> None:
        self.send(struct.pack(">H", code), opcode=8)

    def cut(self) -> None:
        """Reset the connection in mid-stream."""
        self.handler.wfile.flush()
        reset(self.handler.connection)

    def receive(self) -> bytes:
        """The payload of the next frame of the client."""
        head = self.handler.rfile.read(2)
        if len(head) < 2:
            raise ConnectionError("the client is gone")
        size = head[1] & 0x7F
        if size == 126:
            size = struct.unpack(">H", self.handler.rfile.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self.handler.rfile.read(8))[0]
        mask = self.handler.rfile.read(4)
        data = self.handler.rfile.read(size)
        return bytes(b ^ mask[i % 4] for i, b in enumerate(data))


def complete(stream: ExecStream, output: bytes) -> None:
    """An exec as it should be: all output, the success status, an orderly close."""
    stream.send(b"\x01")  # tells the client that the connection stands
    stream.stdout(output)
    stream.status()
    stream.close()


class FakeApi:
    """The server. ``seen`` are the requests (method, path) that it got."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster()
        self.faults: list[Fault] = []
        self.exec: Script = complete
        self.exec_refusal: tuple[int, str] | None = None
        self.seen: list[tuple[str, str]] = []
        self.authorizations: set[str] = set()
        self.crashes: list[str] = []
        self.gone = threading.Event()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.api = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, method: str, path: str, **changes: Any) -> None:
        """From now on, requests that match fail like this."""
        self.faults.append(Fault(method, path, **changes))

    def kubeconfig(self, path: Path, **changes: Any) -> Path:
        """Write a kubeconfig for this server; ``changes`` replace top-level keys."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**kubeconfig(self.url), **changes}))
        return path


def kubeconfig(server: str, **cluster: Any) -> dict[str, Any]:
    """A kubeconfig as data: one context 'lab' with a token."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me"}}],
        "current-context": "lab",
    }


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    api: FakeApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is nothing to tell of; a crash of the fake itself is."""
        if not isinstance(sys.exception(), OSError):
            self.api.crashes.append(traceback.format_exc())


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # Head and body are two writes: without this each answer waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def handle_any(self) -> None:
        api = self.server.api
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        api.seen.append((self.command, parts.path))
        api.authorizations.add(self.headers.get("Authorization", ""))
        for fault in api.faults:
            if fault.takes(self.command, parts.path):
                self._fail(fault)
                return
        if parts.path.endswith("/exec"):
            self._exec(parts.path)
            return
        parsed = json.loads(body) if body else {}
        self.reply(*api.cluster.answer(self.command, parts.path, query, parsed))

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, fault: Fault) -> None:
        if fault.hang:
            self.server.api.gone.wait()
        if fault.hang or fault.cut:
            self.close_connection = True
            reset(self.connection)
            return
        self.reply(fault.status, fault.body, fault.headers)

    def _exec(self, path: str) -> None:
        api = self.server.api
        self.close_connection = True
        if api.exec_refusal is not None:
            status, message = api.exec_refusal
            self.reply(status, {"kind": "Status", "message": message})
            return
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        stream = ExecStream(self)
        with contextlib.suppress(OSError, ConnectionError):
            request = _request(stream)
            words = path.split("/")
            api.exec(stream, self._relay(words[4], words[6], request))

    def _relay(self, namespace: str, pod: str, request: dict[str, Any]) -> bytes:
        """What the relay of a pod would write for a request, or nothing for a plain command."""
        if "nonce" not in request:
            return b"hello\n"
        cluster = self.server.api.cluster
        reply = {
            "v": 1,
            "nonce": request["nonce"],
            "pod": pod,
            "kubernetes": KUBERNETES,
            "proof": expected_answer(cluster.keys.get(pod, b""), request["nonce"]),
            "results": cluster.run_probes(namespace, pod, request["probes"]),
        }
        data = json.dumps(reply).encode()
        return b"ZT1 %d %s\n" % (len(data), hashlib.sha256(data).hexdigest().encode()) + data


def _request(stream: ExecStream) -> dict[str, Any]:
    """Read standard input up to the end that its first line announces."""
    data = b""
    while b"\n" not in data or len(data.partition(b"\n")[2]) < int(data.partition(b"\n")[0]):
        data += stream.receive()[1:]
    return dict(json.loads(data.partition(b"\n")[2] or b"{}"))


@contextlib.contextmanager
def api_server(cluster: Cluster | None = None) -> Iterator[FakeApi]:
    """A running fake API server."""
    api = FakeApi(cluster)
    try:
        yield api
    finally:
        api.close()
    assert not api.crashes, api.crashes[0]
