"""The table over several clusters, and the exit status that follows from theirs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_zerotrust.core.verdict import Verdict

_OK, _FAILED, _INTERRUPTED, _INTERNAL, _USAGE, _NOTHING, _UNCLEAR = 0, 1, 2, 3, 4, 5, 6
_WORDS = {
    _OK: "passed",
    _FAILED: "failed",
    _INTERRUPTED: "interrupted",
    _INTERNAL: "internal error",
    _USAGE: "not tested",
    _NOTHING: "no tests",
    _UNCLEAR: "not concluded",
}
_SHOWN = (Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRun:
    """How the run of one cluster ended. ``status`` is its exit status, None if it never began;
    ``level`` is None, and ``counts`` are empty, if it left no evidence."""

    context: str
    status: int | None
    level: int | None = None
    counts: Counter[str]


def read_run(context: str, status: int | None, evidence: Path) -> ClusterRun:
    """Read the evidence of one cluster's run; a file that is missing or broken gives none."""
    try:
        data: Any = json.loads(evidence.read_text("utf-8"))
        counts = Counter(str(result["verdict"]) for result in data["results"])
        return ClusterRun(
            context=context, status=status, level=int(data["level_reached"]), counts=counts
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ClusterRun(context=context, status=status, counts=Counter())


def joint_status(runs: Sequence[ClusterRun]) -> int:
    """The exit status of all: interrupted (2) before failed (1) before internal error (3).

    A cluster that could not be tested beside others that were is something that was not concluded
    (6); if none could be tested it is bad usage (4). Green (0) only if all are.
    """
    found = [run.status for run in runs]
    for status in (_INTERRUPTED, _FAILED, _INTERNAL):
        if status in found:
            return status
    if all(status == _OK for status in found):
        return _OK
    for alone in (_USAGE, _NOTHING):
        if all(status == alone for status in found):
            return alone
    return _UNCLEAR


def table(runs: Sequence[ClusterRun]) -> Iterator[str]:
    """One line for each cluster, under a line of titles."""
    width = max(len("context"), *(len(run.context) for run in runs))
    titles = "".join(f"{verdict.value:>14}" for verdict in _SHOWN)
    yield f"{'context':<{width}}   level{titles}   run"
    for run in runs:
        level = "-" if run.level is None else str(run.level)
        counts = "".join(
            f"{'-' if run.level is None else run.counts[verdict.value]:>14}" for verdict in _SHOWN
        )
        yield f"{run.context:<{width}}   {level:>5}{counts}   {_word(run.status)}"


def _word(status: int | None) -> str:
    if status is None:
        return "not begun"
    word = _WORDS.get(status)
    return f"{word} ({status})" if word else f"ended with {status}"
