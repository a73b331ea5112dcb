"""What an attacker would show: certificates that a server of the mesh must refuse, by name."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from pytest_zerotrust.core.mesh import Tls, read_tls
from pytest_zerotrust.mesh.certificates import fingerprints, read_certificate
from pytest_zerotrust.mesh.forgery import EXPIRED, FOREIGN, FORGED, KINDS, SELF_SIGNED, forge
from tests.fakes.agents import PATIENCE, Agent, running
from tests.fakes.servers import Authority, authority, serving, tls_server, wait_for_end

NOW = datetime.datetime.now(datetime.UTC)
CLAIMED = "spiffe://lab.local/ns/default/sa/default"
TLS_12, TLS_13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("mesh"), "mesh")


@pytest.fixture(scope="module")
def forged() -> dict[str, str]:
    return dict(forge("lab.local", NOW))


def leaf(pem: str) -> Any:
    found = read_certificate(pem)
    assert found is not None
    return found


def test_they_say_what_they_are_called_after(forged):
    assert tuple(forged) == KINDS
    for kind in (SELF_SIGNED, EXPIRED, FORGED):
        assert leaf(forged[kind]).names == (CLAIMED,)
    assert leaf(forged[FOREIGN]).names == ("spiffe://foreign.example/ns/default/sa/default",)
    assert leaf(forged[EXPIRED]).not_after < NOW
    assert all(leaf(forged[kind]).not_after > NOW for kind in KINDS if kind != EXPIRED)
    assert "lab.local" in leaf(forged[FORGED]).issuer
    assert not any(leaf(pem).authority for pem in forged.values())


def test_no_two_runs_make_the_same(forged):
    again = forge("lab.local", NOW)
    assert not {leaf(p).serial for p in forged.values()} & {leaf(p).serial for p in again.values()}


def ask(agent: Agent, handler: Any, **more: Any) -> dict[str, Any]:
    with serving(handler) as port:
        probe = {"kind": "tls", "ip": "127.0.0.1", "port": port, "timeout": PATIENCE, **more}
        return agent.ask(probe)[0]


@pytest.fixture(scope="module")
def files(mesh: Authority) -> tuple[str, str]:
    return mesh.issue("payments", x509.UniformResourceIdentifier(CLAIMED))


@pytest.mark.parametrize("version", [TLS_12, TLS_13])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_checks_refuses_each_by_name(agent, mesh, files, forged, kind, version):
    handler = tls_server(files, wait_for_end, clients=mesh, version=version)
    report = ask(agent, handler, certificate=forged[kind])
    assert read_tls(report) is Tls.CERTIFICATE_REFUSED, report


def test_a_certificate_of_the_mesh_itself_is_accepted(agent, mesh, files):
    text = ""
    for file in files:
        with open(file, encoding="ascii") as opened:
            text += opened.read()
    handler = tls_server(files, lambda c: c.sendall(b"welcome\n"), clients=mesh)
    report = ask(agent, handler, certificate=text)
    assert read_tls(report) is Tls.ACCEPTED
    assert report["data"] == "welcome\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_checks_nothing_accepts_each(agent, files, forged, kind):
    handler = tls_server(files, lambda c: c.sendall(b"welcome\n"))
    assert read_tls(ask(agent, handler, certificate=forged[kind])) is Tls.ACCEPTED


def test_a_server_that_waits_for_the_client_is_asked_then(agent, files):
    def echo(connection: Any) -> None:
        connection.sendall(b"got " + connection.recv(100))

    report = ask(agent, tls_server(files, echo), timeout=1.5, send="hello\r\n")
    assert read_tls(report) is Tls.ACCEPTED
    assert (report["waited"], report["data"]) == (True, "got hello\r\n")


def test_a_refusal_after_the_client_spoke_is_still_a_refusal(agent, mesh, files, forged):
    handler = tls_server(files, wait_for_end, clients=mesh, version=TLS_13)
    report = ask(agent, handler, certificate=forged[SELF_SIGNED], send="hello\r\n")
    assert read_tls(report) is Tls.CERTIFICATE_REFUSED


@pytest.mark.parametrize("pem", ["no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_certificate_that_cannot_be_shown_is_no_answer(agent, files, pem):
    handler = tls_server(files, wait_for_end)
    assert read_tls(ask(agent, handler, certificate=pem)) is Tls.FAILED


def test_fingerprints_tell_bundles_apart(mesh, tmp_path):
    other = authority(tmp_path, "other")
    both = fingerprints(mesh.pem + other.pem)
    assert len(both) == 2
    assert fingerprints(mesh.pem) < both
    assert fingerprints("no PEM") == frozenset()
