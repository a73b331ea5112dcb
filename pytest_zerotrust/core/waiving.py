"""What a waiver does to a result, and which waivers a run no longer needs. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import replace

from pytest_zerotrust.core.intent import Waiver
from pytest_zerotrust.core.verdict import Result, Verdict


class WaiverState(enum.Enum):
    """What became of a waiver in a run."""

    USED = "used"
    """A check of it is violated, and waived."""
    UNNEEDED = "no longer needed"
    """All checks of it ran, and all of them hold."""
    OPEN = "not decided"
    """Some of its checks did not run, or had no clear verdict; none is waived."""


def waive(result: Result, waiver: Waiver | None) -> Result:
    """Return the result with the verdict WAIVED if it is violated and has a waiver.

    Every other verdict stays: what is inconclusive was not shown to be the known violation.
    """
    if waiver is None or result.verdict is not Verdict.VIOLATED:
        return result
    told = {
        "check": waiver.check,
        "reason": waiver.reason,
        "owner": waiver.owner,
        "expires": waiver.expires.isoformat(),
    }
    return replace(
        result,
        verdict=Verdict.WAIVED,
        reason="waived",
        evidence={**result.evidence, "waiver": told},
    )


def waiver_of(result: Result) -> str:
    """Owner, last day and reason of the waiver of a waived result, in one line."""
    told = result.evidence["waiver"]
    return f"{told['owner']} until {told['expires']}: {told['reason']}"


def states(
    waivers: Mapping[Waiver, frozenset[str]], results: Iterable[tuple[str, Verdict]]
) -> dict[Waiver, WaiverState]:
    """What became of each waiver.

    ``waivers`` maps each to the ids of the checks that it is for; ``results`` are pairs of a
    check's id and its verdict.
    """
    seen: dict[str, set[Verdict]] = {}
    for check_id, verdict in results:
        seen.setdefault(check_id, set()).add(verdict)
    return {waiver: _state(ids, seen) for waiver, ids in waivers.items()}


def _state(ids: frozenset[str], seen: Mapping[str, set[Verdict]]) -> WaiverState:
    verdicts = [seen.get(check_id, set()) for check_id in ids]
    if any(Verdict.WAIVED in found for found in verdicts):
        return WaiverState.USED
    if all(found == {Verdict.HOLDS} for found in verdicts):
        return WaiverState.UNNEEDED
    return WaiverState.OPEN
