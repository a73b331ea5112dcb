"""A proxy on loopback before the real API server, which slows, fails and cuts what it is told to.

It speaks plain HTTP to the client and TLS with the administrator's certificate to the server.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass
class Rule:
    """What happens to requests that match, ``times`` times (None: always)."""

    method: str
    path: str
    status: int = 0
    delay: float = 0.0
    cut: bool = False
    cut_after: int | None = None
    retry_after: str = ""
    times: int | None = None
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        if self.times is not None and self.hits >= self.times:
            return False
        if not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        self.hits += 1
        return True


class Moment:
    """Something that happens once, before the first request that matches is let through.

    ``after`` is a request (method and path) that must have been seen before. Whatever matches
    waits until it has happened.
    """

    def __init__(
        self, method: str, path: str, action: Callable[[], None], after: tuple[str, str] | None
    ) -> None:
        self._method, self._path, self._action, self._after = method, path, action, after
        self._lock = threading.Lock()
        self._due = after is None
        self.come = False
        self.error: BaseException | None = None
        self._done = threading.Event()

    def finish(self) -> None:
        """Wait until what was to happen has happened, and raise what went wrong in it."""
        assert self.come, "the moment for the fault never came"
        assert self._done.wait(300)
        if self.error is not None:
            raise self.error

    def offer(self, method: str, path: str) -> None:
        if self._due and re.fullmatch(self._method, method) and re.search(self._path, path):
            with self._lock:
                if not self.come:
                    self.come = True
                    try:
                        self._action()
                    except BaseException as error:
                        self.error = error
                    self._done.set()
        if self._after is not None:
            self._due = self._due or (method == self._after[0] and self._after[1] in path)


class Proxy:
    """The proxy; ``rules`` may be changed at any time."""

    def __init__(self, kubeconfig: str) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        cluster = config["clusters"][0]["cluster"]
        user = config["users"][0]["user"]
        parts = urllib.parse.urlsplit(cluster["server"])
        self._address = (str(parts.hostname), parts.port or 443)
        self._context = ssl.create_default_context(
            cadata=_pem(cluster, "certificate-authority"),
        )
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name in ("client-certificate", "client-key"):
                path = Path(folder, name)
                path.write_text(_pem(user, name))
                files.append(str(path))
            self._context.load_cert_chain(*files)
        self.rules: list[Rule] = []
        self.seen: list[tuple[str, str]] = []
        self._moments: list[Moment] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def kubeconfig(self, path: Path) -> str:
        """Write a kubeconfig for the proxy."""
        data = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "p", "cluster": {"server": self.url}}],
            "users": [{"name": "p", "user": {}}],
            "contexts": [{"name": "p", "context": {"cluster": "p", "user": "p"}}],
            "current-context": "p",
        }
        path.write_text(yaml.safe_dump(data))
        return str(path)

    def once(
        self,
        method: str,
        path: str,
        action: Callable[[], None],
        *,
        after: tuple[str, str] | None = None,
    ) -> Moment:
        """Do something right before the first request that matches, while that waits."""
        moment = Moment(method, path, action, after)
        self._moments.append(moment)
        return moment

    def in_the_batch(self, action: Callable[[], None]) -> Moment:
        """Do something when the first request of the batch is on its way to a probe pod."""
        return self.once("GET", "/exec", action, after=("POST", "/networkpolicies"))

    def close(self) -> None:
        for moment in self._moments:
            moment.finish()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), client:
            head, rest = _read_head(client)
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ", 2)
            headers = {k.lower(): v.strip() for k, _, v in (x.partition(":") for x in lines[1:])}
            length = int(headers.get("content-length", 0))
            while len(rest) < length:
                rest += client.recv(65536)
            self.seen.append((method, path))
            for moment in self._moments:
                moment.offer(method, path)
            rule = next((r for r in self.rules if r.takes(method, path)), None)
            if rule is not None:
                time.sleep(rule.delay)
                if rule.cut:
                    return
                if rule.status:
                    client.sendall(_answer(rule))
                    return
            upgrade = "upgrade" in headers
            kept = [x for x in lines if upgrade or not x.lower().startswith("connection:")]
            if not upgrade:
                kept.append("Connection: close")
            with (
                socket.create_connection(self._address, 10) as raw,
                self._context.wrap_socket(raw, server_hostname=self._address[0]) as server,
            ):
                server.settimeout(None)
                server.sendall("\r\n".join(kept).encode("latin-1") + b"\r\n\r\n" + rest)
                if upgrade:
                    threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                _pump(server, client, rule.cut_after if rule else None)


def _pem(entry: dict[str, str], name: str) -> str:
    if f"{name}-data" in entry:
        return base64.b64decode(entry[f"{name}-data"]).decode()
    return Path(entry[name]).read_text()


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        part = client.recv(65536)
        if not part:
            raise ValueError("no request")
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _answer(rule: Rule) -> bytes:
    body = b'{"kind":"Status","message":"made up by the test"}'
    wait = f"Retry-After: {rule.retry_after}\r\n" if rule.retry_after else ""
    return (
        f"HTTP/1.1 {rule.status} Made Up\r\n{wait}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def _pump(source: socket.socket, target: socket.socket, limit: int | None = None) -> None:
    with contextlib.suppress(OSError, ValueError):
        passed = 0
        while data := source.recv(65536):
            if limit is not None:
                data = data[: max(0, limit - passed)]
            target.sendall(data)
            passed += len(data)
            if limit is not None and passed >= limit:
                break


@contextlib.contextmanager
def proxied(kubeconfig: str) -> Iterator[Proxy]:
    """A running proxy."""
    proxy = Proxy(kubeconfig)
    yield proxy
    proxy.close()
