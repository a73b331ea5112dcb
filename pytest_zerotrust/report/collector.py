"""Collects the verdicts of all tests of all processes, from their reports."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any

import pytest

from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.core.intent import Waiver
from pytest_zerotrust.core.maturity import LevelStatus, assess, reached
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.core.waiving import WaiverState, states

_CONTROL_ID = re.compile(r"ZT-[A-Z]{3}-\d{3}")


def check_id(result: Mapping[str, Any]) -> str:
    """The id of the check that a result (as data) is about."""
    return f"{result['control']}-{result['subject']}"


class Collector:
    """A plugin of the controller. ``results`` are results as data, in the order they came;
    ``used`` tells whether any test used a fixture of ours, skipped ones included, and ``crashed``
    whether a worker of pytest-xdist died; ``unusable`` says why workers could verify nothing.
    ``implied`` gives the ids of the checks that the intent implies, by level; it is asked once,
    when a level is to be judged."""

    def __init__(self, implied: Callable[[], Mapping[int, Collection[str]]]) -> None:
        self._implied_by_intent = implied
        self.results: list[dict[str, Any]] = []
        self.inconclusive_tests: list[str] = []
        self.inconclusive_controls: list[str] = []
        self.other_failures: list[str] = []
        self.cleanup: CleanupReport | None = None
        self.unusable = ""
        self.used = False
        self.crashed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the results out of a report, and note failures that carry none."""
        data: dict[str, Any] = getattr(report, "zt", {})
        for result in data.get("results", ()):
            self.results.append({**result, "test": report.nodeid})
        self.used = self.used or bool(data.get("uses"))
        self.unusable = self.unusable or str(data.get("unusable", ""))
        if not report.failed:
            return
        verdicts = {result["verdict"] for result in data.get("results", ())}
        if Verdict.VIOLATED.value in verdicts or Verdict.INCONCLUSIVE.value in verdicts:
            return
        # A worker that died says nothing about the cluster.
        crashed = str(report.when) == "???"
        self.crashed = self.crashed or crashed
        broken_off = bool(data.get("inconclusive")) or crashed
        (self.inconclusive_tests if broken_off else self.other_failures).append(report.nodeid)
        # The report of a crashed worker carries nothing but the id of the test it died in.
        named = _CONTROL_ID.search(report.nodeid)
        control = data.get("control") or (named[0] if named else "")
        if control:
            self.inconclusive_controls.append(control)

    @property
    def failed(self) -> bool:
        """True if anything did not end well: a violation, no conclusion, any other failure."""
        return bool(
            self.other_failures
            or self.inconclusive_tests
            or self.count(Verdict.VIOLATED)
            or self.count(Verdict.INCONCLUSIVE)
        )

    def count(self, verdict: Verdict) -> int:
        """How many checks ended with this verdict."""
        return sum(result["verdict"] == verdict.value for result in self.results)

    def states_of(self, waivers: Mapping[Waiver, frozenset[str]]) -> dict[Waiver, WaiverState]:
        """What became of waivers, each of which is for checks of these ids."""
        return states(
            waivers,
            ((check_id(r), Verdict(r["verdict"])) for r in self.results),
        )

    @property
    def levels(self) -> tuple[LevelStatus, ...]:
        """The status of each level; a test that broke off counts as inconclusive for its own."""
        pairs = [(r["control"], Verdict(r["verdict"])) for r in self.results]
        pairs += [(control, Verdict.INCONCLUSIVE) for control in self.inconclusive_controls]
        ran = {check_id(r) for r in self.results}
        return assess(pairs, implied=self._implied, ran=ran)

    @cached_property
    def _implied(self) -> Mapping[int, Collection[str]]:
        return self._implied_by_intent()

    @property
    def level_reached(self) -> int:
        """The highest level that holds with all below it."""
        return reached(self.levels)
