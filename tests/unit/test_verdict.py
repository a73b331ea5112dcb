"""A result is a conclusion with its evidence, and never a truth value."""

from __future__ import annotations

import json
import operator
from dataclasses import FrozenInstanceError

import pytest

from pytest_zerotrust.core.verdict import Result, Verdict


def result(verdict: Verdict) -> Result:
    return Result(
        control="ZT-NET-001",
        subject="a->b:80",
        verdict=verdict,
        headline="a -> b",
        observed=("dropped",),
        evidence={"rounds": 2},
    )


USES = {
    "bool": bool,
    "not": operator.not_,
    "if": lambda r: 1 if r else 2,
    "and": lambda r: r and 1,
    "or": lambda r: r or 1,
    "all": lambda r: all([r]),
    "any": lambda r: any([r]),
    "filter": lambda r: list(filter(None, [r])),
    "while": lambda r: [1 for _ in [r] if r],
}


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("use", USES)
def test_a_result_of_any_verdict_refuses_to_be_used_as_a_truth_value(verdict, use):
    with pytest.raises(TypeError, match=f"no truth value.*{verdict.value}"):
        USES[use](result(verdict))


def test_an_assert_on_a_result_does_not_pass():
    with pytest.raises(TypeError):
        assert result(Verdict.HOLDS)


def test_a_result_can_be_compared_and_its_verdict_too():
    assert result(Verdict.HOLDS) == result(Verdict.HOLDS)
    assert result(Verdict.HOLDS) != result(Verdict.VIOLATED)
    assert result(Verdict.HOLDS).verdict is Verdict.HOLDS


def test_a_result_cannot_be_turned_green_afterwards():
    with pytest.raises(FrozenInstanceError):
        result(Verdict.VIOLATED).verdict = Verdict.HOLDS


@pytest.mark.parametrize("verdict", Verdict)
def test_a_result_becomes_data_that_survives_json_and_tells_the_same(verdict):
    data = json.loads(json.dumps(result(verdict).to_dict()))
    assert Verdict(data["verdict"]) is verdict
    assert data["control"] == "ZT-NET-001"
    assert data["subject"] == "a->b:80"
    assert data["observed"] == ["dropped"]
    assert data["evidence"] == {"rounds": 2}


def test_the_data_of_a_result_names_every_field():
    fields = set(Result.__dataclass_fields__)
    assert set(result(Verdict.HOLDS).to_dict()) == fields


def test_there_are_five_verdicts_and_one_of_them_is_green():
    words = {"holds", "violated", "inconclusive", "not applicable", "waived"}
    assert {verdict.value for verdict in Verdict} == words
