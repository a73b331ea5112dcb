"""Rounds go on until the expected state was seen twice, or until the rest had time to change."""

from __future__ import annotations

import itertools

import pytest

from pytest_zerotrust.core.observation import DnsObservation, Observation, Seen
from pytest_zerotrust.network.batch import Round
from pytest_zerotrust.network.settle import HOLD, LIMIT, SETTLE, observe_until_settled

OPEN, DROPPED, REFUSED, FAILED = Seen.OPEN, Seen.DROPPED, Seen.REFUSED, Seen.FAILED
ALLOWED, DENIED = ("flow", "allowed"), ("flow", "denied")
EXPECTED = {ALLOWED: True, DENIED: False}


def round_of(allowed: Seen, denied: Seen, dns: Seen = OPEN) -> Round:
    return Round(
        flows={ALLOWED: Observation(seen=allowed), DENIED: Observation(seen=denied)},
        dns={("pod", "UDP"): DnsObservation(seen=dns)},
    )


GOOD, LEAK, CUT = round_of(OPEN, DROPPED), round_of(OPEN, OPEN), round_of(DROPPED, DROPPED)


class Script:
    """Plays rounds, the last one for ever; each takes ``pace`` seconds of a clock of its own."""

    def __init__(self, *rounds: Round, pace: float = 1.0) -> None:
        self.rounds, self.pace, self.now, self.played = rounds, pace, 100.0, 0

    def one_round(self) -> Round:
        played = self.rounds[min(self.played, len(self.rounds) - 1)]
        self.played += 1
        self.now += self.pace
        return played

    def run(self, expected: dict[tuple[str, ...], bool] | None = None) -> list[Round]:
        return observe_until_settled(
            lambda count: [self.one_round() for _ in range(count)],
            EXPECTED if expected is None else expected,
            clock=lambda: self.now,
        )


def test_what_is_as_expected_from_the_start_takes_two_rounds():
    script = Script(GOOD)
    assert script.run() == [GOOD, GOOD]


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ([LEAK], "not enforced yet"),
        ([CUT], "not allowed yet"),
        ([GOOD, LEAK], "flapping"),
        ([LEAK, GOOD, LEAK, GOOD, CUT], "flapping for long"),
        ([round_of(OPEN, REFUSED)], "refused in another way at first"),
        ([round_of(OPEN, DROPPED, DROPPED)], "names not yet resolved"),
        ([round_of(OPEN, FAILED)], "a probe that failed at first"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_settles_late_is_held_for_two_rounds(before, why):
    script = Script(*before, GOOD)
    assert script.run() == [*before, GOOD, GOOD], why


@pytest.mark.parametrize("wrong", [LEAK, CUT, round_of(OPEN, DROPPED, DROPPED)])
def test_a_stable_surprise_is_given_its_time_to_change_and_then_taken(wrong):
    script = Script(wrong)
    rounds = script.run()
    assert rounds[-HOLD:] == [wrong] * HOLD
    assert SETTLE <= len(rounds) <= SETTLE + 1


def test_a_surprise_that_ends_within_its_time_is_no_surprise():
    script = Script(*[LEAK] * 8, GOOD)
    assert script.run()[-HOLD:] == [GOOD, GOOD]


def test_rounds_end_even_though_observations_go_on_changing():
    script = Script(*itertools.islice(itertools.cycle((GOOD, LEAK)), 100))
    rounds = script.run()
    assert LIMIT <= len(rounds) <= LIMIT + 1
    assert rounds[-1] != rounds[-2]


def test_slow_rounds_are_still_held_twice():
    script = Script(GOOD, pace=LIMIT * 2)
    assert script.run() == [GOOD, GOOD]


def test_an_attempt_that_a_round_lacks_counts_as_not_open():
    empty = Round(flows={}, dns={})
    rounds = Script(empty).run({ALLOWED: True})
    assert len(rounds) >= SETTLE


def test_without_attempts_two_rounds_are_enough():
    empty = Round()
    assert Script(empty).run({}) == [empty, empty]


def test_a_probe_that_keeps_failing_is_given_time_to_answer():
    script = Script(round_of(OPEN, FAILED), round_of(OPEN, FAILED), GOOD)
    assert script.run()[-HOLD:] == [GOOD, GOOD]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_last_rounds_agree_or_the_time_is_over(seed):
    import random

    dice = random.Random(seed)
    kinds = [OPEN, DROPPED, REFUSED]
    script = Script(*(round_of(dice.choice(kinds), dice.choice(kinds)) for _ in range(60)))
    rounds = script.run()
    settled = rounds[-1] == rounds[-2]
    assert settled or script.now - 100.0 >= LIMIT
