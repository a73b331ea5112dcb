"""Whether the mesh tells callers apart by their identity. Pure.

Two pods differ in nothing but their service account: the same labels, so that network policies
treat them alike. One is answered and the other refused, so only the identity can be why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.mesh.calls import Call
from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The last calls of an allowed caller and of its impostor.

    ``shown`` are the identities that the impostor's own proxy has a certificate for, ``expected``
    the one that it must have. ``http`` tells whether the port speaks HTTP, where a refusal has
    words of its own.
    """

    allowed: Sequence[Call]
    impostor: Sequence[Call]
    shown: tuple[str, ...]
    expected: str
    http: bool


def judge_pair(pair: Pair) -> Conclusion:
    """Is the impostor refused, and by nothing but its identity?"""
    name = pair.expected
    if Call.ANSWERED in pair.impostor:
        return Conclusion(
            Verdict.VIOLATED, "", f"{name} was ANSWERED by the application, expected REFUSED"
        )
    if not pair.allowed or any(call is not Call.ANSWERED for call in pair.allowed):
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "caller-not-answered",
            "the allowed caller itself was not answered, so a refusal shows nothing",
        )
    if pair.shown != (name,):
        seen = ", ".join(pair.shown) or "none"
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "impostor-without-identity",
            f"the proxy of the impostor does not show the identity {name} (it shows {seen})",
        )
    refusal = Call.DENIED if pair.http else Call.CUT
    if not pair.impostor or any(call is not refusal for call in pair.impostor):
        said = ", ".join(dict.fromkeys(call.value for call in pair.impostor)) or "not observed"
        return Conclusion(
            Verdict.INCONCLUSIVE, "no-clear-answer", f"{name} was not clearly refused: {said}"
        )
    how = "by its authorization" if pair.http else "by cutting the connection"
    return Conclusion(Verdict.HOLDS, "", f"the mesh refuses {name} {how}, and only its identity")


def read_identities(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The SPIFFE identities that a pod's own proxy has certificates for, as Envoy's admin
    interface tells (``/certs``); empty if it did not tell."""
    head, _, body = str(raw.get("data", "")).partition("\r\n\r\n")
    chunked = "transfer-encoding: chunked" in head.lower()
    try:
        listed = json.loads(_joined(body) if chunked else body)["certificates"]
        names = [
            str(name["uri"])
            for certificate in listed
            for link in certificate.get("cert_chain", ())
            for name in link.get("subject_alt_names", ())
            if "uri" in name
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(dict.fromkeys(names))


def _joined(chunked: str) -> str:
    """The body of chunks (RFC 9112, section 7.1). Raises ValueError if it is none."""
    parts = []
    while chunked:
        size, _, rest = chunked.partition("\r\n")
        length = int(size.partition(";")[0], 16)
        if length == 0:
            break
        parts.append(rest[:length])
        chunked = rest[length + 2 :]
    return "".join(parts)
