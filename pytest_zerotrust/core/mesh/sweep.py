"""What the ports beside the declared ones answer to plaintext. Pure.

A port that is kept from the proxy, or opened for itself, is a hole wherever something listens on
it. A proxy resets plaintext on every port that it captures, whether anything listens or not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.mesh.enrolment import OWN_PORTS
from pytest_zerotrust.core.mesh.signals import Plain
from pytest_zerotrust.core.verdict import Verdict

BLACK_HOLES = frozenset({15001, 15006})
"""Ports on which the proxy takes redirected traffic: asked directly, it closes or resets."""

_NOBODY = (Plain.RESET, Plain.REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSeen:
    """What one more port of one pod answered from one place, in all rounds."""

    pod: str
    vantage: str
    number: int
    plains: tuple[Plain, ...]

    @property
    def clear(self) -> bool:
        """True if nobody took plaintext, in any round."""
        known = (*_NOBODY, Plain.CLOSED) if self.number in BLACK_HOLES else _NOBODY
        return bool(self.plains) and all(plain in known for plain in self.plains)

    @property
    def dropped(self) -> bool:
        """True if in every round nothing came back at all."""
        return bool(self.plains) and all(plain is Plain.DROPPED for plain in self.plains)

    def __str__(self) -> str:
        said = ", ".join(dict.fromkeys(plain.value for plain in self.plains))
        return f"{self.pod}:{self.number} from {self.vantage}: {said or 'not observed'}"


def judge_sweep(seen: Iterable[PortSeen]) -> Conclusion:
    """Does no port beside the declared ones answer to plaintext?

    From a place that a network policy keeps away nothing is shown; so each port must have been
    refused, clearly, from at least one place. The proxy's own ports are left out.
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
    if unclear:
        text = f"a port gave no clear answer: {unclear[0]}"
        return Conclusion(Verdict.INCONCLUSIVE, "unclear-port", text)
    if not ends or ends - shown:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "masked",
            "its other ports cannot be attacked from a pod, because a network policy drops it; "
            "set mesh.nodeVantage: true in the intent file to attack them from its node",
        )
    count = len({number for _, number in ends})
    return Conclusion(Verdict.HOLDS, "", f"none of {count} other ports takes plaintext")
