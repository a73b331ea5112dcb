"""A waiver turns a violation into a waived one, and nothing else into anything."""

from __future__ import annotations

import datetime

import pytest

from pytest_zerotrust.core.intent import Waiver
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.core.waiving import WaiverState, states, waive, waiver_of

WAIVER = Waiver(
    check="ZT-NET-001-*", reason="moves", owner="shop", expires=datetime.date(2030, 6, 15)
)
IDS = frozenset({"ZT-NET-001-a", "ZT-NET-001-b"})


def result(verdict: Verdict) -> Result:
    return Result(
        control="ZT-NET-001", subject="a", verdict=verdict, headline="h", evidence={"rounds": 2}
    )


def test_a_violation_with_a_waiver_is_waived_and_keeps_its_evidence():
    waived = waive(result(Verdict.VIOLATED), WAIVER)
    assert waived.verdict is Verdict.WAIVED
    assert waived.reason == "waived"
    assert waived.headline == "h"
    assert waived.evidence == {
        "rounds": 2,
        "waiver": {
            "check": "ZT-NET-001-*",
            "reason": "moves",
            "owner": "shop",
            "expires": "2030-06-15",
        },
    }
    assert waiver_of(waived) == "shop until 2030-06-15: moves"


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.VIOLATED])
def test_no_other_verdict_is_waived(verdict):
    assert waive(result(verdict), WAIVER) == result(verdict)


def test_without_a_waiver_a_violation_stays_one():
    assert waive(result(Verdict.VIOLATED), None).verdict is Verdict.VIOLATED


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ({"a": [Verdict.WAIVED], "b": [Verdict.HOLDS]}, WaiverState.USED),
        ({"a": [Verdict.WAIVED]}, WaiverState.USED),
        ({"a": [Verdict.HOLDS], "b": [Verdict.HOLDS]}, WaiverState.UNNEEDED),
        ({"a": [Verdict.HOLDS]}, WaiverState.OPEN),
        ({}, WaiverState.OPEN),
        ({"a": [Verdict.HOLDS], "b": [Verdict.INCONCLUSIVE]}, WaiverState.OPEN),
        ({"a": [Verdict.HOLDS], "b": [Verdict.HOLDS, Verdict.INCONCLUSIVE]}, WaiverState.OPEN),
        ({"a": [Verdict.HOLDS], "b": [Verdict.NOT_APPLICABLE]}, WaiverState.OPEN),
    ],
)
def test_a_waiver_is_no_longer_needed_only_if_all_its_checks_ran_and_hold(seen, state):
    results = [(f"ZT-NET-001-{name}", v) for name, verdicts in seen.items() for v in verdicts]
    results.append(("ZT-NET-002-c", Verdict.WAIVED))
    assert states({WAIVER: IDS}, results) == {WAIVER: state}
