"""A pretended network: who reaches whom, told as the agent's raw reports would tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.observation import expected_answer

KUBERNETES = "10.96.0.1"
"""The address that every pretended pod is told for kubernetes.default.svc."""

DROPPED: Mapping[str, Any] = {"stage": "connect", "end": "timeout", "ms": 1500.0}
REFUSED: Mapping[str, Any] = {"stage": "connect", "end": "refused", "ms": 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One end of a connection. ``role`` is that of a probe pod; ``via`` how a target is reached."""

    name: str
    namespace: str
    role: str
    app: str
    node: str
    key: bytes
    via: str = "pod"


Rule = Callable[[Place, Place, int], Mapping[str, Any] | None]
"""Says what becomes of an attempt, or None if it has nothing to say about it."""


@dataclass
class World:
    """What may be reached. ``allowed`` are (source app, target app, port); ``rules`` come first.
    ``sealed`` tells whether the policy of the sealed canaries exists."""

    allowed: frozenset[tuple[str, str, int]] = frozenset()
    enforced: bool = True
    sealed: bool = True
    resolves: Callable[[Place, str], bool] = lambda place, protocol: True
    rules: list[Rule] = field(default_factory=list)

    def attempt(self, source: Place, target: Place | None, probe: Mapping[str, Any]) -> Any:
        """The agent's report of one probe."""
        if probe["kind"] == "dns":
            if self.resolves(source, probe["protocol"]):
                return {"stage": "exchange", "end": "complete", "rcode": 0,
                        "addresses": [KUBERNETES]}  # fmt: skip
            return DROPPED
        if probe["kind"] == "ipv6":
            return {"stage": "ipv6", "end": "complete", "addresses": [], "route": "ENETUNREACH"}
        if not isinstance(probe["port"], int) or not 1 <= probe["port"] <= 65535:
            return {"stage": "none", "end": "failed", "errno": "OverflowError: no such port"}
        if target is None:
            return DROPPED
        for rule in self.rules:
            report = rule(source, target, probe["port"])
            if report is not None:
                return report
        return answer(target, probe) if self._through(source, target, probe) else DROPPED

    def _through(self, source: Place, target: Place, probe: Mapping[str, Any]) -> bool:
        if source.name == target.name or not self.enforced:
            return True
        if target.role in ("canary", "sealed"):
            open_ = target.role == "canary" or not self.sealed
            return (open_ and source.role in ("canary", "sealed")) or source.role == "node"
        flow = (source.app, target.app, probe["port"])
        return flow in self.allowed and probe["kind"] == "tcp"


def answer(target: Place, probe: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the right listener answers: the proof of its key for the nonce."""
    nonce = str(probe["send"]).split()[1]
    data = f"ZT1 {expected_answer(target.key, nonce)} {target.name}\n"
    return {"stage": "exchange", "end": "complete", "ms": 0.5, "data": data}
