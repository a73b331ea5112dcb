"""The real agent's TLS probe, as the mesh layer reads it: who refuses, and by what words."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from pytest_zerotrust.core.mesh import Tls, read_tls
from pytest_zerotrust.mesh.certificates import spiffe_names
from tests.fakes.agents import PATIENCE, Agent, running
from tests.fakes.servers import (
    Authority,
    authority,
    deaf_port,
    free_port,
    reset,
    serving,
    tls_server,
    wait_for_end,
)

SPIFFE = "spiffe://cluster.local/ns/production/sa/payments"
TLS_12, TLS_13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("mesh"), "mesh")


@pytest.fixture(scope="module")
def files(mesh: Authority) -> tuple[str, str]:
    return mesh.issue("payments", x509.UniformResourceIdentifier(SPIFFE))


def tls(port: int, **more: Any) -> dict[str, Any]:
    return {"kind": "tls", "ip": "127.0.0.1", "port": port, "timeout": PATIENCE, **more}


def ask(agent: Agent, handler: Any, **more: Any) -> dict[str, Any]:
    with serving(handler) as port:
        return agent.ask(tls(port, **more))[0]


def test_a_demand_for_a_certificate_is_known_from_the_alert_on_the_first_read(agent, mesh, files):
    report = ask(agent, tls_server(files, wait_for_end, clients=mesh, version=TLS_13))
    assert read_tls(report) is Tls.CERTIFICATE_REQUIRED
    assert (report["stage"], report["end"]) == ("exchange", "alert")
    assert report["version"] == "TLSv1.3"
    assert spiffe_names(report["certificate"]) == (SPIFFE,)


def test_the_demand_is_told_every_time_it_is_made(agent, mesh, files):
    with serving(tls_server(files, wait_for_end, clients=mesh, version=TLS_13)) as port:
        reports = agent.ask(*[tls(port)] * 40)
    assert {read_tls(report) for report in reports} == {Tls.CERTIFICATE_REQUIRED}


def test_a_demand_under_tls_1_2_is_a_refusal_within_the_handshake(agent, mesh, files):
    report = ask(agent, tls_server(files, wait_for_end, clients=mesh, version=TLS_12))
    assert read_tls(report) is Tls.HANDSHAKE_REFUSED
    assert report["stage"] == "handshake"


@pytest.mark.parametrize("version", [TLS_12, TLS_13])
def test_a_server_that_demands_nothing_and_waits_has_accepted(agent, files, version):
    report = ask(agent, tls_server(files, wait_for_end, version=version), timeout=2.0)
    assert read_tls(report) is Tls.ACCEPTED
    assert report["end"] == "silent"


RESTRICTED = """
openssl_conf = all
[all]
ssl_conf = tls
[tls]
system_default = restricted
[restricted]
MinProtocol = TLSv1.2
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = P-256:P-384
"""
"""What a machine under FIPS 140 allows of TLS: no ChaCha20, no X25519."""


def test_a_machine_that_restricts_tls_breaks_no_probe(mesh, files, tmp_path):
    conf = tmp_path / "openssl.cnf"
    conf.write_text(RESTRICTED)
    with running(OPENSSL_CONF=str(conf)) as agent:
        report = ask(agent, tls_server(files, wait_for_end, clients=mesh, version=TLS_13))
        old = ask(agent, tls_server(files, wait_for_end, clients=mesh, version=TLS_12))
    assert report["cipher"] == "TLS_AES_128_GCM_SHA256"
    assert read_tls(report) is Tls.CERTIFICATE_REQUIRED
    assert spiffe_names(report["certificate"]) == (SPIFFE,)
    assert read_tls(old) is Tls.HANDSHAKE_REFUSED


def test_a_server_that_greets_has_accepted(agent, files):
    report = ask(agent, tls_server(files, lambda c: c.sendall(b"220 hello\r\n")))
    assert read_tls(report) is Tls.ACCEPTED
    assert report["data"] == "220 hello\r\n"


def test_a_server_that_closes_after_the_handshake_says_nothing_about_certificates(agent, files):
    report = ask(agent, tls_server(files, lambda c: None))
    assert read_tls(report) in (Tls.FAILED, Tls.RESET)


def test_an_own_certificate_is_not_one_of_the_mesh(agent, mesh, files, tmp_path):
    other = authority(tmp_path, "other")
    handler = tls_server(files, wait_for_end, clients=mesh)
    assert read_tls(ask(agent, handler, ca=mesh.pem)) is Tls.CERTIFICATE_REQUIRED
    assert read_tls(ask(agent, handler, ca=other.pem)) is Tls.UNVERIFIED


def test_the_root_of_another_mesh_in_the_bundle_does_no_harm(agent, mesh, files, tmp_path):
    bundle = authority(tmp_path, "other").pem + mesh.pem
    handler = tls_server(files, wait_for_end, clients=mesh)
    assert read_tls(ask(agent, handler, ca=bundle)) is Tls.CERTIFICATE_REQUIRED


@pytest.mark.parametrize("ca", ["not a PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_root_that_cannot_be_read_verifies_nothing(agent, mesh, files, ca):
    handler = tls_server(files, wait_for_end, clients=mesh)
    assert read_tls(ask(agent, handler, ca=ca)) not in (Tls.CERTIFICATE_REQUIRED, Tls.ACCEPTED)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["istio"], "istio"), (["h2", "istio"], "istio"), (["x"], None)]
)
def test_the_protocol_that_the_server_chose_is_reported(agent, files, offered, chosen):
    handler = tls_server(files, lambda c: c.sendall(b"x"), alpn=["istio"])
    assert ask(agent, handler, alpn=offered).get("alpn") == chosen


def plain(data: bytes) -> Any:
    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)
        wait_for_end(connection)

    return handler


def reads_and_resets(connection: socket.socket) -> None:
    connection.recv(65536)
    reset(connection)


def reads_and_closes(connection: socket.socket) -> None:
    connection.recv(65536)


ALERT = b"\x15\x03\x03\x00\x02\x02"
STRANGE: dict[str, tuple[Any, tuple[Tls, ...]]] = {
    "HTTP": (plain(b"HTTP/1.1 400 Bad Request\r\n\r\n"), (Tls.NOT_TLS,)),
    "a banner": (plain(b"220 mail.example.com ESMTP\r\n"), (Tls.NOT_TLS,)),
    "null bytes": (plain(b"\0" * 64), (Tls.NOT_TLS, Tls.FAILED)),
    "reset": (reads_and_resets, (Tls.RESET,)),
    "close": (reads_and_closes, (Tls.RESET,)),
    "alert handshake_failure": (plain(ALERT + b"\x28"), (Tls.HANDSHAKE_REFUSED,)),
    "alert certificate_required, before any handshake": (plain(ALERT + b"\x74"), ()),
    "alert internal_error": (plain(ALERT + b"\x50"), (Tls.FAILED,)),
    "half a record": (plain(b"\x16\x03\x03\x40\x00half"), (Tls.FAILED,)),
    "a record of noise": (
        plain(b"\x16\x03\x03\x00\x20" + os.urandom(32)),
        (Tls.FAILED, Tls.NOT_TLS),
    ),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_not_a_whole_handshake_is_never_accepted_nor_taken_for_a_mesh(agent, what):
    handler, expected = STRANGE[what]
    report = ask(agent, handler, timeout=2.0)
    found = read_tls(report)
    assert found is not Tls.ACCEPTED
    assert report.get("certificate", "") == ""
    if expected:
        assert found in expected, report


def test_a_handshake_that_never_ends_is_no_answer(agent):
    report = ask(agent, wait_for_end, timeout=0.5)
    assert (report["stage"], report["end"]) == ("handshake", "silent")
    assert read_tls(report) is Tls.FAILED


def test_a_port_without_a_listener_and_one_that_drops_are_different(agent):
    refused = agent.ask(tls(free_port()))[0]
    assert (refused["stage"], refused["end"]) == ("connect", "refused")
    with deaf_port() as port:
        dropped = agent.ask(tls(port, timeout=0.3))[0]
    assert read_tls(dropped) is Tls.DROPPED


def test_many_handshakes_at_once_are_reported_in_their_order(agent, mesh, files):
    closed = free_port()
    with serving(tls_server(files, wait_for_end, clients=mesh)) as port:
        ports = [port if index % 3 else closed for index in range(90)]
        reports = agent.ask(*[tls(p) for p in ports])
    for used, report in zip(ports, reports, strict=True):
        assert (read_tls(report) is Tls.CERTIFICATE_REQUIRED) is (used == port)


NAMES: dict[str, tuple[tuple[x509.GeneralName, ...], tuple[str, ...]]] = {
    "one identity": ((x509.UniformResourceIdentifier(SPIFFE),), (SPIFFE,)),
    "a host name": ((x509.DNSName("payments"),), ()),
    "both": ((x509.DNSName("payments"), x509.UniformResourceIdentifier(SPIFFE)), (SPIFFE,)),
    "two identities": (
        (x509.UniformResourceIdentifier(SPIFFE), x509.UniformResourceIdentifier(SPIFFE + "2")),
        (SPIFFE, SPIFFE + "2"),
    ),
    "no name at all": ((), ()),
}


@pytest.mark.parametrize("what", NAMES)
def test_every_identity_of_a_certificate_is_read(mesh, what):
    sans, expected = NAMES[what]
    certificate, _ = mesh.issue(what.replace(" ", "-"), *sans)
    with open(certificate, encoding="ascii") as file:
        assert spiffe_names(file.read()) == expected


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n", "\ud800", "\0"])
def test_a_certificate_that_cannot_be_read_has_no_identity(pem):
    with contextlib.suppress(UnicodeEncodeError):
        assert spiffe_names(pem) == ()
