"""The exit status: violations first, then whatever keeps a run from being green, never less."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.ending import exit_status, write_artifacts
from pytest_zerotrust.report.collector import Collector

OK, FAILED, INTERRUPTED, INTERNAL, USAGE, NOTHING, UNCLEAR = 0, 1, 2, 3, 4, 5, 6
HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
SKIPPED = Verdict.NOT_APPLICABLE


def report(
    *verdicts: Verdict,
    outcome: str = "passed",
    when: str = "call",
    control: str = "ZT-NET-001",
    inconclusive: bool = False,
) -> pytest.TestReport:
    made = pytest.TestReport(
        nodeid="t.py::t", location=("t.py", 1, "t"), keywords={}, outcome=outcome, longrepr=None,
        when=when,
    )  # fmt: skip
    results = [
        {"control": control, "verdict": v.value, "headline": "h", "subject": "s"} for v in verdicts
    ]
    made.zt = {"results": results, "inconclusive": inconclusive, "control": control}
    return made


def used(outcome: str = "skipped", when: str = "call") -> pytest.TestReport:
    """A test that has one of our fixtures and came to no result."""
    made = report(outcome=outcome, when=when)
    made.zt = {"results": [], "inconclusive": False, "control": "", "uses": True}
    return made


def crash() -> pytest.TestReport:
    """What pytest-xdist reports for the test that a worker died in."""
    return pytest.TestReport(
        "t.py::t[ZT-NET-001-a]", ("t.py", None, "t.py"), (), "failed", "crashed", "???"
    )


def plain(outcome: str, when: str = "call") -> pytest.TestReport:
    return pytest.TestReport("u.py::u", ("u.py", 1, "u"), {}, outcome, None, when)


def status(
    given: int,
    *reports: pytest.TestReport,
    cleanup: CleanupReport | None = None,
    level: int | None = None,
    implied: Mapping[int, Collection[str]] = MappingProxyType({}),
) -> int:
    collector = Collector(lambda: implied)
    for item in reports:
        collector.pytest_runtest_logreport(item)
    collector.cleanup = cleanup
    session: Any = SimpleNamespace(collector=collector, settings=SimpleNamespace(level=level))
    return exit_status(given, session)


GREEN = report(HOLDS)
RED = report(VIOLATED, outcome="failed")
GREY = report(INCONCLUSIVE, outcome="failed")
BROKEN_OFF = report(outcome="failed", inconclusive=True)
NOT_THERE = report(SKIPPED, outcome="skipped")
CASES: dict[str, tuple[int, tuple[pytest.TestReport, ...], int]] = {
    "all hold": (OK, (GREEN, GREEN), OK),
    "one violated": (FAILED, (GREEN, RED), FAILED),
    "violated and inconclusive": (FAILED, (GREY, RED, crash()), FAILED),
    "one inconclusive": (FAILED, (GREEN, GREY), UNCLEAR),
    "inconclusive, though pytest says all is well": (OK, (GREEN, GREY), UNCLEAR),
    "violated, though pytest says all is well": (OK, (GREEN, RED), FAILED),
    "violated in a test that expects to fail": (OK, (report(VIOLATED, outcome="skipped"),), FAILED),
    "inconclusive in a test that passed": (OK, (GREEN, report(INCONCLUSIVE)), UNCLEAR),
    "a test that proved nothing": (FAILED, (GREEN, BROKEN_OFF), UNCLEAR),
    "set-up that was inconclusive": (
        FAILED,
        (GREEN, report(outcome="failed", when="setup", inconclusive=True)),
        UNCLEAR,
    ),
    "a crashed worker": (FAILED, (GREEN, crash()), UNCLEAR),
    "an ordinary failure": (FAILED, (GREEN, plain("failed")), FAILED),
    "an ordinary failure in tear-down": (FAILED, (GREEN, plain("failed", "teardown")), FAILED),
    "an ordinary failure beside an inconclusive one": (FAILED, (GREY, plain("failed")), FAILED),
    "all skipped": (OK, (NOT_THERE, NOT_THERE), UNCLEAR),
    "all of ours skipped before they began": (OK, (used(), plain("passed")), UNCLEAR),
    "all of ours skipped in set-up": (OK, (used(when="setup"), plain("passed")), UNCLEAR),
    "one of ours skipped beside one that holds": (OK, (used(), GREEN), OK),
    "some skipped": (OK, (NOT_THERE, GREEN), OK),
    "nothing collected": (NOTHING, (), NOTHING),
    "ordinary tests only": (OK, (plain("passed"),), OK),
    "interrupted": (INTERRUPTED, (GREEN,), INTERRUPTED),
    "interrupted after a violation": (INTERRUPTED, (RED, GREY), INTERRUPTED),
    "internal error": (INTERNAL, (GREEN, RED), INTERNAL),
    "usage error": (USAGE, (), USAGE),
}


@pytest.mark.parametrize("case", CASES)
def test_each_ending_has_its_exit_status(case):
    given, reports, expected = CASES[case]
    assert status(given, *reports) == expected


DIRTY = CleanupReport(left=("Pod ns/p",))
TROUBLE = CleanupReport(errors=("deleting failed",))


@pytest.mark.parametrize("cleanup", [DIRTY, TROUBLE])
@pytest.mark.parametrize("case", CASES)
def test_what_is_left_behind_is_never_green_and_hides_no_violation(case, cleanup):
    given, reports, expected = CASES[case]
    found = status(given, *reports, cleanup=cleanup)
    assert found == (expected if expected in (1, 2, 3, 4) else UNCLEAR)


@pytest.mark.parametrize("case", CASES)
def test_a_clean_end_changes_no_status(case):
    given, reports, expected = CASES[case]
    assert status(given, *reports, cleanup=CleanupReport()) == expected


def holding(*levels: int) -> list[pytest.TestReport]:
    return [report(HOLDS, control=c.id) for c in CONTROLS.values() if c.level in levels]


@pytest.mark.parametrize(
    ("levels", "demanded", "expected"),
    [
        ((1,), 1, OK),
        ((1, 2), 1, OK),
        ((1, 2, 3), 3, OK),
        ((1,), 2, UNCLEAR),
        ((1, 3), 3, UNCLEAR),
        ((2, 3), 1, UNCLEAR),
        ((), 1, UNCLEAR),
    ],
)
def test_a_demanded_level_that_is_not_reached_is_not_green(levels, demanded, expected):
    assert status(OK, *holding(*levels), level=demanded) == expected


def test_a_demanded_level_of_which_a_check_did_not_run_is_not_green():
    ran = {f"{c.id}-s" for c in CONTROLS.values() if c.level == 1}
    assert status(OK, *holding(1), level=1, implied={1: ran}) == OK
    assert status(OK, *holding(1), level=1, implied={1: {*ran, "ZT-NET-001-t"}}) == UNCLEAR
    assert status(OK, *holding(1), implied={1: {*ran, "ZT-NET-001-t"}}) == OK


def test_a_demanded_level_that_holds_does_not_make_a_violation_above_it_green():
    reports = [*holding(1), report(VIOLATED, control="ZT-ADM-001", outcome="failed")]
    assert status(FAILED, *reports, level=1) == FAILED


def test_no_mixture_with_anything_but_holds_and_skipped_is_green():
    kinds = {"green": GREEN, "red": RED, "grey": GREY, "broken": BROKEN_OFF, "crash": crash()}
    for size in (1, 2, 3):
        for names in itertools.product(kinds, repeat=size):
            for given in (OK, FAILED):
                found = status(given, *(kinds[n] for n in names))
                green = given == OK and set(names) == {"green"}
                assert (found == OK) is green, (given, names)


def test_a_crashed_worker_breaks_the_level_of_the_control_that_it_was_checking():
    collector = Collector(dict)
    for item in (*holding(1), crash()):
        collector.pytest_runtest_logreport(item)
    assert collector.level_reached == 0


def test_a_test_that_broke_off_breaks_the_level_of_its_control():
    collector = Collector(dict)
    for item in (*holding(1), BROKEN_OFF):
        collector.pytest_runtest_logreport(item)
    assert collector.level_reached == 0


def artifacts(folder: Path, capsys: pytest.CaptureFixture[str], tests: int = 1) -> str:
    collector = Collector(dict)
    for _ in range(tests):
        collector.pytest_runtest_logreport(GREEN)
    session: Any = SimpleNamespace(collector=collector, run=SimpleNamespace(id="abc"), waived={})
    write_artifacts(folder, session)
    return capsys.readouterr().err


def test_the_evidence_is_written_as_json_with_every_result_and_its_test(tmp_path, capsys):
    folder = tmp_path / "a" / "b"
    assert artifacts(folder, capsys) == ""
    data = json.loads((folder / "zerotrust.json").read_text())
    assert data["run"] == "abc"
    assert data["schema"] == "zerotrust.report/v1"
    assert [(r["test"], r["verdict"]) for r in data["results"]] == [("t.py::t", "holds")]
    assert [file.name for file in folder.iterdir()] == ["zerotrust.json"]


@pytest.mark.parametrize("tests", [0, 1, 3])
def test_the_evidence_is_json_whatever_the_number_of_results(tests, tmp_path, capsys):
    artifacts(tmp_path, capsys, tests)
    data = json.loads((tmp_path / "zerotrust.json").read_text())
    assert len(data["results"]) == tests
    assert {"schema", "run", "level_reached", "waivers"} <= set(data)


def test_evidence_that_cannot_be_written_is_told_and_raises_nothing(tmp_path, capsys):
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert "could not be written" in artifacts(occupied, capsys)
