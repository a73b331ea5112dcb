"""Strangers' words move no cursor, colour nothing, and make no line of their own."""

from __future__ import annotations

import pytest

from pytest_zerotrust.core.printable import printable, printable_lines
from pytest_zerotrust.errors import UsageProblem

GONE = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "character",
    ["\x1b", "\r", "\n", "\a", "\b", "\x00", "\x9b", "\u202e", "\u2028", "\ud800", "\ufeff"],
    ids=ascii,
)
def test_what_a_terminal_would_obey_is_replaced(character: str):
    assert printable(f"a{character}b") == f"a{GONE}b"


def test_words_of_any_language_stay():
    text = "größer, 東京, naïve <b>markup</b> & 'quotes'"
    assert printable(text) == text


def test_lines_stay_lines():
    assert printable_lines("one\ntwo\x1b[2J") == f"one\ntwo{GONE}[2J"


def test_a_usage_problem_is_always_fit_to_be_shown():
    assert str(UsageProblem("said \x1b]0;owned\a")) == f"said {GONE}]0;owned{GONE}"
