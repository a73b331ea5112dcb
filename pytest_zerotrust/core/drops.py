"""Who refused a flow, as far as the network itself tells: drops that Cilium's Hubble recorded.

They name the refuser and never decide: what Hubble does not show may have been dropped all the
same, and a verdict rests on what the probes saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.verdict import Result

REASONS: Mapping[int, str] = {
    132: "INVALID_SOURCE_IP",
    133: "POLICY_DENIED",
    134: "INVALID_PACKET_DROPPED",
    135: "CT_TRUNCATED_OR_INVALID_HEADER",
    136: "CT_MISSING_TCP_ACK_FLAG",
    137: "CT_UNKNOWN_L4_PROTOCOL",
    140: "MISSED_TAIL_CALL",
    142: "UNKNOWN_L4_PROTOCOL",
    150: "UNKNOWN_L3_TARGET_ADDRESS",
    151: "STALE_OR_UNROUTABLE_IP",
    155: "CT_MAP_INSERTION_FAILED",
    157: "IP_FRAGMENTATION_NOT_SUPPORTED",
    158: "SERVICE_BACKEND_NOT_FOUND",
    160: "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT",
    164: "LOCAL_HOST_IS_UNREACHABLE",
    169: "FIB_LOOKUP_FAILED",
    171: "INVALID_IDENTITY",
    172: "UNKNOWN_SENDER",
    174: "IS_A_CLUSTERIP",
    177: "DENIED_BY_LB_SRC_RANGE_CHECK",
    181: "POLICY_DENY",
    189: "AUTH_REQUIRED",
    195: "UNENCRYPTED_TRAFFIC",
    202: "DROP_HOST_NOT_READY",
    203: "DROP_EP_NOT_READY",
}
"""Names of Cilium's drop reasons by number (``enum DropReason`` of its flow API, 1.18), as far as
they can befall a probe."""

_MEANING = {
    133: "no rule allows it",
    181: "a rule denies it",
    189: "a policy wants it authenticated",
}


@dataclass(frozen=True, slots=True)
class FlowKey:
    """The addresses of a flow: IP addresses, destination port, ``TCP``, ``UDP`` or ``SCTP``."""

    source: str
    destination: str
    port: int
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """One recorded drop. ``direction`` is ``ingress``, ``egress`` or empty; ``policies`` are
    those that Hubble names, as ``Kind namespace/name``."""

    node: str
    reason: int
    direction: str = ""
    policies: tuple[str, ...] = ()

    @property
    def reason_name(self) -> str:
        """The name of the reason, or its number if it has none here."""
        return REASONS.get(self.reason, f"reason {self.reason}")

    def __str__(self) -> str:
        words = [f"dropped on {self.node or 'a node it does not name'}"]
        if self.direction:
            words.append(f"at {self.direction}")
        meaning = f" ({_MEANING[self.reason]})" if self.reason in _MEANING else ""
        words.append(f"for {self.reason_name}{meaning}")
        if self.policies:
            words.append(f"by {', '.join(self.policies)}")
        return " ".join(words)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropLog:
    """The drops of one batch. ``asked`` is False if no Hubble was named for the run; ``problems``
    say what keeps the log from being complete."""

    drops: Mapping[FlowKey, tuple[Drop, ...]] = field(default_factory=dict)
    asked: bool = False
    problems: tuple[str, ...] = ()

    def of(self, keys: Iterable[FlowKey]) -> tuple[Drop, ...]:
        """The drops of a flow, which may have several addresses (that of a Service, of a pod).

        Hubble tells of a drop once by itself and once as a policy's verdict, which names policies.
        """
        found: dict[tuple[str, int, str], dict[str, None]] = {}
        for drop in (drop for key in keys for drop in self.drops.get(key, ())):
            place = (drop.node, drop.reason, drop.direction)
            found.setdefault(place, {}).update(dict.fromkeys(drop.policies))
        return tuple(
            Drop(node=node, reason=reason, direction=direction, policies=tuple(policies))
            for (node, reason, direction), policies in found.items()
        )


NOT_ASKED = DropLog()


def name_refuser(
    result: Result, log: DropLog, keys: Iterable[FlowKey], seen: Iterable[Seen]
) -> Result:
    """Add to the result of a refused flow who refused it. The verdict stays what it is."""
    if not log.asked or Seen.DROPPED not in seen:
        return result
    drops = log.of(keys)
    said = [f"refuser: Hubble: {drop}" for drop in drops]
    if not drops:
        said.append("refuser: Hubble shows no drop of this flow")
        said += [f"note: {problem}" for problem in log.problems]
    evidence: dict[str, Any] = {
        "drops": [
            {
                "node": drop.node,
                "reason": drop.reason_name,
                "direction": drop.direction,
                "policies": list(drop.policies),
            }
            for drop in drops
        ],
        "problems": list(log.problems),
    }
    return replace(
        result,
        objects=(*result.objects, *said),
        evidence={**result.evidence, "hubble": evidence},
    )
