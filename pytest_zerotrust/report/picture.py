"""A picture of who reaches whom: rows are sources, columns are targets. Plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_zerotrust.core.verdict import Verdict

LEGEND = ". denied   o reached, as allowed   X violated   w waived   ? inconclusive"
_WORST = "X?wo."
_SUBJECT = re.compile(r"(.+)->([^:]+):\d+/(?:tcp|udp)-.+")
_COLOURS = {"X": "red", "?": "yellow", "w": "yellow", "o": "green"}


def rows(cells: Mapping[tuple[str, str], str], order: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Title and cells of each row, the head first. ``cells`` maps (source, target) to one sign;
    columns carry the numbers of the rows, written downwards. What has no sign stays blank.
    Names come in ``order``, and others after them."""
    present = dict.fromkeys(name for pair in cells for name in pair)
    names = [*(name for name in order if name in present)]
    names += [name for name in present if name not in names]
    width = len(str(len(names)))
    longest = max((len(name) for name in names), default=0)
    numbers = [str(n).rjust(width) for n in range(1, len(names) + 1)]
    head = [
        (" " * (width + 1 + longest), " ".join(number[digit] for number in numbers))
        for digit in range(width)
    ]
    body = [
        (
            f"{number} {source:<{longest}}",
            " ".join("-" if s == source else cells.get((source, s), " ") for s in names),
        )
        for number, source in zip(numbers, names, strict=True)
    ]
    return [*head, *body]


def cells_of(results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """The worst sign of each pair of workloads, from finished results about flows."""
    cells: dict[tuple[str, str], str] = {}
    for result in results:
        match = _SUBJECT.fullmatch(str(result["subject"]))
        if match is None or result["control"] not in ("ZT-NET-001", "ZT-NET-002", "ZT-NET-003"):
            continue
        pair = (match[1], match[2])
        cells[pair] = worst(cells.get(pair, "."), _sign(result))
    return cells


def worst(one: str, other: str) -> str:
    """The sign of the two that must not be overlooked."""
    return min(one, other, key=_WORST.index)


def _sign(result: Mapping[str, Any]) -> str:
    verdict = Verdict(result["verdict"])
    if verdict is Verdict.HOLDS:
        return "o" if result["control"] == "ZT-NET-003" else "."
    return {Verdict.VIOLATED: "X", Verdict.WAIVED: "w"}.get(verdict, "?")


def show_matrix(reporter: Any, results: Iterable[Mapping[str, Any]], order: Iterable[str]) -> None:
    """Write the picture to pytest's terminal reporter, which colours on a terminal only.

    ``order`` are the workloads as the intent file has them, so that pictures can be compared.
    """
    cells = cells_of(results)
    if not cells:
        return
    reporter.section("who reaches whom")
    for title, signs in rows(cells, order):
        reporter.write(f"{title}  ")
        for sign in signs:
            colour = _COLOURS.get(sign)
            reporter.write(sign, **({colour: True} if colour else {}))
        reporter.write_line("")
    reporter.write_line(LEGEND)


def text_of(cells: Mapping[tuple[str, str], str], legend: str) -> str:
    """The picture as one text."""
    lines: Sequence[str] = [f"{title}  {signs}".rstrip() for title, signs in rows(cells)]
    return "\n".join([*lines, legend])
