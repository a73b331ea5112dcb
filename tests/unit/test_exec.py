"""Output of a command counts only if the kubelet said that the command ended with success."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_zerotrust.cluster import exec as exec_module
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.cluster.exec import ExecFailed, ExecOutput, exec_in_pod
from tests.fakes.apiserver import SUCCESS, ExecStream, FakeApi, api_server
from tests.fakes.servers import free_port


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        yield started


def run(
    server: FakeApi, tmp_path: Path, *, stdin: bytes = b"0\n", timeout: float = 30.0
) -> ExecOutput:
    options = ClusterOptions(kubeconfig=str(server.kubeconfig(tmp_path / "kube.yaml")))
    return exec_in_pod(
        open_connection(options),
        namespace="ns",
        pod="p",
        container="probe",
        command=["python3", "-c", "print('a b&c=d')"],
        stdin=stdin,
        timeout=timeout,
    )


def test_a_whole_exec_gives_its_output_and_the_credentials_were_sent(server, tmp_path):
    assert run(server, tmp_path).stdout == b"hello\n"
    assert server.authorizations == {"Bearer secret-token"}
    assert server.seen == [("GET", "/api/v1/namespaces/ns/pods/p/exec")]


@pytest.mark.parametrize("size", [1, 125, 126, 65535, 65536, 1_000_000])
def test_output_of_any_size_arrives_whole(server, tmp_path, size):
    data = bytes(i % 251 for i in range(size))

    def script(stream: ExecStream, output: bytes) -> None:
        stream.stdout(data)
        stream.status()

    server.exec = script
    assert run(server, tmp_path).stdout == data


def test_a_large_request_arrives_whole(server, tmp_path):
    noise = b'{"x": "' + b"y" * 1_000_000 + b'"}'
    stdin = b"%d\n" % len(noise) + noise
    assert run(server, tmp_path, stdin=stdin).stdout == b"hello\n"


def test_both_streams_are_kept_apart(server, tmp_path):
    def script(stream: ExecStream, output: bytes) -> None:
        stream.stderr(b"warn")
        stream.stdout(b"one ")
        stream.stderr(b"ing")
        stream.stdout(b"two")
        stream.send(b"\x07a channel of the future")
        stream.send(b"keep-alive", opcode=9)
        stream.status()

    server.exec = script
    assert run(server, tmp_path) == ExecOutput(b"one two", b"warning")


def says(*parts: tuple[str, Any]) -> Any:
    def script(stream: ExecStream, output: bytes) -> None:
        for name, value in parts:
            getattr(stream, name)(*([value] if value is not None else []))

    return script


STATUS_FAILURE = b'{"status":"Failure","message":"command terminated with exit code 1"}'
ENDINGS: dict[str, tuple[Any, str]] = {
    "cut in mid-reply": (says(("stdout", b"half"), ("cut", None)), "cut"),
    "cut at once": (says(("cut", None)), "cut"),
    "closed without a status": (says(("stdout", b"all of it"), ("close", 1000)), ""),
    "closed as going away": (says(("stdout", b"all of it"), ("close", 1001)), ""),
    "closed as an error": (says(("close", 1011)), ""),
    "ended without a close": (says(("stdout", b"all of it")), "cut"),
    "an empty frame": (says(("stdout", b"x"), ("send", b"")), "cut"),
    "exit code 1": (says(("stdout", b"x"), ("status", STATUS_FAILURE)), "exit code 1"),
    "exit code 1 with words": (
        says(("stderr", b"trace\nKeyError: x\n"), ("status", STATUS_FAILURE)),
        "it said: KeyError: x",
    ),
    "a status without a word": (says(("status", b"{}")), "failed"),
    "a status that is no JSON": (says(("status", b"Success")), "unreadable status"),
    "an empty status": (says(("status", b"")), "unreadable status"),
    "success in another letter case": (says(("status", b'{"status":"success"}')), ""),
    "success as output": (says(("stdout", SUCCESS), ("close", 1000)), ""),
    "success on the error output": (says(("stderr", SUCCESS), ("close", 1000)), ""),
}


@pytest.mark.parametrize("what", ENDINGS)
def test_an_exec_that_did_not_end_with_success_has_no_output(server, tmp_path, what):
    server.exec, words = ENDINGS[what]
    with pytest.raises(ExecFailed, match=r"^exec in ns/p: ") as caught:
        run(server, tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_close_is_told_as_the_end_of_the_stream(server, tmp_path):
    server.exec = says(("stdout", b"x"), ("close", 1000))
    with pytest.raises(ExecFailed, match=r"cut|closed|ended"):
        run(server, tmp_path)


@pytest.mark.parametrize("status", [b"[]", b"null", b'"Success"', b"7"])
def test_a_status_that_is_no_object_is_a_failed_exec(server, tmp_path, status):
    server.exec = says(("status", status))
    with pytest.raises(ExecFailed):
        run(server, tmp_path)


def test_a_silent_exec_ends_with_its_time(server, tmp_path):
    server.exec = lambda stream, output: server.gone.wait() and None
    with pytest.raises(ExecFailed, match=r"^exec in ns/p: no complete reply within 0\.5 s$"):
        run(server, tmp_path, timeout=0.5)


def test_an_exec_that_talks_without_end_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(exec_module, "MAX_OUTPUT", 100_000)

    def endless(stream: ExecStream, output: bytes) -> None:
        while True:
            stream.stdout(b"x" * 8000)

    server.exec = endless
    with pytest.raises(ExecFailed, match="more than 100000 bytes"):
        run(server, tmp_path)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "Unauthorized"),
        (403, 'pods "p" is forbidden: User "u" cannot create resource "pods/exec"'),
        (404, 'pods "p" not found'),
        (500, "container not found"),
        (503, "the kubelet is away"),
    ],
)
def test_a_refused_exec_says_with_what_and_why(server, tmp_path, status, message):
    server.exec_refusal = (status, message)
    with pytest.raises(ExecFailed) as caught:
        run(server, tmp_path)
    assert str(caught.value) == f"exec in ns/p: refused with {status}: {message}"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff"])
def test_a_refusal_without_words_is_still_a_failed_exec(server, tmp_path, body):
    server.fail("GET", "/exec", status=502, body=body)
    with pytest.raises(ExecFailed, match="refused with 502"):
        run(server, tmp_path)


def test_no_upgrade_is_a_failed_exec(server, tmp_path):
    server.fail("GET", "/exec", status=200, body={"message": "hello"})
    with pytest.raises(ExecFailed):
        run(server, tmp_path)


@pytest.mark.parametrize("fault", ["cut", "hang"])
def test_a_server_that_does_not_answer_is_a_failed_exec(server, tmp_path, fault):
    server.fail("GET", "/exec", **{fault: True})
    with pytest.raises(ExecFailed, match="no connection"):
        run(server, tmp_path, timeout=0.5 if fault == "hang" else 30.0)


def test_a_server_that_is_gone_is_a_failed_exec(server, tmp_path):
    server.url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ExecFailed, match="no connection"):
        run(server, tmp_path)
