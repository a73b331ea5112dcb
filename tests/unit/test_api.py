"""Calls to an API server that throttles, fails, hangs, lies, or is not there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_zerotrust.cluster import api as api_module
from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable, Pace
from pytest_zerotrust.cluster.connection import ClusterOptions, Connection, open_connection
from pytest_zerotrust.errors import ClusterProblem
from tests.fakes.apiserver import FakeApi, api_server, kubeconfig
from tests.fakes.servers import free_port, serving

PATH = "/api/v1/namespaces/web"


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        started.cluster.add_workload("web", "front", 80)
        yield started


@pytest.fixture
def api(server: FakeApi, tmp_path: Path) -> Api:
    return Api(connection(server.kubeconfig(tmp_path / "kube.yaml")))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the pauses between tries, and makes none."""
    seconds: list[float] = []
    clock = SimpleNamespace(sleep=seconds.append, monotonic=time.monotonic)
    monkeypatch.setattr(api_module, "time", clock)
    return seconds


def connection(path: Path, **options: Any) -> Connection:
    return open_connection(ClusterOptions(kubeconfig=str(path), **options))


def to(url: str, tmp_path: Path) -> Api:
    import yaml

    path = tmp_path / "kube.yaml"
    path.write_text(yaml.safe_dump(kubeconfig(url)))
    return Api(connection(path))


def test_an_answer_is_status_body_and_the_credentials_were_sent(api, server):
    response = api.request("GET", PATH)
    assert (response.status, response.ok) == (200, True)
    assert response.body["metadata"]["name"] == "web"
    assert server.authorizations == {"Bearer secret-token"}


def test_credentials_are_not_shown_by_a_connection(api):
    assert "secret-token" not in repr(api.connection)


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0"}, 0.1),
        ({"Retry-After": "-5"}, 0.1),
        ({"Retry-After": "30"}, 30.0),
        ({"Retry-After": "Fri, 31 Dec 2030 23:59:59 GMT"}, 1.0),
        ({"Retry-After": "soon"}, 1.0),
        ({"Retry-After": ""}, 1.0),
        ({}, 1.0),
    ],
)
def test_a_throttled_call_waits_as_told_within_reason_and_is_made_again(
    api, server, waits, header, wait
):
    server.fail("GET", PATH, status=429, headers=header, times=2)
    assert api.request("GET", PATH).status == 200
    assert waits == [wait, wait]


def test_a_throttled_call_with_a_pause_that_is_no_number_is_made_again(api, server, waits):
    server.fail("GET", PATH, status=429, headers={"Retry-After": "nan"}, times=1)
    api.request("GET", PATH)
    assert all(0 < wait <= 10 for wait in waits)


@pytest.mark.parametrize("wait", ["86400", "inf", "31"])
def test_a_call_is_never_made_again_before_the_pause_that_was_asked_for(api, server, waits, wait):
    server.fail("GET", PATH, status=429, headers={"Retry-After": wait}, times=1)
    assert api.request("GET", PATH).status == 429
    assert waits == []
    assert len(server.seen) == 1


def test_the_rate_of_calls_is_bounded_after_a_burst():
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(10.0, 5, clock=lambda: now[0], sleep=sleep)
    for _ in range(5):
        pace.wait()
    assert now[0] == 0.0
    for _ in range(20):
        pace.wait()
    assert now[0] == pytest.approx(2.0)
    now[0] += 100.0
    for _ in range(5):
        pace.wait()
    assert now[0] == pytest.approx(102.0)


def test_every_call_is_counted_by_the_pace(api, monkeypatch):
    counted: list[None] = []
    monkeypatch.setattr(api._pace, "wait", lambda: counted.append(None))
    api.get(PATH)
    api.delete(PATH + "/pods/nobody")
    assert len(counted) == 2


def test_dry_runs_have_a_pace_of_their_own(api, monkeypatch):
    counted: list[str] = []
    monkeypatch.setattr(api._pace, "wait", lambda: counted.append("call"))
    monkeypatch.setattr(api._dry_pace, "wait", lambda: counted.append("dry run"))
    api.request("GET", PATH, params={"dryRun": "All"})
    api.request("GET", PATH)
    assert counted == ["dry run", "call"]


def test_after_the_end_nothing_is_made_any_more_but_deleting_goes_on(api, server):
    api.end_changes()
    with pytest.raises(ApiUnreachable, match="the run is over"):
        api.create(PATH + "/pods", {})
    api.delete(PATH + "/pods/nobody")
    assert [method for method, _ in server.seen] == ["DELETE"]


def test_the_end_waits_for_what_is_being_made(api, server, monkeypatch):
    order: list[str] = []
    entered, go = threading.Event(), threading.Event()
    send = api._send

    def slow(*arguments: Any) -> Any:
        entered.set()
        go.wait(10)
        order.append("made")
        return send(*arguments)

    monkeypatch.setattr(api, "_send", slow)
    body = {"metadata": {"name": "s"}, "spec": {}}
    maker = threading.Thread(target=lambda: api.request("POST", PATH + "/services", body=body))
    maker.start()
    assert entered.wait(10)

    def end() -> None:
        api.end_changes()
        order.append("ended")

    ender = threading.Thread(target=end)
    ender.start()
    time.sleep(0.05)
    assert order == []
    go.set()
    ender.join(10)
    maker.join(10)
    assert order == ["made", "ended"]


def test_a_call_that_stays_throttled_ends_with_429(api, server, waits):
    server.fail("GET", PATH, status=429)
    assert api.request("GET", PATH).status == 429
    assert len(server.seen) == 5
    assert len(waits) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 502, 503, 504])
def test_no_other_failure_is_tried_again_behind_our_back(api, server, waits, status):
    server.fail("POST", "/pods", status=status, body={"message": "because"})
    response = api.request("POST", PATH + "/pods", body={})
    assert (response.status, response.message, response.ok) == (status, "because", False)
    assert len(server.seen) == 1
    assert waits == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_with_our_credentials(api, server, status):
    with api_server() as other:
        headers = {"Location": f"{other.url}/version"}
        server.fail("GET", "/version", status=status, headers=headers)
        assert not api.request("GET", "/version").ok
        assert other.seen == []


@pytest.mark.parametrize("call", ["get", "create", "delete_collection", "delete"])
def test_the_checked_calls_raise_with_action_status_and_message(api, server, call):
    server.fail("", "/pods", status=403, body={"message": "you may not"})
    arguments: dict[str, tuple[Any, ...]] = {
        "create": ({},),
        "delete_collection": ("a=b",),
    }
    with pytest.raises(ApiFailure, match=r"/pods: 403 you may not") as caught:
        getattr(api, call)(PATH + "/pods", *arguments.get(call, ()))
    assert caught.value.status == 403


def test_deleting_what_is_gone_is_no_error_but_reading_it_is(api):
    api.delete(PATH + "/pods/nobody")
    with pytest.raises(ApiFailure, match="404"):
        api.get(PATH + "/pods/nobody")


def test_deleting_a_collection_takes_what_the_selector_selects(api, server):
    api.delete_collection(PATH + "/pods", "app=other")
    assert len(api.get(PATH + "/pods")["items"]) == 1
    api.delete_collection(PATH + "/pods", "app=front")
    assert api.get(PATH + "/pods")["items"] == []


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", ""),
    "a page": (b"<html>Please log in</html>", "<html>Please log in</html>"),
    "a list": (b"[1, 2]", ""),
    "null": (b"null", ""),
    "not UTF-8": (b"\xff\xfe nonsense", "\ufffd\ufffd nonsense"),
    "half a JSON": (b'{"message": "x', '{"message": "x'),
    "huge": (b"x" * 1_000_000, "x" * 500),
}


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("status", [200, 500])
def test_a_body_that_is_no_object_is_read_without_a_crash(api, server, what, status):
    body, message = BODIES[what]
    server.fail("GET", PATH, status=status, body=body)
    response = api.request("GET", PATH)
    assert (response.status, response.message) == (status, message)


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        ('299 - "would violate \\"restricted\\""', ('would violate "restricted"',)),
        ('299 - "plain"', ("plain",)),
        ("299 -", ("",)),
        ("", ("",)),
    ],
)
def test_warnings_are_read_as_texts(api, server, header, texts):
    server.fail("GET", PATH, status=200, body={}, headers={"Warning": header})
    assert api.request("GET", PATH).warnings == texts


def test_a_server_that_is_not_there_is_unreachable_and_named(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ApiUnreachable, match=f"^{url}: .*[Rr]efused"):
        to(url, tmp_path).request("GET", "/version")


@pytest.mark.parametrize("cut", ["cut", "hang"])
def test_a_server_that_gives_no_answer_is_unreachable(api, server, monkeypatch, cut):
    monkeypatch.setattr(api_module, "TIMEOUT", (5.0, 0.3))
    server.fail("GET", PATH, **{cut: True})
    with pytest.raises(ApiUnreachable, match=f"^{server.url}: ") as caught:
        api.request("GET", PATH)
    assert "\n" not in str(caught.value)


def raw(data: bytes) -> Any:
    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)

    return handler


BROKEN = {
    "closes at once": b"",
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "less than it promised": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    "not compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_answer_that_is_broken_off_is_no_answer(tmp_path, what):
    with serving(raw(BROKEN[what])) as port:
        api = to(f"http://127.0.0.1:{port}", tmp_path)
        with pytest.raises(ApiUnreachable) as caught:
            api.request("GET", "/version")
    assert "\n" not in str(caught.value)


def test_threads_share_connections_that_are_kept_open(tmp_path):
    opened: list[socket.socket] = []

    def keep_answering(connection: socket.socket) -> None:
        opened.append(connection)
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with serving(keep_answering) as port:
        api = to(f"http://127.0.0.1:{port}", tmp_path)
        for _ in range(3):
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda _: api.request("GET", "/version"), range(20)))
            assert all(answer.ok for answer in answers)
    assert 1 <= len(opened) <= 4


def test_a_plain_server_asked_for_tls_is_unreachable(server, tmp_path):
    api = to(server.url.replace("http:", "https:"), tmp_path)
    with pytest.raises(ApiUnreachable):
        api.request("GET", "/version")


@pytest.mark.parametrize(
    "url",
    ["nonsense", "", "https://", "ftp://h", "https://h:99999", "https://[::1", "http://.", "x:y"],
)
def test_an_address_that_is_none_is_told_in_one_line(tmp_path, url):
    with pytest.raises((ApiUnreachable, ClusterProblem)) as caught:
        to(url, tmp_path).request("GET", "/version")
    assert "\n" not in str(caught.value)


def test_the_environment_chooses_no_credentials(server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login stranger password stolen\n")
    monkeypatch.setenv("NETRC", str(netrc))
    path = server.kubeconfig(tmp_path / "k.yaml", users=[{"name": "me", "user": {}}])
    Api(connection(path)).request("GET", "/version")
    assert server.authorizations == {""}
