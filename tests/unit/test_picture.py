"""The picture of a matrix: the worst sign wins, and large ones stay readable."""

from __future__ import annotations

import itertools

import pytest

from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.report.picture import cells_of, rows, text_of, worst


def result(control: str, subject: str, verdict: Verdict) -> dict[str, str]:
    return {"control": control, "subject": subject, "verdict": verdict.value}


@pytest.mark.parametrize(
    ("control", "verdict", "sign"),
    [
        ("ZT-NET-001", Verdict.HOLDS, "."),
        ("ZT-NET-002", Verdict.HOLDS, "."),
        ("ZT-NET-003", Verdict.HOLDS, "o"),
        ("ZT-NET-001", Verdict.VIOLATED, "X"),
        ("ZT-NET-003", Verdict.VIOLATED, "X"),
        ("ZT-NET-001", Verdict.WAIVED, "w"),
        ("ZT-NET-001", Verdict.INCONCLUSIVE, "?"),
        ("ZT-NET-001", Verdict.NOT_APPLICABLE, "?"),
    ],
)
def test_each_verdict_has_its_sign(control, verdict, sign):
    cells = cells_of([result(control, "a->b:80/tcp-pod-ip", verdict)])
    assert cells == {("a", "b"): sign}


def test_one_leak_among_the_ports_of_a_pair_is_not_hidden():
    verdicts = (Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE, Verdict.WAIVED)
    for order in itertools.permutations(verdicts):
        results = [result("ZT-NET-001", f"a->b:{n}/udp-service-ip", v) for n, v in enumerate(order)]
        assert cells_of(results) == {("a", "b"): "X"}
    assert worst(".", "o") == "o"


def test_what_is_no_flow_between_workloads_is_not_drawn():
    results = [
        result("ZT-NET-004", "a", Verdict.HOLDS),
        result("ZT-NET-006", "a->internet", Verdict.HOLDS),
        result("ZT-MSH-003", "a->b:80/tcp", Verdict.HOLDS),
        result("custom", "a->b:80/tcp-pod-ip", Verdict.HOLDS),
    ]
    assert cells_of(results) == {}


def test_fifty_workloads_fit_beside_each_other():
    names = [f"workload-{n}" for n in range(50)]
    cells = {(a, b): "." for a in names for b in names if a != b}
    drawn = rows(cells)
    assert len(drawn) == 52
    assert {len(signs) for _, signs in drawn} == {99}
    assert max(len(title) + len(signs) for title, signs in drawn) < 125


def test_a_picture_of_nothing_is_its_legend():
    assert text_of({}, "legend").strip() == "legend"
