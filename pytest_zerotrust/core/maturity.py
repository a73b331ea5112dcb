"""Which level of the maturity ladder the verdicts of a run add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from pytest_zerotrust.core.controls import CONTROLS, LEVELS
from pytest_zerotrust.core.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelStatus:
    """How one level came out. ``missing`` are its controls that no check of this run covered.

    ``ran`` of the ``implied`` checks that the intent implies for the level came to a verdict.
    """

    level: int
    title: str
    counts: Mapping[Verdict, int]
    missing: tuple[str, ...]
    ran: int
    implied: int

    @property
    def assessed(self) -> bool:
        """True if at least one check of this level really came to hold or to be violated."""
        return bool(
            self.counts.get(Verdict.HOLDS) or self.counts.get(Verdict.VIOLATED) or self.waived
        )

    @property
    def waived(self) -> int:
        """How many checks are violated, and waived by the intent file."""
        return self.counts.get(Verdict.WAIVED, 0)

    @property
    def holds(self) -> bool:
        """True if every control of the level was checked and every check holds.

        A check that the intent implies and that did not run breaks the level: it might not hold.
        Anything violated or inconclusive breaks the level. A control of which no check holds
        (all not applicable or waived, or none ran) breaks it as well: it was never shown.
        Waived checks beside ones that hold do not: the violation is declared, and counted.
        """
        return (
            self.counts.get(Verdict.HOLDS, 0) > 0
            and not self.counts.get(Verdict.VIOLATED)
            and not self.counts.get(Verdict.INCONCLUSIVE)
            and not self.missing
            and not self.partial
        )

    @property
    def partial(self) -> bool:
        """True if only some of the level's checks ran: deselected, named one by one, cut short."""
        return self.ran < self.implied

    @property
    def word(self) -> str:
        """For a table: holds, violated, inconclusive, not judged, incomplete or not assessed."""
        if self.counts.get(Verdict.VIOLATED):
            return "violated"
        if self.counts.get(Verdict.INCONCLUSIVE):
            return "inconclusive"
        if self.holds:
            return "holds"
        if self.assessed and self.partial:
            return "not judged"
        return "incomplete" if self.assessed else "not assessed"


def assess(
    results: Iterable[tuple[str, Verdict]],
    *,
    implied: Mapping[int, Collection[str]],
    ran: Collection[str],
) -> tuple[LevelStatus, ...]:
    """Return the status of levels 1 to 4 from (control id, verdict) pairs.

    Ids that are no control of ours (a user's own tests) do not count for any level. ``implied``
    are the ids of the checks that the intent implies, by level, whether selected or not; ``ran``
    are the ids of the checks that came to a verdict.
    """
    counts: dict[int, Counter[Verdict]] = {level: Counter() for level in LEVELS}
    held: set[str] = set()
    for control_id, verdict in results:
        control = CONTROLS.get(control_id)
        if control is None:
            continue
        counts[control.level][verdict] += 1
        if verdict is Verdict.HOLDS:
            held.add(control_id)
    return tuple(
        LevelStatus(
            level=level,
            title=title,
            counts=dict(counts[level]),
            missing=tuple(
                sorted(
                    c.id
                    for c in CONTROLS.values()
                    if c.level == level and c.required and c.id not in held
                )
            ),
            ran=sum(check in ran for check in implied.get(level, ())),
            implied=len(implied.get(level, ())),
        )
        for level, title in LEVELS.items()
    )


def reached(statuses: Iterable[LevelStatus]) -> int:
    """Return the highest level that holds together with all levels below it (0 if none)."""
    level = 0
    for status in sorted(statuses, key=lambda s: s.level):
        if not status.holds:
            break
        level = status.level
    return level
