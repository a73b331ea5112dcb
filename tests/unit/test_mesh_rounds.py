"""Rounds end when the answers agree, and a connection that is cut looks the same in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_zerotrust.mesh import rounds
from pytest_zerotrust.mesh.rounds import INSIST, ROUNDS, Probe, in_waves, insisting, until_settled

RESET = {"stage": "handshake", "end": "reset"}
EARLY = {"stage": "handshake", "end": "alert", "alert": "UNEXPECTED_EOF_WHILE_READING"}
DEMAND = {"stage": "exchange", "end": "alert", "alert": "TLSV13_ALERT_CERTIFICATE_REQUIRED"}
DROPPED = {"stage": "connect", "end": "timeout"}


class Asked:
    """As much of a fleet as rounds use: replies in their order, the last one for ever."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.requests: list[Sequence[Mapping[str, Any]]] = []

    def ask_all(self, requests: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        (pod, probes), *_ = requests.items()
        self.requests.append(probes)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return {pod: reply if isinstance(reply, str) else {"results": [reply] * len(probes)}}


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "SETTLE", 0.0)
    monkeypatch.setattr(rounds, "LIMIT", 0.2)
    monkeypatch.setattr(rounds, "PAUSE", 0.0)


def settled(*replies: Any) -> tuple[Asked, Any]:
    fleet = Asked(*replies)
    seen = until_settled(fleet, [Probe(name="p", pod="pod", request={})])  # type: ignore[arg-type]
    return fleet, seen


def test_rounds_that_agree_end_at_once():
    fleet, seen = settled(DEMAND)
    assert len(fleet.requests) == ROUNDS
    assert seen.reports == {"p": (DEMAND,) * ROUNDS}


def test_a_cut_within_a_handshake_agrees_however_it_is_told():
    fleet, seen = settled(RESET, EARLY, RESET)
    assert len(fleet.requests) == ROUNDS
    assert seen.reports == {"p": (RESET, EARLY, RESET)}


def test_an_alert_and_a_cut_do_not_agree():
    fleet, seen = settled(DEMAND, RESET, DEMAND)
    assert len(fleet.requests) > ROUNDS
    assert seen.reports == {"p": (DEMAND,) * ROUNDS}


def test_a_pod_that_gives_no_reply_is_named():
    _, seen = settled("exec was cut")
    assert (seen.reports, seen.failed) == ({}, {"pod": "exec was cut"})
    _, seen = settled("exec was cut", DROPPED)
    assert seen.failed == {}


def test_waves_are_one_request():
    fleet = Asked(DROPPED)
    seen = in_waves(fleet, [Probe(name="p", pod="pod", request={"port": 1})])  # type: ignore[arg-type]
    assert fleet.requests == [[{"port": 1, "wave": wave} for wave in range(ROUNDS)]]
    assert seen.reports == {"p": (DROPPED,) * ROUNDS}


def test_only_what_is_not_enough_is_asked_again():
    fleet = Asked(RESET, DEMAND)
    probes = [Probe(name=name, pod="pod", request={}) for name in "ab"]
    seen = insisting(fleet, probes, lambda report: report == DEMAND)  # type: ignore[arg-type]
    assert [len(asked) for asked in fleet.requests] == [2, 2]
    assert seen.reports == {"a": (DEMAND,), "b": (DEMAND,)}


def test_what_is_never_enough_is_asked_so_often_and_no_more():
    fleet = Asked(RESET)
    seen = insisting(fleet, [Probe(name="p", pod="pod", request={})], lambda report: False)  # type: ignore[arg-type]
    assert len(fleet.requests) == INSIST
    assert seen.reports == {"p": (RESET,)}


def test_nothing_to_ask_asks_nobody():
    fleet = Asked(RESET)
    assert insisting(fleet, [], lambda report: False).reports == {}  # type: ignore[arg-type]
    assert fleet.requests == []
