"""Exceptions of the intent file: what is read, what they match, and every mistake."""

from __future__ import annotations

import datetime

import pytest

from pytest_zerotrust.core.intent import Waiver
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.load import intent_from_text

DAY = datetime.date(2030, 6, 15)


def text(*waivers: str) -> str:
    return "\n".join(["version: 1", "exceptions:", *(f"  - {w}" for w in waivers)]) + "\n"


def one(**changes: str) -> str:
    values = {
        "check": "'ZT-NET-001-batch->*'",
        "reason": "moves in June",
        "owner": "payments",
        "expires": "2030-06-15",
        **changes,
    }
    return "{" + ", ".join(f"{key}: {value}" for key, value in values.items() if value) + "}"


def test_an_exception_is_read_with_its_place():
    (waiver,) = intent_from_text(text(one()), "zero.yaml", today=DAY).waivers
    assert waiver == Waiver(
        check="ZT-NET-001-batch->*", reason="moves in June", owner="payments", expires=DAY
    )
    assert waiver.where == "zero.yaml:3"


@pytest.mark.parametrize(
    ("check", "matched"),
    [
        ("ZT-NET-001-batch->*", True),
        ("ZT-NET-001-batch->db:5432/tcp-pod-ip", True),
        ("ZT-NET-001*-pod-ip", True),
        ("ZT-NET-001-batch->db:5432/tcp", False),
        ("ZT-NET-001-BATCH->*", False),
        ("ZT-NET-002-*", False),
    ],
)
def test_an_exception_is_for_the_checks_that_it_names(check, matched):
    waiver = Waiver(check=check, reason="r", owner="o", expires=DAY)
    assert waiver.matches("ZT-NET-001-batch->db:5432/tcp-pod-ip") is matched


def test_the_first_exception_that_matches_counts():
    intent = intent_from_text(
        text(one(check="ZT-NET-001-a*", owner="first"), one(check="ZT-NET-001-*", owner="second")),
        "zero.yaml",
        today=DAY,
    )
    found = [intent.waiver_of(name) for name in ("ZT-NET-001-ab", "ZT-NET-001-b", "ZT-NET-002-a")]
    assert [waiver and waiver.owner for waiver in found] == ["first", "second", None]


def test_an_exception_counts_on_its_last_day_and_no_longer():
    intent_from_text(text(one()), "zero.yaml", today=DAY)
    with pytest.raises(IntentProblem) as caught:
        intent_from_text(text(one()), "zero.yaml", today=DAY + datetime.timedelta(days=1))
    message = str(caught.value)
    assert message.startswith("zero.yaml:3: ")
    for word in ("ZT-NET-001-batch->*", "payments", "expired", "2030-06-15"):
        assert word in message


def test_without_a_day_given_it_is_today():
    with pytest.raises(IntentProblem, match="expired"):
        intent_from_text(text(one(expires="2020-01-01")), "zero.yaml")
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    intent_from_text(text(one(expires=str(tomorrow))), "zero.yaml")


MISTAKES = {
    "no reason": (one(reason=""), ("reason", "required")),
    "no owner": (one(owner=""), ("owner", "required")),
    "no day": (one(expires=""), ("expires", "required")),
    "no check": (one(check=""), ("check", "required")),
    "a reason of blanks": (one(reason="'  '"), ("reason", "says nothing")),
    "an empty owner": (one(owner="''"), ("owner", "empty")),
    "a day that is none": (one(expires="2030-02-30"), ("2030-02-30", "YYYY-MM-DD")),
    "a time for a day": (one(expires="2030-06-15T10:00:00Z"), ("YYYY-MM-DD",)),
    "everything": (one(check="'*'"), ('"*"', "one control")),
    "several controls": (one(check="'ZT-NET-*'"), ('"ZT-NET-*"', "one control")),
    "an unknown key": (one(until="2030-01-01"), ("'until'", "Allowed here", "expires")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_line_key_and_value(mistake):
    waiver, words = MISTAKES[mistake]
    with pytest.raises(IntentProblem) as caught:
        intent_from_text(text(waiver), "zero.yaml", today=DAY)
    message = str(caught.value)
    assert message.startswith("zero.yaml:3: ")
    assert "exceptions.0" in message
    for word in words:
        assert word in message
    assert "\n" not in message


def test_two_exceptions_for_the_same_checks_are_refused():
    with pytest.raises(IntentProblem, match=r"^zero\.yaml:4: .*same checks"):
        intent_from_text(text(one(), one(owner="other")), "zero.yaml", today=DAY)
