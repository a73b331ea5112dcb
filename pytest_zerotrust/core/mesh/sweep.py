"""What the ports beside the declared ones answer to plaintext. Pure.

A port that is kept from the proxy, or opened for itself, is a hole wherever something listens on
it. A proxy resets plaintext on every port that it captures, whether anything listens or not, and
shows a certificate of the mesh there to whoever speaks TLS, before it ends that as well. A server
that cuts off what it does not understand resets, too, and shows no certificate of the mesh.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.mesh.enrolment import OWN_PORTS
from pytest_zerotrust.core.mesh.signals import Plain, Tls, read_tls
from pytest_zerotrust.core.verdict import Verdict

BLACK_HOLES = frozenset({15001, 15006})
"""Ports on which the proxy takes redirected traffic: asked directly, it closes or resets, TLS as
well (istiod gives them filter chains that lead nowhere)."""

TUNNEL = 15008
"""The port of HBONE, which the redirection leaves alone: with sidecars nobody listens there."""

_ENDED = (Plain.RESET, Plain.REFUSED, Plain.CLOSED)


class Refuser(enum.Enum):
    """Who refuses on a port, as TLS without a client certificate tells, held against the root."""

    DEMANDS = "the mesh's proxy demands a client certificate"
    ENDS = "the mesh's proxy ends the connection"
    """Where nobody listens behind it, it closes before it says that it wants a certificate: it
    connects to the application at once, and hands down that this failed (measured)."""
    TALKS = "the server goes on without a client certificate"
    UNKNOWN = "no certificate of the mesh was shown"


def read_refuser(raw: Mapping[str, Any]) -> Refuser:
    """Read the agent's report of a handshake that was held against the mesh's root.

    Past the handshake (stage 'exchange'), the server's certificate was found to be of that root.
    Data and silence are no refusal: the server was content, or waits for what comes next.
    """
    if raw.get("stage") != "exchange":
        return Refuser.UNKNOWN
    tls, end = read_tls(raw), raw.get("end")
    if raw.get("data") or tls is Tls.ACCEPTED:
        return Refuser.TALKS
    if tls is Tls.CERTIFICATE_REQUIRED:
        return Refuser.DEMANDS
    return Refuser.ENDS if end == "closed" or tls is Tls.RESET else Refuser.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSeen:
    """What one more port of one pod answered from one place: to plaintext, in all rounds, and who
    refuses there, as TLS tells (None if it was not asked)."""

    pod: str
    vantage: str
    number: int
    plains: tuple[Plain, ...]
    refuser: Refuser | None = None

    @property
    def clear(self) -> bool:
        """True if nobody took plaintext in any round, and the mesh's proxy is why."""
        if self.number in BLACK_HOLES:
            return self._all(*_ENDED)
        if self.number == TUNNEL and self._all(Plain.REFUSED):
            return True
        return self._all(Plain.RESET) and self.refuser in (Refuser.DEMANDS, Refuser.ENDS)

    @property
    def dropped(self) -> bool:
        """True if in every round nothing came back at all."""
        return self._all(Plain.DROPPED)

    @property
    def ended_by_nobody_known(self) -> bool:
        """True if plaintext was cut off or refused, by whom ever."""
        return not self.clear and self._all(*_ENDED)

    def _all(self, *known: Plain) -> bool:
        return bool(self.plains) and all(plain in known for plain in self.plains)

    def __str__(self) -> str:
        said = ", ".join(dict.fromkeys(plain.value for plain in self.plains))
        tls = f"; TLS: {self.refuser.value}" if self.refuser is not None else ""
        return f"{self.pod}:{self.number} from {self.vantage}: {said or 'not observed'}{tls}"


def judge_sweep(seen: Iterable[PortSeen]) -> Conclusion:
    """Does no port beside the declared ones answer to plaintext, because of the proxy?

    From a place that a network policy keeps away nothing is shown; so each port must have been
    refused, by the proxy, from at least one place. The proxy's own ports are left out.
    """
    seen = [port for port in seen if port.number not in OWN_PORTS]
    answered = [port for port in seen if Plain.ANSWERED in port.plains]
    if answered:
        names = ", ".join(sorted({f"{port.number}" for port in answered}, key=int))
        return Conclusion(
            Verdict.VIOLATED, "", f"plaintext was ANSWERED on undeclared port {names}"
        )
    ends = {(port.pod, port.number) for port in seen}
    shown = {(port.pod, port.number) for port in seen if port.clear}
    unclear = [port for port in seen if not port.clear and not port.dropped]
    bare = [port for port in unclear if port.ended_by_nobody_known]
    if len(unclear) > len(bare):
        first = next(port for port in unclear if port not in bare)
        text = f"a port gave no clear answer: {first}"
        return Conclusion(Verdict.INCONCLUSIVE, "unclear-port", text)
    if bare:
        text = f"nothing shows that the proxy refuses on a port: {bare[0]}"
        return Conclusion(Verdict.INCONCLUSIVE, "refuser-not-identified", text)
    if not ends or ends - shown:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "masked",
            "its other ports cannot be attacked from a pod, because a network policy drops it; "
            "set mesh.nodeVantage: true in the intent file to attack them from its node",
        )
    count = len({number for _, number in ends})
    return Conclusion(Verdict.HOLDS, "", f"none of {count} other ports takes plaintext")
