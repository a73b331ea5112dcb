"""What a capture shows about the wire: never a pass without the packets of the very exchange."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.mesh.wire import (
    BULK,
    Between,
    Capture,
    Exchange,
    Sighting,
    judge_meshed,
    judge_plain,
    over_all,
    read_capture,
)
from pytest_zerotrust.core.verdict import Verdict

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
STARTED = {"stage": "capture", "end": "started", "interfaces": {"eth0": 1}}
SEEN = Sighting(
    interface="eth0",
    source="10.0.0.1",
    target="10.0.1.1",
    protocol="tcp/8080",
    ms=3.0,
    size=90,
    excerpt="ZT1 zerotrust-1\n",
)


def ended(**changes: Any) -> dict[str, Any]:
    return {
        "stage": "capture",
        "end": "complete",
        "interfaces": {"eth0": 1},
        "packets": 40,
        "lost": 0,
        "found": {},
        "between": {},
        "carriers": {},
        **changes,
    }


def exchange(**changes: Any) -> Exchange:
    values: dict[str, Any] = {
        "what": "TCP between pods, a -> b",
        "needles": ("tcp",),
        "capture": Capture(interfaces=("eth0",), between={"pair": Between(9, 5, 0)}),
        "answered": True,
        "ends": ("pair",),
        "carrier": "192.0.2.2 udp/51871",
    }
    return Exchange(**{**values, **changes})


def capture(**changes: Any) -> Capture:
    values: dict[str, Any] = {"interfaces": ("eth0",), "between": {"pair": Between(9, 5, 0)}}
    return Capture(**{**values, **changes})


JUDGES = pytest.mark.parametrize("judge", [judge_plain, judge_meshed])


@JUDGES
def test_seen_encrypted_and_nowhere_in_the_clear_holds(judge):
    assert judge(exchange()).verdict is HOLDS


@JUDGES
@pytest.mark.parametrize(
    "changes",
    [{}, {"answered": False}, {"trouble": "lost"}, {"carrier": "", "ends": ()}],
    ids=str,
)
def test_a_nonce_in_the_clear_is_a_violation_whatever_else(judge, changes):
    seen = capture(sightings={"tcp": (SEEN,)}, lost=7)
    conclusion = judge(exchange(capture=seen, **changes))
    assert conclusion.verdict is VIOLATED
    assert "eth0 (10.0.0.1 -> 10.0.1.1 tcp/8080)" in conclusion.text


@JUDGES
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"capture": Capture(problem="killed")}, "probe-not-available"),
        ({"capture": Capture(problem="EPERM", permitted=False)}, "capture-not-permitted"),
        ({"answered": False}, "no-exchange"),
        ({"trouble": "the pod is gone"}, "no-exchange"),
        ({"capture": capture(lost=1)}, "packets-lost"),
        ({"carrier": "", "ends": ()}, "not-seen"),
        ({"carrier": "", "ends": ("another pair",)}, "not-seen"),
    ],
    ids=str,
)
def test_nothing_in_the_clear_is_no_pass_by_itself(judge, changes, reason):
    conclusion = judge(exchange(**changes))
    assert (conclusion.verdict, conclusion.reason) == (INCONCLUSIVE, reason)


def test_what_is_no_tls_within_the_mesh_is_no_pass():
    seen = capture(between={"pair": Between(9, 5, 1)})
    conclusion = judge_meshed(exchange(capture=seen))
    assert (conclusion.verdict, conclusion.reason) == (INCONCLUSIVE, "not-only-tls")


def test_the_needle_of_another_exchange_is_none_of_this_one():
    assert judge_plain(exchange(capture=capture(sightings={"udp": (SEEN,)}))).verdict is HOLDS


def test_one_violated_way_outdoes_the_others():
    good, bad = judge_plain(exchange()), judge_plain(exchange(answered=False))
    worst = judge_plain(exchange(capture=capture(sightings={"tcp": (SEEN,)})))
    assert over_all([good, bad, worst]).verdict is VIOLATED
    assert over_all([good, bad]).verdict is INCONCLUSIVE
    assert over_all([good, good]).verdict is HOLDS
    assert "2 ways" in over_all([good, good]).text
    assert over_all([]).verdict is INCONCLUSIVE


# -- carriers


def carried(sizes: dict[int, int], name: str = "192.0.2.2 udp/51871") -> str:
    return Capture(carriers={name: sizes}).carrier_of("192.0.2.2", (700, 800))


def test_packets_of_both_sizes_as_often_as_they_were_sent_are_the_carrier():
    assert carried({792: BULK, 892: BULK + 3}) == "192.0.2.2 udp/51871"


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {792: BULK},
        {792: BULK, 892: BULK - 1},
        # Another stream: what it adds to one is not what it adds to the other.
        {792: BULK, 888: BULK},
        {850: 5 * BULK},
        # As long as the datagram itself: nothing was put around it.
        {728: BULK, 828: BULK},
        {700: BULK, 800: BULK},
        {728 + 161: BULK, 828 + 161: BULK},
    ],
    ids=str,
)
def test_other_packets_are_no_carrier(sizes):
    assert carried(sizes) == ""


def test_packets_to_another_node_are_no_carrier():
    assert carried({792: BULK, 892: BULK}, "192.0.2.22 esp") == ""


# -- reports


def test_a_whole_report_is_read():
    found = {
        "interface": "eth0",
        "from": "10.0.0.1",
        "to": "10.0.1.1",
        "protocol": "tcp/8080",
        "ms": 3.0,
        "size": 90,
        "excerpt": "ZT1 zerotrust-1\n",
    }
    read = read_capture(
        STARTED,
        ended(
            found={"tcp": [found], "udp": []},
            between={"pair": {"packets": 2, "tls": 1, "other": 0}},
            carriers={"192.0.2.2 esp": {"792": 3}},
        ),
    )
    assert read.problem == ""
    assert read.sightings == {"tcp": (SEEN,), "udp": ()}
    assert read.between == {"pair": Between(2, 1, 0)}
    assert read.carriers == {"192.0.2.2 esp": {792: 3}}


@pytest.mark.parametrize(
    ("started", "over", "permitted"),
    [
        ({}, ended(), True),
        (STARTED, {}, True),
        ({"stage": "capture", "end": "failed", "errno": "EPERM"}, ended(), False),
        (STARTED, {"stage": "capture", "end": "failed", "errno": "no such capture runs"}, True),
        (STARTED, {"stage": "none", "end": "failed", "errno": "KeyError"}, True),
    ],
)
def test_a_report_that_is_not_whole_says_nothing(started, over, permitted):
    read = read_capture(started, over)
    assert read.problem
    assert read.permitted is permitted


@pytest.mark.parametrize("kinds", [{"wg0": 65534}, {"eth0": 1, "tun0": 65534}, {}])
def test_a_tunnel_is_no_wire(kinds):
    assert "wire" in read_capture(STARTED, ended(interfaces=kinds)).problem
