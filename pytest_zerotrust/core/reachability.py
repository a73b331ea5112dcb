"""From observations of a flow, and of the controls around it, to a verdict.

A drop names nobody. It counts as a denial only when the source, the target and the path between
their nodes are known to live in the same batch, so that nothing but a policy is left to blame.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_zerotrust.core.observation import DnsObservation, Observation, Seen
from pytest_zerotrust.core.verdict import Result, Verdict


class Expected(enum.Enum):
    """What the intent says about a flow."""

    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether a part of the flow is known to live, and how that is known (or what is missing)."""

    alive: bool
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFacts:
    """One flow with everything that was seen around it.

    ``held`` are the observations of the last rounds, all of which must agree; ``rounds`` counts
    all rounds. ``service`` is set for flows through a Service: whether that Service is known to
    lead to the target. ``unserved`` is True where the kernel of the target's node does not know
    the protocol.
    """

    control: str
    subject: str
    source: str
    target: str
    expected: Expected
    held: tuple[Observation, ...]
    rounds: int
    source_lives: Liveness
    target_lives: Liveness
    path_lives: Liveness
    service_lives: Liveness | None = None
    unserved: bool = False
    objects: tuple[str, ...] = ()
    remedy: str = ""
    reproduce: str = ""

    @property
    def controls(self) -> tuple[tuple[str, Liveness], ...]:
        """The controls of this flow by name."""
        named = [
            ("source", self.source_lives),
            ("target", self.target_lives),
            ("path", self.path_lives),
        ]
        if self.service_lives is not None:
            named.append(("service", self.service_lives))
        return tuple(named)


REFUSALS = (Seen.DROPPED, Seen.REFUSED, Seen.UNREACHABLE)
"""What a policy can make of an attempt. No route is none of them: nothing was even sent."""


def judge_flow(facts: FlowFacts) -> Result:
    """Return the verdict on one flow. Pure: depends on ``facts`` alone."""
    if not facts.held:
        return _conclude(facts, Verdict.INCONCLUSIVE, "not-observed", "was not observed")
    leaked = any(observation.seen is Seen.OPEN for observation in facts.held)
    if facts.expected is Expected.DENIED and leaked:
        return _conclude(facts, Verdict.VIOLATED, "", "REACHED, expected DENIED")
    kinds = {observation.seen for observation in facts.held}
    if len(kinds) > 1:
        words = ", ".join(sorted(kind.value for kind in kinds))
        return _conclude(facts, Verdict.INCONCLUSIVE, "unsettled", f"did not settle ({words})")
    seen = kinds.pop()
    if seen is Seen.OPEN:
        return _conclude(facts, Verdict.HOLDS, "", "reached, as allowed")
    if seen is Seen.UNSUPPORTED:
        return _unsupported(facts)
    if seen not in REFUSALS:
        return _conclude(facts, Verdict.INCONCLUSIVE, "no-clear-answer", f"unclear: {seen.value}")
    dead = [(name, control) for name, control in facts.controls if not control.alive]
    if dead:
        name, control = dead[0]
        return _conclude(
            facts,
            Verdict.INCONCLUSIVE,
            f"{name}-not-alive",
            f"{seen.value}, but {control.how}",
        )
    if facts.expected is Expected.DENIED:
        return _conclude(facts, Verdict.HOLDS, "", f"denied ({seen.value})")
    return _conclude(facts, Verdict.VIOLATED, "", f"DENIED ({seen.value}), expected to be ALLOWED")


def _unsupported(facts: FlowFacts) -> Result:
    """Nothing was sent, so nothing was denied. Where neither kernel knows the protocol there is
    nothing to be kept apart."""
    reason = "protocol-not-supported"
    if facts.expected is Expected.DENIED and facts.unserved:
        what = "not applicable: the kernels of both nodes lack the protocol"
        return _conclude(facts, Verdict.NOT_APPLICABLE, reason, what)
    what = "not tested: the kernel of the source's node lacks the protocol"
    return _conclude(facts, Verdict.INCONCLUSIVE, reason, what)


def _conclude(facts: FlowFacts, verdict: Verdict, reason: str, what: str) -> Result:
    return Result(
        control=facts.control,
        subject=facts.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{facts.control} {facts.source} -> {facts.target} {what}",
        observed=tuple(
            f"{observation} (round {facts.rounds - len(facts.held) + 1 + i} of {facts.rounds})"
            for i, observation in enumerate(facts.held)
        ),
        controls=tuple(
            f"{name}: {'alive' if control.alive else 'NOT SHOWN'}: {control.how}"
            for name, control in facts.controls
        ),
        objects=facts.objects,
        remedy=facts.remedy if verdict is Verdict.VIOLATED else "",
        reproduce=facts.reproduce,
        evidence={
            "expected": facts.expected.value,
            "held": [observation.seen.value for observation in facts.held],
            "rounds": facts.rounds,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsFacts:
    """Name resolution of one workload, over UDP and TCP, and the controls around it."""

    control: str
    subject: str
    source: str
    name: str
    udp: DnsObservation
    tcp: DnsObservation
    source_lives: Liveness
    dns_lives: Liveness
    remedy: str = ""
    reproduce: str = ""


def judge_dns(facts: DnsFacts) -> Result:
    """Return the verdict on a workload's name resolution; both protocols must answer."""
    seen = {"UDP": facts.udp, "TCP": facts.tcp}
    failed = [name for name, observation in seen.items() if observation.seen is not Seen.OPEN]
    dead = [c.how for c in (facts.source_lives, facts.dns_lives) if not c.alive]
    reason = ""
    if not failed:
        verdict, what = Verdict.HOLDS, f"resolves {facts.name}"
    elif dead:
        verdict, reason = Verdict.INCONCLUSIVE, "control-not-alive"
        what = f"cannot resolve {facts.name} over {' and '.join(failed)}, but {dead[0]}"
    elif any(seen[name].seen not in REFUSALS for name in failed):
        verdict, reason = Verdict.INCONCLUSIVE, "no-clear-answer"
        what = f"has no clear answer for {facts.name} over {' and '.join(failed)}"
    else:
        verdict = Verdict.VIOLATED
        what = f"DENIED DNS over {' and '.join(failed)}, expected to be ALLOWED"
    return Result(
        control=facts.control,
        subject=facts.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{facts.control} {facts.source} {what}",
        observed=tuple(f"{name}: {observation}" for name, observation in seen.items()),
        controls=tuple(
            f"{name}: {'alive' if c.alive else 'NOT SHOWN'}: {c.how}"
            for name, c in (("source", facts.source_lives), ("DNS", facts.dns_lives))
        ),
        remedy=facts.remedy if verdict is Verdict.VIOLATED else "",
        reproduce=facts.reproduce,
    )


def combine(control: str, subject: str, headline: str, parts: Sequence[Result]) -> Result:
    """One result for several flows: violated if one is, else inconclusive if one is.

    ``headline`` stands where all hold; else the first flow that does not hold speaks. Without any
    flow the result is inconclusive.
    """
    order = (Verdict.VIOLATED, Verdict.INCONCLUSIVE)
    worst = next((p for verdict in order for p in parts if p.verdict is verdict), None)
    if worst is None and (not parts or any(p.verdict is not Verdict.HOLDS for p in parts)):
        return Result(
            control=control,
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            reason="not-observed",
            headline=f"{control} {subject} was not observed",
        )
    return Result(
        control=control,
        subject=subject,
        verdict=worst.verdict if worst is not None else Verdict.HOLDS,
        reason=worst.reason if worst is not None else "",
        headline=worst.headline if worst is not None else headline,
        observed=tuple(f"{p.subject}: {line}" for p in parts for line in p.observed),
        controls=tuple(dict.fromkeys(line for p in parts for line in p.controls)),
        objects=tuple(dict.fromkeys(line for p in parts for line in p.objects)),
        remedy=worst.remedy if worst is not None else "",
        reproduce=worst.reproduce if worst is not None else parts[0].reproduce,
        evidence={p.subject: dict(p.evidence) for p in parts},
    )
