"""What a probe saw, as a closed set of words: the raw report of the agent, read but not judged."""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any


class Seen(enum.Enum):
    """What became of one attempt to reach a listener."""

    OPEN = "open"
    """The right server answered: it proved itself with its key and our nonce."""
    WRONG_SERVER = "wrong server"
    """Something answered, but not the server that was meant."""
    SILENT = "connected, then silence"
    CLOSED = "connected, then closed"
    CUT = "connected, then reset"
    REFUSED = "refused"
    """A reset in answer to the first packet: no listener, or a policy that rejects."""
    DROPPED = "dropped"
    """No answer at all until the time-out."""
    UNREACHABLE = "rejected by ICMP"
    """A router, a node or a policy answered with an ICMP error."""
    NO_ROUTE = "no route"
    """The source's own kernel had no way to send anything; nobody else was asked."""
    UNRESOLVED = "name not resolved"
    UNSUPPORTED = "protocol not supported by the kernel"
    FAILED = "probe failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One attempt: what was seen, after how many milliseconds, and the errno or text if any.

    ``address`` is the address that was tried, for servers that are not ours.
    """

    seen: Seen
    ms: float = 0.0
    detail: str = ""
    address: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.seen.value}{detail} after {self.ms:g} ms"


def expected_answer(key: bytes, nonce: str) -> str:
    """Return the proof that only the server with this key can give to ``nonce``."""
    return hmac.new(key, nonce.encode(), hashlib.sha256).hexdigest()


def read_foreign(raw: Mapping[str, Any]) -> Observation:
    """Read the agent's report of one attempt to reach a server that is not ours.

    It has no key to prove, so OPEN means that whoever is at the address answered something.
    """
    observation = _read(raw, lambda data: True)
    return replace(observation, address=str(raw.get("ip", "")))


def read_flow(raw: Mapping[str, Any], *, key: bytes, nonce: str) -> Observation:
    """Read the agent's report of one attempt to reach a listener of ours.

    ``key`` is the target's key: an answer counts as OPEN only if it proves that key.
    """

    return read_proof(raw, expected_answer(key, nonce))


def read_proof(raw: Mapping[str, Any], proof: str) -> Observation:
    """Like ``read_flow``, with the proof that the answer must carry."""

    def proved(data: str) -> bool:
        words = data.split()
        return (
            len(words) >= 2
            and words[0] == "ZT1"
            and hmac.compare_digest(words[1].encode("utf-8", "replace"), proof.encode())
        )

    return _read(raw, proved)


def _read(raw: Mapping[str, Any], proved: Callable[[str], bool]) -> Observation:
    ms = _milliseconds(raw)
    end = str(raw.get("end", ""))
    detail = str(raw.get("errno", ""))
    if raw.get("stage") == "connect":
        seen = {
            "timeout": Seen.DROPPED,
            "refused": Seen.REFUSED,
            "reset": Seen.REFUSED,
            "unreachable": Seen.UNREACHABLE,
            "noroute": Seen.NO_ROUTE,
            "unsupported": Seen.UNSUPPORTED,
        }.get(end, Seen.FAILED)
        return Observation(seen=seen, ms=ms, detail=detail)
    if raw.get("stage") == "resolve":
        return Observation(seen=Seen.UNRESOLVED, ms=ms, detail=detail)
    if raw.get("stage") != "exchange":
        return Observation(seen=Seen.FAILED, ms=ms, detail=detail or end)
    data = str(raw.get("data", ""))
    if data.strip():
        return Observation(seen=Seen.OPEN if proved(data) else Seen.WRONG_SERVER, ms=ms)
    seen = {"closed": Seen.CLOSED, "silent": Seen.SILENT, "reset": Seen.CUT}.get(end, Seen.FAILED)
    return Observation(seen=seen, ms=ms, detail=detail)


def _milliseconds(raw: Mapping[str, Any]) -> float:
    value = raw.get("ms")
    return float(value) if isinstance(value, (int, float)) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsObservation:
    """One name look-up: the addresses of the reply, or how it failed."""

    seen: Seen
    addresses: tuple[str, ...] = ()
    rcode: int | None = None
    server: str = ""
    detail: str = ""

    def __str__(self) -> str:
        if self.seen is Seen.OPEN:
            return f"answered {', '.join(self.addresses)}"
        code = f" (rcode {self.rcode})" if self.rcode is not None else ""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.seen.value}{code}{detail}, server {self.server or 'unknown'}"


def read_dns(raw: Mapping[str, Any], *, expected: str) -> DnsObservation:
    """Read a look-up; OPEN only if the reply carries the expected address."""
    listed = raw.get("addresses", ())
    addresses = tuple(map(str, listed)) if isinstance(listed, (list, tuple)) else ()
    rcode = raw.get("rcode")
    end = str(raw.get("end", ""))
    if end == "complete":
        right = rcode == 0 and expected in addresses
        seen = Seen.OPEN if right else Seen.WRONG_SERVER
    else:
        seen = {
            "timeout": Seen.DROPPED,
            "refused": Seen.REFUSED,
            "reset": Seen.REFUSED,
            "unreachable": Seen.UNREACHABLE,
            "noroute": Seen.NO_ROUTE,
            "closed": Seen.CLOSED,
            "malformed": Seen.WRONG_SERVER,
        }.get(end, Seen.FAILED)
    return DnsObservation(
        seen=seen,
        addresses=addresses,
        rcode=rcode if isinstance(rcode, int) else None,
        server=str(raw.get("server", "")),
        detail=str(raw.get("errno", "")),
    )
