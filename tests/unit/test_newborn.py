"""The first seconds of a pod: one answer is a leak, and silence counts only if it was earned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_zerotrust.core.newborn import (
    EARLY,
    ENOUGH,
    NewbornFacts,
    TargetFacts,
    Trail,
    judge_newborn,
    read_trail,
)
from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.reachability import REFUSALS, Liveness
from pytest_zerotrust.core.verdict import Verdict

ALIVE, DEAD = Liveness(True, "it lives"), Liveness(False, "nobody saw it")
QUIET = Trail(attempts=tuple((50.0 * i, Seen.DROPPED) for i in range(60)))


def target(trail: Trail | None = QUIET, *controls: Liveness, name: str = "data/store:5432/tcp"):
    return TargetFacts(name=name, trail=trail, controls=controls or (ALIVE, ALIVE))


FACTS = NewbornFacts(
    control="ZT-NET-011",
    subject="batch",
    source="jobs/batch",
    targets=(target(), target(name="web/api:8080/tcp")),
    source_lives=ALIVE,
)


def verdict(**changes) -> Verdict:
    return judge_newborn(replace(FACTS, **changes)).verdict


def test_silence_from_the_first_moment_on_holds():
    result = judge_newborn(FACTS)
    assert result.verdict is Verdict.HOLDS
    assert "in 120 attempts" in result.headline


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_one_answer_at_any_time_is_a_leak_that_is_named(at):
    attempts = list(QUIET.attempts)
    attempts[at] = (attempts[at][0], Seen.OPEN)
    leaky = target(Trail(attempts=tuple(attempts)), name="web/api:8080/tcp")
    result = judge_newborn(replace(FACTS, targets=(target(), leaky), source_lives=DEAD))
    assert result.verdict is Verdict.VIOLATED
    assert f"REACHED web/api:8080/tcp {50 * at} ms after its start" in result.headline


@pytest.mark.parametrize("seen", sorted(set(Seen) - {Seen.OPEN, *REFUSALS}, key=str))
def test_an_odd_answer_is_inconclusive(seen):
    odd = Trail(attempts=(*QUIET.attempts[:-1], (2950.0, seen)))
    assert verdict(targets=(target(odd),)) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "changes",
    [
        {"targets": ()},
        {"targets": (target(None),)},
        {"targets": (target(), target(None))},
        {"targets": (target(QUIET, ALIVE, DEAD),)},
        {"targets": (target(Trail(attempts=QUIET.attempts[: ENOUGH - 1])),)},
        {"targets": (target(Trail(attempts=())),)},
        {"targets": (target(Trail(attempts=QUIET.attempts[int(EARLY / 50) + 1 :])),)},
        {"source_lives": DEAD},
        {"problem": "the pod was killed"},
    ],
)
def test_what_was_not_shown_is_inconclusive(changes):
    assert verdict(**changes) is Verdict.INCONCLUSIVE


def test_only_the_right_proof_is_an_answer():
    proof = "a" * 64
    entries = [
        [0.0, "connect", "timeout", ""],
        [100.0, "exchange", "complete", f"ZT1 {proof} pod\n"],
        [50.0, "exchange", "complete", "ZT1 of-another pod\n"],
        [150.0, "exchange", "silent", ""],
    ]
    trail = read_trail(entries, proof)
    assert [seen for _, seen in trail.attempts] == [
        Seen.DROPPED,
        Seen.WRONG_SERVER,
        Seen.OPEN,
        Seen.SILENT,
    ]
    assert trail.reached == (100.0,)
