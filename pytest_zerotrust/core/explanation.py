"""What was observed of a flow, held against what the declared policies imply for it.

Two findings come of it. *Declared but not enforced*: the policies deny the flow, and it was
reached. *Denied by nothing that is declared*: they allow it, and it was refused; then the cause is
something else than a declared control, which nothing else here excludes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_zerotrust.core.policy import Decision, Dialect, Outcome, Side, merged
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict

NOT_ENFORCED = "declared-but-not-enforced"
BY_NOTHING = "denied-by-nothing-declared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the policies imply for one flow, by each reading that may apply. ``gaps`` say what the
    policies that were read leave out; without any the explanation is complete."""

    decisions: Mapping[Dialect, Decision]
    gaps: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What all readings agree on; unknown if they do not, or if none was possible."""
        return merged(self.decisions) if self.decisions else Outcome.UNKNOWN

    @property
    def complete(self) -> bool:
        """True if nothing that is declared was left out."""
        return not self.gaps and self.outcome is not Outcome.UNKNOWN

    @property
    def passes(self) -> bool:
        """True if it is complete and nothing that is declared denies the flow."""
        return self.complete and self.outcome is Outcome.ALLOWED


def explain(result: Result, expected: Expected, explanation: Explanation) -> Result:
    """Add the explanation to the result of a flow, and what follows from it for the verdict.

    A denial for which no declared policy is the cause does not hold: it becomes inconclusive. No
    other verdict changes.
    """
    outcome, complete = explanation.outcome, explanation.complete
    reached = result.verdict is (Verdict.VIOLATED if expected is Expected.DENIED else Verdict.HOLDS)
    refused = result.verdict is (Verdict.HOLDS if expected is Expected.DENIED else Verdict.VIOLATED)
    finding, headline, verdict, reason = "", result.headline, result.verdict, result.reason
    if complete and reached and outcome is Outcome.DENIED:
        finding = NOT_ENFORCED
        if verdict is Verdict.VIOLATED:
            who = " and ".join(refusers(explanation)) or "a policy"
            headline = f"{headline}: declared but not enforced, {who} denies it"
    elif complete and refused and outcome is Outcome.ALLOWED:
        finding = BY_NOTHING
        if expected is Expected.DENIED:
            verdict = Verdict.INCONCLUSIVE
            reason = "denied-by-nothing-declared"
            headline = f"{headline}, but by nothing that is declared"
        else:
            headline = f"{headline}, and no declared policy denies it"
    return replace(
        result,
        verdict=verdict,
        reason=reason,
        headline=headline,
        objects=(*result.objects, *lines(explanation, finding)),
        evidence={**result.evidence, "policies": _evidence(explanation, finding)},
    )


def refusers(explanation: Explanation) -> list[str]:
    """The policies that deny the flow: deny rules first, else those that isolate."""
    found: dict[str, None] = {}
    for decision in explanation.decisions.values():
        for side in (decision.egress, decision.ingress):
            if side.outcome is Outcome.DENIED:
                found |= dict.fromkeys(side.denied_by or side.isolated_by)
    return list(found)


def lines(explanation: Explanation, finding: str = "") -> list[str]:
    """The explanation in words, a line for each end and for whatever else is worth knowing."""
    said: dict[str, None] = {}
    several = len(explanation.decisions) > 1
    for dialect, decision in explanation.decisions.items():
        by = f" (as {dialect.value} reads them)" if several else ""
        said[f"policies imply{by}: {decision.outcome.value}"] = None
        for side in (decision.egress, decision.ingress):
            said[f"{side.direction}{by}: {_side(side)}"] = None
        said |= dict.fromkeys(f"note: {note}" for note in decision.notes)
    if finding == NOT_ENFORCED:
        said["finding: declared but not enforced"] = None
    elif finding == BY_NOTHING:
        said["finding: denied by nothing that is declared"] = None
    said |= dict.fromkeys(f"explanation incomplete: {gap}" for gap in explanation.gaps)
    return list(said)


def _side(side: Side) -> str:
    if side.denied_by:
        return f"denied by {_and(side.denied_by)}"
    if side.outcome is Outcome.DENIED:
        return f"denied, no rule allows it; isolated by {_and(side.isolated_by)}"
    if side.outcome is Outcome.UNKNOWN:
        return f"unknown: {'; '.join(side.why)}"
    if side.allowed_by:
        return f"allowed by {_and(side.allowed_by)}"
    return "allowed, isolated by no policy"


def _and(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def _evidence(explanation: Explanation, finding: str) -> dict[str, Any]:
    return {
        "implied": explanation.outcome.value,
        "complete": explanation.complete,
        "finding": finding,
        "gaps": list(explanation.gaps),
        "readings": {
            dialect.value: {
                side.direction: {
                    "implied": side.outcome.value,
                    "selected_by": list(side.selecting),
                    "allowed_by": list(side.allowed_by),
                    "denied_by": list(side.denied_by or ()),
                    "why": list(side.why),
                }
                for side in (decision.egress, decision.ingress)
            }
            for dialect, decision in explanation.decisions.items()
        },
    }
