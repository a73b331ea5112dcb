"""Compares what a page shows with what a run prints, apart from what differs in every run."""

from __future__ import annotations

import re

ELIDED = "[...]"
"""A line of a page that stands for any number of lines."""

_VARIES = (
    (r"\brun [a-z2-7]{8}\b", "run RUN"),
    (r"\bzt-[a-z2-7]{8}-", "zt-RUN-"),
    (r"-[0-9a-f]{6,12}\b", "-HASH"),
    (r"\bserver \S+", "server SERVER"),
    (r"\bintent /\S+", "intent FILE"),
    (r"\bin [\d.]+s( \([\d:]+\))?", "in TIME"),
    (r"\bafter [\d.]+ ms", "after TIME"),
    (r"\bround \d+ of \d+", "round N of N"),
    (r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS"),
    (r"\b[a-z0-9]+-node\d\b", "NODE"),
    (r"\band .* reached it\b", "and SOMEBODY reached it"),
    (r"\bits DNS look-up over \w+ was answered", "LIVES"),
    (r"\bKubernetes v[\d.]+", "Kubernetes VERSION"),
    (r"=+", "="),
    (r"\s+", " "),
)


def normal(line: str) -> str:
    """A line without what differs in every run."""
    for pattern, word in _VARIES:
        line = re.sub(pattern, word, line)
    return line.strip()


def missing(shown: str, printed: str) -> list[str]:
    """The first lines of a page that do not stand in this order in what was printed, if any."""
    lines = [normal(line) for line in printed.splitlines() if line.strip()]
    at = 0
    part: list[str] = []
    for line in [*shown.splitlines(), ELIDED]:
        if not line.strip():
            continue
        if line.strip() != ELIDED:
            part.append(normal(line))
            continue
        places = range(at, len(lines) - len(part) + 1)
        found = next((i for i in places if lines[i : i + len(part)] == part), None)
        if found is None:
            return part
        at, part = found + len(part), []
    return []
