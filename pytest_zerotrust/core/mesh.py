"""What a port answers to plaintext and to TLS, and what that says about mutual TLS on it.

On a port under STRICT mutual TLS a TCP connect succeeds and proves nothing, and a reset alone is
given as well by a permissive port whose application is down. So the refuser must be known by what
it says: an alert that demands a certificate, and a certificate with the expected SPIFFE identity.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.verdict import Verdict

MIN_PLAINTEXT = 5
"""Bytes that a proxy needs before it can tell plaintext from TLS (the TLS record header)."""

_DEMANDS_CERTIFICATE = ("CERTIFICATE_REQUIRED",)
# TLS 1.2 refuses inside the handshake, with an alert that has other causes as well.
_REFUSES_HANDSHAKE = ("HANDSHAKE_FAILURE",)


class Plain(enum.Enum):
    """What became of plaintext."""

    ANSWERED = "answered"
    RESET = "reset after the data was sent"
    CLOSED = "closed after the data was sent"
    SILENT = "no answer"
    DROPPED = "dropped before the connection was made"
    REFUSED = "connection refused"
    FAILED = "probe failed"


class Tls(enum.Enum):
    """What became of a TLS handshake without a client certificate, reading first."""

    CERTIFICATE_REQUIRED = "the server demands a client certificate"
    HANDSHAKE_REFUSED = "the handshake was refused"
    ACCEPTED = "accepted without a client certificate"
    NOT_TLS = "the server does not speak TLS"
    RESET = "reset"
    UNVERIFIED = "the certificate does not chain to the mesh root"
    DROPPED = "dropped before the connection was made"
    FAILED = "probe failed"


class PortMode(enum.Enum):
    """The conclusion about one port."""

    STRICT = "strict"
    PERMISSIVE = "permissive"
    PLAINTEXT = "plaintext"
    MASKED = "masked by a network policy"
    APPLICATION_DOWN = "permissive or unknown, and the application is down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortEvidence:
    """What one port answered from one place. ``spiffe`` are the URI names of its certificate."""

    plain: Plain
    tls: Tls
    tls_istio: Tls
    tls_verified: Tls
    spiffe: tuple[str, ...] = ()
    version: str = ""
    details: tuple[str, ...] = ()


def read_plain(raw: Mapping[str, Any]) -> Plain:
    """Read the agent's report of a plaintext exchange."""
    end = raw.get("end")
    if raw.get("stage") == "connect":
        return {"timeout": Plain.DROPPED, "refused": Plain.REFUSED}.get(str(end), Plain.FAILED)
    if raw.get("stage") != "exchange":
        return Plain.FAILED
    if raw.get("data"):
        return Plain.ANSWERED
    if int(raw.get("sent", 0)) < MIN_PLAINTEXT and end != "reset":
        return Plain.FAILED
    return {"reset": Plain.RESET, "closed": Plain.CLOSED, "silent": Plain.SILENT}.get(
        str(end), Plain.FAILED
    )


def read_tls(raw: Mapping[str, Any]) -> Tls:
    """Read the agent's report of a TLS handshake."""
    end, stage, alert = str(raw.get("end")), raw.get("stage"), str(raw.get("alert", ""))
    if stage == "connect":
        return Tls.DROPPED if end == "timeout" else Tls.FAILED
    if end == "unverified":
        return Tls.UNVERIFIED
    if end == "alert":
        if any(word in alert for word in _DEMANDS_CERTIFICATE):
            return Tls.CERTIFICATE_REQUIRED
        if any(word in alert for word in _REFUSES_HANDSHAKE):
            return Tls.HANDSHAKE_REFUSED
        if "WRONG_VERSION_NUMBER" in alert or "PACKET_LENGTH" in alert or "RECORD_LAYER" in alert:
            return Tls.NOT_TLS
        return Tls.RESET if "EOF" in alert else Tls.FAILED
    if end == "reset":
        return Tls.RESET
    if stage == "exchange":
        # Silence or data after a whole handshake: the server did without a certificate. A close
        # may be a refusal whose alert was lost, so it says nothing.
        return Tls.ACCEPTED if end in ("silent", "data") else Tls.FAILED
    return Tls.FAILED


def classify(evidence: PortEvidence) -> PortMode:
    """Conclude the mode of a port from the probes of it."""
    if Plain.ANSWERED is evidence.plain:
        permissive = evidence.tls_istio is Tls.CERTIFICATE_REQUIRED
        return PortMode.PERMISSIVE if permissive else PortMode.PLAINTEXT
    if Plain.DROPPED is evidence.plain or Tls.DROPPED is evidence.tls:
        return PortMode.MASKED
    demands = (Tls.CERTIFICATE_REQUIRED, Tls.HANDSHAKE_REFUSED)
    if evidence.plain is Plain.RESET and evidence.tls in demands:
        return PortMode.STRICT
    if evidence.plain in (Plain.RESET, Plain.CLOSED) and evidence.tls is Tls.RESET:
        return PortMode.APPLICATION_DOWN
    return PortMode.UNKNOWN


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A verdict on one port, the machine-readable reason, and the same in words."""

    verdict: Verdict
    reason: str
    text: str


def judge_plaintext(evidence: PortEvidence) -> Conclusion:
    """Is plaintext refused by a proxy that demands mutual TLS?"""
    mode = classify(evidence)
    if mode in (PortMode.PERMISSIVE, PortMode.PLAINTEXT):
        return Conclusion(Verdict.VIOLATED, "", "plaintext was ANSWERED, expected REFUSED")
    if mode is PortMode.STRICT and _refuser_is_of_the_mesh(evidence):
        return Conclusion(
            Verdict.HOLDS, "", "plaintext is reset by the proxy, which demands a certificate"
        )
    return _inconclusive(evidence, mode)


def _refuser_is_of_the_mesh(evidence: PortEvidence) -> bool:
    """True if the refuser shows one SPIFFE identity that chains to the mesh's own root.

    An application may demand client certificates as well; its certificate is not of the mesh.
    """
    return (
        evidence.tls is Tls.CERTIFICATE_REQUIRED
        and evidence.tls_verified is Tls.CERTIFICATE_REQUIRED
        and len(evidence.spiffe) == 1
        and evidence.spiffe[0].startswith("spiffe://")
    )


def judge_identity(evidence: PortEvidence, expected: str) -> Conclusion:
    """Does the port demand a client certificate, and prove ``expected`` (a SPIFFE URI)?"""
    mode = classify(evidence)
    if mode in (PortMode.PERMISSIVE, PortMode.PLAINTEXT):
        return Conclusion(
            Verdict.VIOLATED, "", "no client certificate is DEMANDED: plaintext was answered"
        )
    if evidence.tls is Tls.ACCEPTED:
        return Conclusion(Verdict.VIOLATED, "", "TLS was ACCEPTED without a client certificate")
    if evidence.tls is not Tls.CERTIFICATE_REQUIRED:
        return _inconclusive(evidence, mode)
    if evidence.spiffe != (expected,):
        seen = ", ".join(evidence.spiffe) or "no SPIFFE identity"
        return Conclusion(
            Verdict.VIOLATED, "", f"the server shows {seen}, expected exactly {expected}"
        )
    if evidence.tls_verified is Tls.UNVERIFIED:
        return Conclusion(
            Verdict.VIOLATED, "", "the server's certificate does NOT CHAIN to the mesh root"
        )
    if evidence.tls_verified is not Tls.CERTIFICATE_REQUIRED:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "chain-not-verified",
            f"the chain to the mesh root was not shown ({evidence.tls_verified.value})",
        )
    return Conclusion(
        Verdict.HOLDS, "", f"a certificate is demanded, and the server proves {expected}"
    )


_WHY = {
    PortMode.MASKED: ("masked", "a network policy drops the attempt before the mesh can answer"),
    PortMode.APPLICATION_DOWN: (
        "application-down",
        "everything is reset, as by a permissive port whose application is down",
    ),
    PortMode.STRICT: (
        "refuser-not-identified",
        "the refuser did not identify itself by a certificate demand and a SPIFFE identity",
    ),
    PortMode.UNKNOWN: ("unknown", "the answers fit no known mode"),
}


def _inconclusive(evidence: PortEvidence, mode: PortMode) -> Conclusion:
    reason, why = _WHY[mode]
    return Conclusion(
        Verdict.INCONCLUSIVE,
        reason,
        f"{why} (plaintext: {evidence.plain.value}; TLS: {evidence.tls.value})",
    )


class Call(enum.Enum):
    """What became of a call from inside the mesh."""

    ANSWERED = "answered by the application"
    DENIED = "denied by the mesh's authorization"
    NOT_DELIVERED = "the proxy could not deliver it"
    CUT = "cut without an answer"
    SILENT = "no answer"
    FAILED = "probe failed"


def read_call(raw: Mapping[str, Any], *, http: bool) -> tuple[Call, str]:
    """Read the report of a call through a sidecar; returns what it was and how it looked.

    A sidecar accepts every connect on behalf of its application, so only an answer of the
    application counts. Whatever looks like HTTP is judged as HTTP, also on a port that was not
    declared so, because the proxies answer in HTTP themselves.
    """
    if raw.get("stage") != "exchange":
        return Call.FAILED, f"{raw.get('stage')}: {raw.get('end')} {raw.get('errno', '')}".strip()
    data = str(raw.get("data", ""))
    if not data:
        end = str(raw.get("end"))
        call = {"silent": Call.SILENT, "closed": Call.CUT, "reset": Call.CUT}.get(end, Call.FAILED)
        return call, end
    if http or data.startswith("HTTP/"):
        return _read_http(data)
    return Call.ANSWERED, f"{len(data)} bytes"


# The bodies that Envoy writes when it has no answer of an application to pass on. The proxy on
# the far side writes them too, and the near one then marks them as delivered.
_MADE_BY_A_PROXY = (
    "upstream connect error",
    "no healthy upstream",
    "upstream request timeout",
    "upstream max stream duration",
    "connection_timeout",
)


def _read_http(data: str) -> tuple[Call, str]:
    head, _, body = data.partition("\r\n\r\n")
    status_line, *lines = head.split("\r\n")
    words = status_line.split()
    well_formed = (
        len(words) >= 2
        and words[0].startswith("HTTP/")
        and words[1].isascii()
        and words[1].isdecimal()
    )
    if not well_formed:
        return Call.FAILED, f"not HTTP: {status_line[:60]!r}"
    status = int(words[1])
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    text = body.strip()
    if status == 403 and text == "RBAC: access denied":
        return Call.DENIED, status_line
    # A proxy's own answer names no time that an upstream took; some bodies betray it anyway.
    by_proxy = fields.get("server", "") in ("envoy", "istio-envoy") or status >= 500
    undelivered = by_proxy and "x-envoy-upstream-service-time" not in fields
    if status >= 400 and (undelivered or text.startswith(_MADE_BY_A_PROXY)):
        return Call.NOT_DELIVERED, f"{status_line}: {text[:120]}"
    return Call.ANSWERED, status_line
