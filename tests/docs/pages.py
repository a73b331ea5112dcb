"""The pages of the documentation, their snippets and their tables.

The words after a fence's opening say what the snippet is: its language, and what is done with it.
A snippet of a kind that no test knows fails ``test_every_snippet_is_of_a_kind_that_is_tested``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")

KINDS = frozenset(
    {
        "python test",  # a test module that passes on the lab in its scenario hardened
        "python test open",  # a test module that is violated in the scenario open
        "yaml intent",  # a whole intent file
        "yaml intent part",  # a part of the shipped intent file, word for word
        "yaml gitlab",
        "yaml github",
        "toml pytest",  # a part of a configuration file
        "shell",  # commands of a user's
        "text output",  # what a run prints, compared in shape with a real one
        "text diagram",
    }
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block. ``argument`` is what follows the kind, after a colon."""

    page: str
    line: int
    kind: str
    argument: str
    text: str

    @property
    def id(self) -> str:
        """Page and line, for test ids."""
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(*kinds: str) -> list[Snippet]:
    """The snippets of some kinds (all, if none is given), in the order of the pages."""
    found = [snippet for page in pages() for snippet in _snippets_of(page)]
    return [snippet for snippet in found if not kinds or snippet.kind in kinds]


def _snippets_of(page: Path) -> Iterator[Snippet]:
    name = str(page.relative_to(ROOT))
    opened: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if opened is None:
            if line.lstrip().startswith("```"):
                opened = (number, line.strip().removeprefix("```").strip(), [])
        elif line.strip() == "```":
            start, info, lines = opened
            kind, _, argument = info.partition(":")
            yield Snippet(name, start, kind.strip(), argument.strip(), "\n".join(lines) + "\n")
            opened = None
        else:
            opened[2].append(line)
    assert opened is None, f"{name}: the block of line {opened and opened[0]} is not closed"


def prose(page: Path) -> str:
    """The text of a page without its snippets."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def table(page: str, first_column: str) -> list[dict[str, str]]:
    """The rows of the one table of a page that begins with this column, by column title."""
    found: list[list[str]] = []
    inside = wanted = False
    for line in (ROOT / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = wanted = False
            continue
        if not inside:
            inside, wanted = True, cells[0].lower() == first_column.lower()
            assert not (wanted and found), f"{page} has two tables that begin with {first_column}"
        if wanted:
            found.append([cell.replace("\\|", "|") for cell in cells])
    assert len(found) > 2, f"{page} has no table that begins with {first_column}"
    titles = [cell.lower() for cell in found[0]]
    return [dict(zip(titles, row, strict=True)) for row in found[2:]]


def code(cell: str) -> str:
    """The one code span of a table's cell."""
    spans = re.findall(r"`([^`]+)`", cell)
    assert len(spans) == 1, f"not one code span: {cell}"
    return spans[0]
