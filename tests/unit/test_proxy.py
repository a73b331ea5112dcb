"""A cluster behind an HTTP proxy: every call and every exec goes through it, none beside it."""

from __future__ import annotations

import base64
import http.server
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.connection import ClusterOptions, Connection, open_connection
from pytest_zerotrust.cluster.exec import exec_in_pod
from pytest_zerotrust.errors import ClusterProblem
from tests.fakes.apiserver import FakeApi, api_server, kubeconfig


class Proxy(http.server.ThreadingHTTPServer):
    """An HTTP proxy on loopback; ``seen`` is what was asked of it, with the credentials."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def _note(self) -> None:
        given = self.headers.get("Proxy-Authorization", "")
        credentials = base64.b64decode(given.partition(" ")[2]).decode()
        self.server.seen.append((self.command, credentials))

    def do_GET(self) -> None:
        self._note()
        headers = {"Authorization": self.headers.get("Authorization", "")}
        request = urllib.request.Request(self.path, headers=headers)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request) as answer:
            body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self._note()
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as server:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(server, self.connection))
            back.start()
            _pump(self.connection, server)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        yield started


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    started = Proxy()
    yield started
    started.shutdown()
    started.server_close()


def connection(server: FakeApi, folder: Path, url: str) -> Connection:
    file = folder / "kube.yaml"
    file.write_text(yaml.safe_dump(kubeconfig(server.url, **{"proxy-url": url})))
    return open_connection(ClusterOptions(kubeconfig=str(file)))


@pytest.mark.parametrize(("user", "sent"), [("", ""), ("me:p%40ss@", "me:p@ss")])
def test_calls_and_execs_go_through_the_proxy_of_the_kubeconfig(
    server, proxy, tmp_path, user, sent
):
    opened = connection(server, tmp_path, f"http://{user}{proxy.address}")
    assert Api(opened).request("GET", "/version").ok
    assert proxy.seen == [("GET", sent)]
    done = exec_in_pod(
        opened, namespace="ns", pod="p", container="c", command=["x"], stdin=b"0\n", timeout=30.0
    )
    assert done.stdout == b"hello\n"
    assert proxy.seen == [("GET", sent), ("CONNECT", sent)]
    assert server.authorizations == {"Bearer secret-token"}


def test_calls_go_through_the_proxy_of_the_environment(server, proxy, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@{proxy.address}")
    monkeypatch.setenv("http_proxy", f"http://me:pw@{proxy.address}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    options = ClusterOptions(kubeconfig=str(server.kubeconfig(tmp_path / "k")))
    assert Api(open_connection(options)).request("GET", "/version").ok
    assert proxy.seen == [("GET", "me:pw")]


@pytest.mark.parametrize("url", ["socks5://p:1080", "https://u:secret@p:3128", "p:3128", "http://"])
def test_a_proxy_that_execs_cannot_go_through_is_refused_at_the_start(server, tmp_path, url):
    with pytest.raises(ClusterProblem, match="proxy-url") as caught:
        connection(server, tmp_path, url)
    assert "secret" not in str(caught.value)
