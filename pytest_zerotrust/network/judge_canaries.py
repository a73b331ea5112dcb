"""The verdict on enforcement itself: open canaries are reached, sealed ones are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.reachability import REFUSALS
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.network.checks import CanaryCheck
from pytest_zerotrust.network.snapshot import Snapshot


@dataclass(slots=True)
class _Findings:
    observed: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def judge_canaries(
    snapshot: Snapshot, own_namespace: str, unusable: Callable[[PodSpec], str]
) -> Result:
    """Return the verdict on enforcement, between all nodes that the batch used.

    ``unusable`` says why a probe pod cannot be relied on.
    """
    found = _Findings()
    _pairs(snapshot, found)
    _pods(snapshot, own_namespace, unusable, found)
    enforcement = snapshot.enforcement
    if enforcement.unreached:
        pairs = ", ".join(enforcement.unreached)
        found.broken.append(
            f"nothing shows that the canary was reached before it was sealed ({pairs})"
        )
    if found.leaks and not snapshot.sealed:
        # Whoever deletes it opens the canaries: that they are reached then says nothing.
        found.broken.insert(0, "the policy that seals the canaries is gone, or cannot be read")
        found.leaks.clear()
    verdict, reason, what = _conclusion(found)
    control = CanaryCheck.control
    return Result(
        control=control,
        subject="canaries",
        verdict=verdict,
        reason=reason,
        headline=f"{control} enforcement of NetworkPolicy: {what}",
        observed=(*found.observed, *enforcement.lines(), *snapshot.surroundings.said),
        remedy=CONTROLS[control].remedy if verdict is Verdict.VIOLATED else "",
        evidence={
            "time_to_enforce_ms": {
                "median": enforcement.median,
                "worst": enforcement.worst,
                "pairs": len(enforcement.closed),
            },
            "open_connection": sorted(set(enforcement.kept.values())),
            **snapshot.surroundings.data,
        },
    )


def _conclusion(found: _Findings) -> tuple[Verdict, str, str]:
    if found.leaks:
        pairs = ", ".join(found.leaks)
        return Verdict.VIOLATED, "", f"a sealed canary was REACHED ({pairs}), expected DENIED"
    if found.broken or not found.observed:
        why = found.broken[0] if found.broken else "no canary could be placed"
        return Verdict.INCONCLUSIVE, "canary-not-alive", f"not shown: {why}"
    return Verdict.HOLDS, "", "open canaries are reached, sealed ones are not"


def _pairs(snapshot: Snapshot, found: _Findings) -> None:
    for name in snapshot.attempts:
        if name[0] not in ("canary", "sealed"):
            continue
        word, here, there = name
        held = snapshot.observations(name)
        found.observed.append(f"{here} -> {word} {there}: {', '.join(map(str, held))}")
        if word == "canary" and not snapshot.is_open(name):
            found.broken.append(f"the open canary on {there} is not reached from {here}")
        elif word == "sealed" and any(o.seen is Seen.OPEN for o in held):
            found.leaks.append(f"{here} -> {there}")
        elif word == "sealed" and not (held and all(o.seen in REFUSALS for o in held)):
            found.broken.append(f"the sealed canary on {there} gives no clear answer to {here}")


def _pods(
    snapshot: Snapshot,
    own_namespace: str,
    unusable: Callable[[PodSpec], str],
    found: _Findings,
) -> None:
    for member in snapshot.members.values():
        if member.spec.namespace != own_namespace:
            continue
        problem = unusable(member.spec)
        alone = ("self", member.spec.name, str(CANARY_PORT))
        if not problem and alone in snapshot.attempts and not snapshot.is_open(alone):
            problem = f"the listener of {member.spec.where} does not answer itself"
        if problem:
            found.broken.append(problem)
