"""The table at the end of a run: verdicts by level, and which level holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_zerotrust.core.maturity import LevelStatus, reached
from pytest_zerotrust.core.printable import printable, printable_lines
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.report.collector import Collector

_COLUMNS = (
    Verdict.HOLDS,
    Verdict.VIOLATED,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_APPLICABLE,
    Verdict.WAIVED,
)
_COLOURS = {
    "holds": "green",
    "violated": "red",
    "inconclusive": "yellow",
    "not judged": "yellow",
    "incomplete": "yellow",
}
_HINT = (
    "no check ran. Add the shipped suite with --zt-conformance, or use the fixtures zt_network, "
    "zt_mesh and zt_admission in tests of your own."
)


def show(reporter: Any, collector: Collector, *, demanded: int | None) -> None:
    """Write the table to pytest's terminal reporter; ``demanded`` is the level of --zt-level."""
    reporter.section("zero trust")
    if collector.unusable:
        reporter.write_line(f"ERROR: {printable_lines(collector.unusable)}", red=True)
    elif collector.results or collector.inconclusive_tests:
        _rows(reporter, collector, demanded)
    else:
        reporter.write_line(_HINT)
    cleanup = collector.cleanup
    if cleanup is not None and not cleanup.clean:
        for text in (*cleanup.left, *cleanup.errors):
            reporter.write_line(f"left behind: {printable(text)}", red=True)
        for command in cleanup.commands:
            reporter.write_line(f"delete with: {printable(command)}")
    for line in cleanup.kept if cleanup is not None else ():
        reporter.write_line(printable(line))


def _rows(reporter: Any, collector: Collector, demanded: int | None) -> None:
    # Most runs have no waivers, and the line is long enough without them.
    shown = [v for v in _COLUMNS if v is not Verdict.WAIVED or collector.count(v)]
    titles = "".join(f"{verdict.value:>16}" for verdict in shown)
    reporter.write_line(f"{'level':<47}{titles}   status")
    levels = collector.levels
    for status in levels:
        counts = "".join(f"{status.counts.get(verdict, 0):>16}" for verdict in shown)
        name = f"{status.level}  {status.title}"
        reporter.write(f"{name:<47}{counts}   ")
        colour = _COLOURS.get(status.word)
        reporter.write_line(status.word, **({colour: True} if colour else {}))
        if status.partial and status.ran:
            reporter.write_line(f"   {_share(status)}")
        elif status.word == "incomplete":
            reporter.write_line(f"   not shown to hold: {', '.join(status.missing)}")
    level = collector.level_reached
    good = level >= demanded if demanded is not None else level > 0
    reporter.write_line(conclusion(levels, demanded), **{"green" if good else "red": True})


def conclusion(levels: Sequence[LevelStatus], demanded: int | None) -> str:
    """The last line of the table: which level holds and, if another was demanded, why not that."""
    level = reached(levels)
    text = f"level {level} holds" if level else "no level holds (level 0)"
    waived = sum(status.waived for status in levels if status.level <= level)
    if waived:
        text += f" with {waived} waived check{'s' if waived > 1 else ''}"
    if demanded is None:
        return text
    text += f"; level {demanded} was demanded"
    broken = next((s for s in levels if s.level <= demanded and not s.holds), None)
    if broken is not None and broken.partial:
        text += f", but of level {broken.level} {_share(broken)}"
    elif broken is not None:
        text += f", but level {broken.level} is {broken.word}"
    return text


def _share(status: LevelStatus) -> str:
    whole = f"{status.ran} of {status.implied} checks ran"
    return f"{whole}; not judged" if status.word in ("not judged", "not assessed") else whole
