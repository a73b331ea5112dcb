"""What a port answers to plaintext and to TLS: the agent's raw reports, as closed sets of words.

On a port under STRICT mutual TLS a TCP connect succeeds and proves nothing, and a reset alone is
given as well by a permissive port whose application is down. So the refuser must be known by what
it says: an alert that demands a certificate, and a certificate with the expected SPIFFE identity.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

MIN_PLAINTEXT = 5
"""Bytes that a proxy needs before it can tell plaintext from TLS (the TLS record header)."""

_DEMANDS_CERTIFICATE = ("CERTIFICATE_REQUIRED",)
# TLS 1.2 refuses inside the handshake, with an alert that has other causes as well.
_REFUSES_HANDSHAKE = ("HANDSHAKE_FAILURE",)
# RFC 8446, section 6.2, as OpenSSL names them: what a server says of a certificate it was shown.
_REFUSES_CERTIFICATE = (
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_UNSUPPORTED_CERTIFICATE",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_ACCESS_DENIED",
    # What it says of a signature that its own authority never made.
    "ALERT_DECRYPT_ERROR",
)
_NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH", "RECORD_LAYER")


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
    """What became of a TLS handshake, reading first."""

    CERTIFICATE_REQUIRED = "the server demands a client certificate"
    CERTIFICATE_REFUSED = "the server refuses the client's certificate"
    HANDSHAKE_REFUSED = "the handshake was refused"
    ACCEPTED = "accepted"
    NOT_TLS = "the server does not speak TLS"
    RESET = "reset"
    UNVERIFIED = "the certificate does not chain to the mesh root"
    DROPPED = "dropped before the connection was made"
    FAILED = "probe failed"


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
        return _read_alert(alert)
    if end == "reset":
        return Tls.RESET
    if stage == "exchange":
        # Silence or data after a whole handshake: the server was content. A close may be a refusal
        # whose alert was lost, so it says nothing.
        return Tls.ACCEPTED if end in ("silent", "data") else Tls.FAILED
    return Tls.FAILED


def _read_alert(alert: str) -> Tls:
    words = (
        (_DEMANDS_CERTIFICATE, Tls.CERTIFICATE_REQUIRED),
        (_REFUSES_CERTIFICATE, Tls.CERTIFICATE_REFUSED),
        (_REFUSES_HANDSHAKE, Tls.HANDSHAKE_REFUSED),
        (_NO_TLS, Tls.NOT_TLS),
        (("EOF",), Tls.RESET),
    )
    return next((tls for known, tls in words if any(w in alert for w in known)), Tls.FAILED)
