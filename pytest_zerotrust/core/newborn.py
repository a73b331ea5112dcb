"""What a new pod reached in its first seconds, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.explanation import BY_NOTHING, Explanation, refusers
from pytest_zerotrust.core.observation import Seen, read_proof
from pytest_zerotrust.core.reachability import REFUSALS, Liveness
from pytest_zerotrust.core.verdict import Result, Verdict

EARLY = 500.0
"""Milliseconds after the program's start within which the first attempt must have been made."""

ENOUGH = 20
"""Attempts that must have been made; fewer say too little about the first seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """The attempts of a newborn at one target: (milliseconds since its start, what was seen)."""

    attempts: tuple[tuple[float, Seen], ...]

    @property
    def reached(self) -> tuple[float, ...]:
        """When attempts were answered by the target, in milliseconds since the start."""
        return tuple(at for at, seen in self.attempts if seen is Seen.OPEN)


def read_trail(entries: Sequence[Sequence[Any]], proof: str) -> Trail:
    """Read the agent's entries [milliseconds, stage, end, data] of one target."""
    found = []
    for at, stage, end, data in entries:
        report = {"stage": stage, "end": end, "data": data}
        found.append((float(at), read_proof(report, proof).seen))
    return Trail(attempts=tuple(sorted(found, key=lambda entry: entry[0])))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """One target of a newborn: its name, the trail (None if it was not tried), its liveness, and
    what policies imply for it."""

    name: str
    trail: Trail | None
    controls: tuple[Liveness, ...]
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewbornFacts:
    """A newborn of one workload. ``problem`` says why it saw nothing, if so."""

    control: str
    subject: str
    source: str
    targets: tuple[TargetFacts, ...]
    source_lives: Liveness
    problem: str = ""
    objects: tuple[str, ...] = ()
    remedy: str = ""


def judge_newborn(facts: NewbornFacts) -> Result:
    """Return the verdict on the first seconds of a pod. Pure: depends on ``facts`` alone."""
    leaks = [(t.trail.reached[0], t.name) for t in facts.targets if t.trail and t.trail.reached]
    if leaks:
        at, name = min(leaks)
        more = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
        what = f"REACHED {name}{more} {at:.0f} ms after its start, expected DENIED"
        return _conclude(facts, Verdict.VIOLATED, "", what)
    unclear = facts.problem or _unclear(facts)
    if unclear:
        return _conclude(facts, Verdict.INCONCLUSIVE, "not-shown", f"not shown: {unclear}")
    unexplained = [t.name for t in facts.targets if t.explanation and t.explanation.passes]
    if unexplained:
        what = f"does not reach {unexplained[0]}, but by nothing that is declared"
        return _conclude(facts, Verdict.INCONCLUSIVE, BY_NOTHING, what)
    count = sum(len(t.trail.attempts) for t in facts.targets if t.trail)
    what = f"reaches nothing that is denied, in {count} attempts from its first moment on"
    return _conclude(facts, Verdict.HOLDS, "", what)


def _unclear(facts: NewbornFacts) -> str:
    if not facts.targets:
        return "there was nothing to try"
    if not facts.source_lives.alive:
        return facts.source_lives.how
    for target in facts.targets:
        if target.trail is None:
            return f"{target.name} was not tried"
        attempts = target.trail.attempts
        if len(attempts) < ENOUGH or attempts[0][0] > EARLY:
            return f"only {len(attempts)} attempts at {target.name}, or too late"
        odd = {seen for _, seen in attempts} - set(REFUSALS)
        if odd:
            return f"{target.name} gave no clear answer ({min(seen.value for seen in odd)})"
        dead = [control.how for control in target.controls if not control.alive]
        if dead:
            return dead[0]
    return ""


def _conclude(facts: NewbornFacts, verdict: Verdict, reason: str, what: str) -> Result:
    return Result(
        control=facts.control,
        subject=facts.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{facts.control} a new pod of {facts.source} {what}",
        observed=tuple(_line(target) for target in facts.targets),
        controls=(
            f"source: {'alive' if facts.source_lives.alive else 'NOT SHOWN'}: "
            f"{facts.source_lives.how}",
        ),
        objects=(*facts.objects, *(line for t in facts.targets for line in _implied(t))),
        remedy=facts.remedy if verdict is Verdict.VIOLATED else "",
        evidence={
            "reached_ms": {
                t.name: list(t.trail.reached) for t in facts.targets if t.trail and t.trail.reached
            },
            "policies": {
                t.name: {
                    "implied": t.explanation.outcome.value,
                    "complete": t.explanation.complete,
                    "gaps": list(t.explanation.gaps),
                }
                for t in facts.targets
                if t.explanation
            },
        },
    )


def _implied(target: TargetFacts) -> list[str]:
    """What the policies imply for a target by now, which says nothing of its first seconds."""
    explanation = target.explanation
    if explanation is None:
        return []
    denying = refusers(explanation)
    by = f" by {' and '.join(denying)}" if denying else ""
    gap = f" (explanation incomplete: {explanation.gaps[0]})" if explanation.gaps else ""
    return [f"{target.name}: policies imply by now: {explanation.outcome.value}{by}{gap}"]


def _line(target: TargetFacts) -> str:
    if target.trail is None:
        return f"{target.name}: not tried"
    counts: Mapping[str, int] = {}
    for _, seen in target.trail.attempts:
        counts = {**counts, seen.value: counts.get(seen.value, 0) + 1}
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    return f"{target.name}: {words}"
