"""A level is reached only if each of its controls, and each below, was shown to hold."""

from __future__ import annotations

import itertools
import re

import pytest

from pytest_zerotrust.checks import KINDS
from pytest_zerotrust.core import maturity
from pytest_zerotrust.core.controls import CONTROLS, LEVELS
from pytest_zerotrust.core.maturity import LevelStatus, reached
from pytest_zerotrust.core.verdict import Verdict

HOLDS = Verdict.HOLDS
ASSESSED_LEVELS = (1, 2, 3)


def assess(results) -> tuple[LevelStatus, ...]:
    """Levels of an intent all of whose checks ran."""
    return maturity.assess(results, implied={}, ran=())


def of_level(*levels: int) -> list[tuple[str, Verdict]]:
    return [(c.id, HOLDS) for c in CONTROLS.values() if c.level in levels]


def status(results: list[tuple[str, Verdict]], level: int):
    return next(s for s in assess(results) if s.level == level)


def test_nothing_assessed_is_level_zero_and_no_level_holds():
    statuses = assess([])
    assert reached(statuses) == 0
    assert [s.word for s in statuses] == ["not assessed"] * 4
    assert not any(s.holds for s in statuses)


@pytest.mark.parametrize("level", ASSESSED_LEVELS)
def test_a_level_is_reached_when_every_control_up_to_it_holds(level):
    results = of_level(*range(1, level + 1))
    assert reached(assess(results)) == level
    assert status(results, level).word == "holds"


@pytest.mark.parametrize("level", ASSESSED_LEVELS)
@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not HOLDS])
def test_one_control_that_does_not_hold_breaks_its_level(level, verdict):
    chosen = [c for c in CONTROLS.values() if c.level == level]
    if verdict not in (Verdict.VIOLATED, Verdict.INCONCLUSIVE):
        chosen = [c for c in chosen if c.required]
    for broken in (c.id for c in chosen):
        results = [(c, verdict if c == broken else v) for c, v in of_level(*ASSESSED_LEVELS)]
        assert not status(results, level).holds
        assert reached(assess(results)) == level - 1


@pytest.mark.parametrize("level", ASSESSED_LEVELS)
@pytest.mark.parametrize("verdict", [Verdict.VIOLATED, Verdict.INCONCLUSIVE])
def test_one_bad_check_beside_many_that_hold_breaks_the_level(level, verdict):
    control = of_level(level)[0][0]
    results = of_level(*ASSESSED_LEVELS) * 3 + [(control, verdict)]
    assert reached(assess(results)) == level - 1
    assert status(results, level).word == verdict.value


@pytest.mark.parametrize("level", ASSESSED_LEVELS)
def test_a_missing_control_breaks_its_level_and_is_named(level):
    for missing in (id_ for id_, _ in of_level(level) if CONTROLS[id_].required):
        results = [(c, v) for c, v in of_level(*ASSESSED_LEVELS) if c != missing]
        assert status(results, level).missing == (missing,)
        assert not status(results, level).holds
        assert status(results, level).word in ("incomplete", "not assessed")
        assert reached(assess(results)) == level - 1


def test_a_level_above_a_broken_one_is_not_reached():
    results = of_level(1, 3)
    assert status(results, 3).holds
    assert reached(assess(results)) == 1


def test_the_level_without_controls_is_not_assessed_and_never_reached():
    results = of_level(1, 2, 3, 4)
    assert status(results, 4).word == "not assessed"
    assert not status(results, 4).holds
    assert reached(assess(results)) == 3


def test_a_level_of_nothing_but_skipped_checks_is_not_assessed():
    results = [(c, Verdict.NOT_APPLICABLE) for c, _ in of_level(1)]
    assert status(results, 1).word == "not assessed"
    assert not status(results, 1).holds


def test_a_level_of_nothing_but_waived_checks_is_incomplete():
    results = [(c, Verdict.WAIVED) for c, _ in of_level(1)]
    assert status(results, 1).word == "incomplete"
    assert not status(results, 1).holds
    demanded = {c for c, _ in of_level(1) if CONTROLS[c].required}
    assert status(results, 1).missing == tuple(sorted(demanded))


def test_a_control_that_is_waived_throughout_keeps_its_level_from_holding():
    (first, _), *others = of_level(1)
    assert status([*others, (first, Verdict.WAIVED)], 1).missing == (first,)
    assert status([*others, (first, Verdict.WAIVED)], 1).word == "incomplete"
    assert status([*of_level(1), (first, Verdict.WAIVED)], 1).waived == 1


@pytest.mark.parametrize("verdict", [Verdict.NOT_APPLICABLE, Verdict.WAIVED])
def test_a_skipped_check_beside_one_that_holds_leaves_its_control_shown(verdict):
    results = [*of_level(1), (of_level(1)[0][0], verdict)]
    assert status(results, 1).holds


@pytest.mark.parametrize("control", ["custom", "", "ZT-NET-999", "zt-net-001"])
def test_what_is_no_control_of_ours_counts_for_no_level(control):
    for verdict in Verdict:
        assert assess([(control, verdict)]) == assess([])


def test_the_order_of_results_and_of_levels_does_not_matter():
    results = [*of_level(1, 2), ("ZT-ADM-001", Verdict.VIOLATED)]
    assert assess(results) == assess(reversed(results))
    for statuses in itertools.permutations(assess(results)):
        assert reached(statuses) == 2


def test_every_control_belongs_to_a_level_and_says_what_to_do():
    for id_, control in CONTROLS.items():
        assert id_ == control.id
        assert re.fullmatch(r"ZT-[A-Z]{3}-\d{3}", id_)
        assert control.level in LEVELS
        assert control.severity in ("critical", "high", "medium", "low")
        assert control.remedy.endswith(".")
        assert control.title


def test_every_control_is_checked_by_a_kind_of_checks_and_each_kind_has_a_control():
    assert {kind.control for kind in KINDS.values()} == set(CONTROLS)


@pytest.mark.parametrize("verdict", [HOLDS, Verdict.VIOLATED])
def test_one_check_that_came_to_an_end_makes_a_level_assessed(verdict):
    found = status([(of_level(1)[0][0], verdict)], 1)
    assert found.assessed
    assert found.word == ("incomplete" if verdict is HOLDS else "violated")


def test_a_level_of_which_nothing_ran_is_not_assessed():
    assert maturity.assess([], implied={1: ("a",)}, ran=())[0].word == "not assessed"


@pytest.mark.parametrize("verdict", [Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE])
def test_checks_that_came_to_no_end_assess_nothing(verdict):
    assert not status([(of_level(1)[0][0], verdict)], 1).assessed


IMPLIED = {1: ("a", "b", "c"), 2: ("d",), 3: ("e",)}


@pytest.mark.parametrize("left_out", ["a", "b", "c", "d", "e"])
def test_a_check_that_did_not_run_keeps_its_level_and_those_above_from_holding(left_out):
    level = next(n for n, ids in IMPLIED.items() if left_out in ids)
    ran = {"a", "b", "c", "d", "e"} - {left_out}
    found = maturity.assess(of_level(*ASSESSED_LEVELS), implied=IMPLIED, ran=ran)
    assert reached(found) == level - 1
    status = found[level - 1]
    assert not status.holds
    assert status.word == "not judged"
    assert (status.ran, status.implied) == (len(IMPLIED[level]) - 1, len(IMPLIED[level]))


def test_with_every_check_run_the_levels_hold_whatever_else_ran():
    ran = {"a", "b", "c", "d", "e", "custom"}
    found = maturity.assess(of_level(*ASSESSED_LEVELS), implied=IMPLIED, ran=ran)
    assert [s.word for s in found] == ["holds", "holds", "holds", "not assessed"]
    assert reached(found) == 3


def test_a_violation_is_told_though_other_checks_did_not_run():
    results = [*of_level(1), (of_level(1)[0][0], Verdict.VIOLATED)]
    assert maturity.assess(results, implied=IMPLIED, ran={"a"})[0].word == "violated"
