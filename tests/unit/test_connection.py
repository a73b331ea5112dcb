"""From a kubeconfig to a connection, or to one paragraph that says what is wrong with the file."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.cluster.connection import ClusterOptions, Connection, open_connection
from pytest_zerotrust.errors import ClusterProblem
from tests.fakes.apiserver import kubeconfig
from tests.fakes.servers import Authority, authority, serving, tls_server

GOOD = kubeconfig("https://h:6443/")


def opened(path: Path, **options: Any) -> Connection:
    return open_connection(ClusterOptions(kubeconfig=str(path), **options))


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a kubeconfig: text, bytes, or changes to a good one (None takes a key out)."""

    def made(content: str | bytes = "", **changes: Any) -> Path:
        path = tmp_path / "kube.yaml"
        if changes:
            data = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
            content = yaml.safe_dump(data)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return made


def user(**entry: Any) -> dict[str, Any]:
    return {"users": [{"name": "me", "user": entry}]}


def cluster(**entry: Any) -> dict[str, Any]:
    return {"clusters": [{"name": "lab", "cluster": {"server": "https://h", **entry}}]}


def test_a_kubeconfig_gives_server_context_and_credentials(write):
    connection = opened(write(apiVersion="v1"))
    assert (connection.server, connection.context) == ("https://h:6443", "lab")
    assert connection.authorization() == "Bearer secret-token"
    assert connection.verify
    assert connection.client_cert is None


def test_the_named_context_wins_over_the_current_one(write):
    contexts = [*GOOD["contexts"], {"name": "two", "context": {"cluster": "two", "user": "me"}}]
    clusters = [*GOOD["clusters"], {"name": "two", "cluster": {"server": "https://two"}}]
    path = write(contexts=contexts, clusters=clusters)
    assert opened(path).server == "https://h:6443"
    assert opened(path, context="two").server == "https://two"


def test_a_named_context_needs_no_current_one(write):
    path = write(**{"current-context": None, "kind": "Config"})
    assert opened(path, context="lab").context == "lab"


def test_a_name_of_the_server_of_its_own_and_no_verification_are_taken_over(write):
    connection = opened(
        write(**cluster(**{"tls-server-name": "other", "insecure-skip-tls-verify": True}))
    )
    assert connection.tls_server_name == "other"
    assert connection.verify is False


def test_a_relative_path_within_a_kubeconfig_starts_at_its_folder(write, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("from-a-file")
    monkeypatch.chdir("/")
    assert opened(write(**user(tokenFile="token"))).authorization() == "Bearer from-a-file"


def test_a_password_is_sent_as_basic_credentials(write):
    value = opened(write(**user(username="me", password="pw"))).authorization()
    assert value == "Basic " + base64.b64encode(b"me:pw").decode()


@pytest.mark.parametrize("name", ["users", "user of the context"])
def test_without_credentials_nothing_is_sent(write, name):
    path = write(users=[]) if name == "users" else write(
        contexts=[{"name": "lab", "context": {"cluster": "lab"}}]
    )  # fmt: skip
    assert opened(path).authorization() is None


def test_credentials_are_read_by_many_threads_at_once(write):
    connection = opened(write(apiVersion="v1"))
    values: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: values.append(connection.authorization()))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(values) == {"Bearer secret-token"}
    assert len(values) == 16


def test_the_file_is_not_changed_by_reading_it(write):
    path = write(apiVersion="v1")
    before = path.read_bytes()
    opened(path)
    assert path.read_bytes() == before


def told(path: Path, **options: Any) -> str:
    with pytest.raises(ClusterProblem) as caught:
        opened(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    assert "secret-token" not in message
    return message


def test_a_missing_file_is_named(tmp_path):
    missing = tmp_path / "none.yaml"
    assert told(missing).startswith(f"--kubeconfig {missing}: no such file.")


def test_a_folder_is_no_kubeconfig(tmp_path):
    assert told(tmp_path).startswith(f"--kubeconfig {tmp_path}: ")


NOT_A_KUBECONFIG: dict[str, str | bytes] = {
    "empty": "",
    "only a comment": "# nothing\n",
    "null": "null\n",
    "one word": "hello\n",
    "a list": "- a\n",
    "another mapping": "a: 1\n",
    "half a list": "contexts: [\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "a tab": "a:\n\tb: 1\n",
    "a null character": "a\0b",
    "a tag of Python": "!!python/object:os.system {}\n",
    "an alias of itself": "a: &a [*a]\n",
    "a program": b"\x7fELF\x02\x01\x01\x00",
}


@pytest.mark.parametrize("context", [None, "lab"])
@pytest.mark.parametrize("what", NOT_A_KUBECONFIG)
def test_what_is_no_kubeconfig_is_told_with_its_path(write, what, context):
    path = write(NOT_A_KUBECONFIG[what])
    assert str(path) in told(path, context=context)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x80", "[" * 1500], ids=["noise", "deep"])
def test_a_file_of_noise_is_told_with_its_path(write, content):
    path = write(content)
    assert str(path) in told(path)


PARTS: dict[str, dict[str, Any]] = {
    "no contexts": {"contexts": None, "kind": "Config"},
    "contexts empty": {"contexts": []},
    "contexts are a text": {"contexts": "lab"},
    "a context without a name": {"contexts": [{"context": {"cluster": "lab", "user": "me"}}]},
    "a context of nothing": {"contexts": [None]},
    "a context without a cluster": {"contexts": [{"name": "lab", "context": {"user": "me"}}]},
    "no clusters": {"clusters": []},
    "another cluster": {"clusters": [{"name": "x", "cluster": {"server": "https://h"}}]},
    "a cluster of nothing": {"clusters": [{"name": "lab", "cluster": None}]},
    "no current context": {"current-context": None, "kind": "Config"},
    "unknown current context": {"current-context": "gone"},
    "current context empty": {"current-context": ""},
    "current context is a list": {"current-context": ["lab"]},
    "the server is null": cluster(server=None),
    "the server is a number": cluster(server=7),
    "the authority's file is missing": cluster(**{"certificate-authority": "/none/ca.pem"}),
    "the authority is not base64": cluster(**{"certificate-authority-data": "!!!notbase64"}),
    "the certificate's file is missing": user(
        **{"client-certificate": "/none/c", "client-key": "/none/k"}
    ),
    "the token's file is missing": user(tokenFile="/none/token"),
    "a provider of credentials that is no more": user(**{"auth-provider": {"name": "gcp"}}),
}


@pytest.mark.parametrize("what", PARTS)
def test_a_broken_part_is_told_with_the_path_of_the_file(write, what):
    path = write(**PARTS[what])
    assert f"--kubeconfig {path}" in told(path)


@pytest.mark.parametrize(
    ("what", "word"),
    [
        ("the authority's file is missing", "/none/ca.pem"),
        ("the certificate's file is missing", "/none/c"),
        ("the token's file is missing", "/none/token"),
        ("unknown current context", "gone"),
        ("no clusters", "clusters"),
    ],
)
def test_a_broken_part_is_named(write, what, word):
    assert word in told(write(**PARTS[what]))


INTERNALS = ("object has no attribute", "object at 0x", "NoneType", "item assignment", "indices")


@pytest.mark.parametrize(
    "what",
    [
        "a context of nothing",
        "current context is a list",
        "the server is a number",
        "a provider of credentials that is no more",
    ],
)
def test_a_broken_part_is_not_told_in_words_of_python(write, what):
    message = told(write(**PARTS[what]))
    assert not [word for word in INTERNALS if word in message]


@pytest.mark.parametrize("what", ["one word", "a list"])
def test_what_is_no_kubeconfig_is_not_told_in_words_of_python(write, what):
    message = told(write(NOT_A_KUBECONFIG[what]))
    assert not [word for word in INTERNALS if word in message]


def test_a_cluster_without_a_server_is_told(write):
    told(write(clusters=[{"name": "lab", "cluster": {}}]))


def test_an_unknown_context_is_told_with_those_that_are_known(write):
    message = told(write(apiVersion="v1"), context="prod")
    assert message.startswith("--kube-context prod: ")
    assert message.endswith("Known: lab.")


def test_in_a_pod_that_is_none_the_way_out_is_told(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterProblem, match=r"--in-cluster: .*--kubeconfig FILE"):
        open_connection(ClusterOptions(in_cluster=True))


# -- TLS


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("lab"), "lab")


def page(connection: Any) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


@pytest.fixture
def https(lab: Authority) -> Iterator[int]:
    files = lab.issue("server", x509.DNSName("api.lab"))
    with serving(tls_server(files, page)) as port:
        yield port


def entry(authority: Authority | None, port: int, **more: Any) -> dict[str, Any]:
    data = {} if authority is None else {
        "certificate-authority-data": base64.b64encode(authority.pem.encode()).decode()
    }  # fmt: skip
    return cluster(server=f"https://127.0.0.1:{port}", **data, **more)


def test_a_server_with_the_right_authority_and_name_is_believed(write, https, lab):
    path = write(**entry(lab, https, **{"tls-server-name": "api.lab"}))
    assert Api(opened(path)).request("GET", "/version").ok


@pytest.mark.parametrize(("name", "known"), [("api.lab", False), ("other.lab", True), (None, True)])
def test_a_server_with_another_authority_or_name_is_not(write, https, lab, tmp_path, name, known):
    trusted = lab if known else authority(tmp_path, "stranger")
    more = {"tls-server-name": name} if name else {}
    path = write(**entry(trusted, https, **more))
    with pytest.raises(ApiUnreachable, match=r"(?i)certificate|hostname|doesn't match"):
        Api(opened(path)).request("GET", "/version")


def test_the_authorities_of_the_machine_do_not_vouch_for_a_cluster_of_its_own(write, https):
    with pytest.raises(ApiUnreachable, match=r"(?i)certificate"):
        Api(opened(write(**entry(None, https)))).request("GET", "/version")


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_an_authority_that_cannot_be_read_is_told(write, https, tmp_path, content):
    file = tmp_path / "ca.pem"
    file.write_text(content)
    more = {"certificate-authority": str(file), "tls-server-name": "api.lab"}
    path = write(**cluster(server=f"https://127.0.0.1:{https}", **more))
    with pytest.raises((ApiUnreachable, OSError)) as caught:
        Api(opened(path)).request("GET", "/version")
    assert "\n" not in str(caught.value)
