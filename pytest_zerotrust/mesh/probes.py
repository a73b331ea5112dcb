"""What is sent to a meshed port, as requests for the agent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_zerotrust.core.mesh import NONCE_HEADER, PodMesh, annotated_ports

CONNECT_TIMEOUT = 1.5
"""Seconds for a connection, and again for an answer."""

CALL_TIMEOUT = 5.0
"""Seconds for a call through two proxies and an application."""

HTTP2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\0\0\0\4\0\0\0\0\0"
"""The preface of HTTP/2 and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5)."""

OPAQUE = "\x01\x02zerotrust\r\n\r\n"
"""Bytes of no known protocol, more than a proxy needs to tell them from TLS."""

ALPN = "istio"
"""The protocol name by which Istio's proxies tell each other's mutual TLS from other TLS."""

MORE_PLAIN: Mapping[str, str] = {"HTTP/2": HTTP2, "opaque bytes": OPAQUE}
"""What is sent in plaintext beside what a client of the application would say, by name."""

SERVED = (
    *(80, 443, 3000, 3306, 4040, 5000, 5005, 5432, 6060, 6379, 7777, 8000, 8001, 8008, 8080),
    *(8081, 8082, 8086, 8089, 8090, 8443, 8888, 9000, 9001, 9080, 9090, 9091, 9092, 9100, 9113),
    *(9121, 9187, 9200, 9404, 9443, 11211, 27017, 50051),
)
"""Ports of usual servers, debuggers, profilers and exporters, asked even if nobody declares them.
(IANA's registry, and "Default port allocations" of Prometheus.)"""

OF_THE_PROXY = (15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090)
"""Ports of the proxy itself (istio.io, "Application Requirements")."""


def port_probes(
    ip: str, port: int, payload: str, *, root: str, forged: Mapping[str, str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Everything that is sent to one declared port, each with the name of its kind."""
    base = {"ip": ip, "port": port, "timeout": CONNECT_TIMEOUT}
    yield "plain", {"kind": "tcp", **base, "send": payload, "until": "\n"}
    for name, text in MORE_PLAIN.items():
        yield f"plain {name}", {"kind": "tcp", **base, "send": text, "until": "\n"}
    tls = {"kind": "tls", **base, "send": payload}
    yield "tls", tls
    yield "tls-istio", {**tls, "alpn": [ALPN]}
    if root:
        yield "tls-verified", {**tls, "ca": root}
    for name, pem in forged.items():
        yield f"forged {name}", {**tls, "certificate": pem}


IDENTITIES: Mapping[str, Any] = {
    "kind": "tcp",
    "ip": "127.0.0.1",
    "port": 15000,
    "timeout": CALL_TIMEOUT,
    "send": "GET /certs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "read": 65536,
}
"""Asks the proxy of the asking pod itself for its certificates (Envoy's admin interface)."""


def nonce(token: str) -> str:
    """What stands in a header that nobody takes away."""
    return f"{token}-nonce"


def forged_request(host: str, path: str, *, identity: str, nonce: str) -> str:
    """An HTTP request whose caller writes another identity into the header by which proxies tell
    it (Envoy, "x-forwarded-client-cert"), and a nonce into a header of no meaning."""
    claim = f'By={identity};Hash={"0" * 64};Subject="";URI={identity}'
    headers = f"{NONCE_HEADER}: {nonce}\r\nX-Forwarded-Client-Cert: {claim}"
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\nConnection: close\r\n\r\n"


def swept_ports(pod: PodMesh, declared: frozenset[int]) -> list[int]:
    """The ports of a pod that are asked beside the declared ones."""
    named = pod.ports | annotated_ports(pod)
    return sorted((named | {*SERVED, *OF_THE_PROXY}) - declared)


def sweep_probe(ip: str, port: int) -> Mapping[str, Any]:
    """What is sent to a port that nobody declared: a small HTTP request."""
    send = f"GET / HTTP/1.1\r\nHost: {ip}:{port}\r\nConnection: close\r\n\r\n"
    base = {"ip": ip, "port": port, "timeout": CONNECT_TIMEOUT}
    return {"kind": "tcp", **base, "send": send, "until": "\n"}


def refuser_probe(ip: str, port: int, root: str) -> Mapping[str, Any]:
    """TLS without a client certificate, which a proxy of the mesh with this root refuses."""
    return {"kind": "tls", "ip": ip, "port": port, "timeout": CONNECT_TIMEOUT, "ca": root}
