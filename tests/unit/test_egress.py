"""Ways out: a leak is one answer, and a denial counts only where the reference gets through."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pytest_zerotrust.core.egress import CONNECTED, AddressFacts, EgressFacts, judge_egress
from pytest_zerotrust.core.intent import Outside, OutsideKind, Port
from pytest_zerotrust.core.observation import Observation, Seen, read_foreign
from pytest_zerotrust.core.reachability import REFUSALS, Expected, Liveness
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.network.egress import KUBERNETES, addresses

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
NOT_APPLICABLE = Verdict.NOT_APPLICABLE
ALIVE, DEAD = Liveness(True, "it lives"), Liveness(False, "nobody saw it")
DENIED, ALLOWED = Expected.DENIED, Expected.ALLOWED


def address(source: Seen, reference: Seen, where: str = "203.0.113.10:80/tcp") -> AddressFacts:
    return AddressFacts(
        address=where,
        held=(Observation(seen=source),) * 2,
        reference=(Observation(seen=reference),) * 2,
    )


def facts(*places: AddressFacts, expected: Expected = DENIED, source: Liveness = ALIVE):
    return EgressFacts(
        control="ZT-NET-006",
        subject="batch->website:80/tcp",
        source="jobs/batch",
        target="website:80/tcp",
        expected=expected,
        addresses=places,
        source_lives=source,
        remedy="Close it.",
    )


def verdict(*places: AddressFacts, **more) -> Verdict:
    return judge_egress(facts(*places, **more)).verdict


@pytest.mark.parametrize(("seen", "known"), list(itertools.product(Seen, Seen)))
@pytest.mark.parametrize("expected", [DENIED, ALLOWED])
def test_it_holds_only_for_what_was_shown(seen: Seen, known: Seen, expected: Expected):
    found = verdict(address(seen, known), expected=expected)
    if expected is DENIED:
        earned = seen in REFUSALS and known in (Seen.OPEN, *CONNECTED)
    else:
        earned = seen is Seen.OPEN
    assert (found is HOLDS) is earned


@pytest.mark.parametrize("known", Seen)
def test_one_answer_is_a_leak_whatever_the_reference_sees(known: Seen):
    assert verdict(address(Seen.OPEN, known)) is VIOLATED


@pytest.mark.parametrize("seen", CONNECTED)
def test_a_connection_without_an_answer_is_a_leak_if_it_is_so_for_everybody(seen: Seen):
    assert verdict(address(seen, seen)) is VIOLATED
    assert verdict(address(seen, Seen.OPEN)) is INCONCLUSIVE
    assert verdict(address(seen, seen), expected=ALLOWED) is INCONCLUSIVE


def test_an_answer_in_one_round_of_two_is_a_leak():
    mixed = AddressFacts(
        address="a",
        held=(Observation(seen=Seen.DROPPED), Observation(seen=Seen.OPEN)),
        reference=(Observation(seen=Seen.OPEN),) * 2,
    )
    assert verdict(mixed) is VIOLATED
    assert verdict(mixed, expected=ALLOWED) is INCONCLUSIVE


def test_what_nobody_can_reach_is_no_denial():
    assert verdict(address(Seen.DROPPED, Seen.DROPPED)) is INCONCLUSIVE
    assert verdict(address(Seen.DROPPED, Seen.REFUSED)) is NOT_APPLICABLE


def test_what_must_work_and_has_no_listener_is_never_passed_over():
    for known in (Seen.REFUSED, Seen.UNREACHABLE):
        assert verdict(address(Seen.REFUSED, known), expected=ALLOWED) is INCONCLUSIVE
        assert verdict(address(Seen.DROPPED, known), expected=ALLOWED) is INCONCLUSIVE
    assert verdict(address(Seen.DROPPED, Seen.UNREACHABLE)) is INCONCLUSIVE


def test_a_name_that_led_to_two_addresses_shows_nothing():
    place = AddressFacts(
        address="www.example.com:80/tcp",
        held=(Observation(seen=Seen.DROPPED, address="203.0.113.1"),) * 2,
        reference=(Observation(seen=Seen.OPEN, address="203.0.113.2"),) * 2,
    )
    assert verdict(place) is INCONCLUSIVE


def test_a_dead_source_denies_nothing():
    assert verdict(address(Seen.DROPPED, Seen.OPEN), source=DEAD) is INCONCLUSIVE


def test_a_cut_way_out_is_a_violation_where_it_is_allowed():
    result = judge_egress(facts(address(Seen.DROPPED, Seen.OPEN), expected=ALLOWED))
    assert result.verdict is VIOLATED
    assert "DENIED (dropped) at 203.0.113.10:80/tcp, expected to be ALLOWED" in result.headline


def test_the_worst_address_speaks():
    closed = address(Seen.DROPPED, Seen.OPEN, "one")
    nobody = address(Seen.DROPPED, Seen.REFUSED, "two")
    unclear = address(Seen.DROPPED, Seen.DROPPED, "three")
    leak = address(Seen.OPEN, Seen.OPEN, "four")
    assert verdict(closed, nobody) is HOLDS
    assert verdict(nobody, nobody) is NOT_APPLICABLE
    assert verdict(closed, nobody, unclear) is INCONCLUSIVE
    assert verdict(closed, nobody, unclear, leak) is VIOLATED


def test_without_addresses_or_observations_nothing_is_shown():
    assert verdict() is INCONCLUSIVE
    empty = AddressFacts(address="a", held=(), reference=())
    assert verdict(empty) is INCONCLUSIVE
    assert verdict(replace(address(Seen.DROPPED, Seen.OPEN), reference=())) is INCONCLUSIVE


def test_any_answer_of_a_foreign_server_is_an_answer():
    report = {"stage": "exchange", "end": "closed", "data": "HTTP/1.0 400 Bad Request\r\n"}
    assert read_foreign(report).seen is Seen.OPEN
    assert read_foreign({**report, "data": ""}).seen is Seen.CLOSED
    assert read_foreign({"stage": "connect", "end": "timeout"}).seen is Seen.DROPPED
    assert read_foreign({"stage": "resolve", "end": "unresolved"}).seen is Seen.UNRESOLVED


NODES = {"n1": "172.16.0.1", "n2": "172.16.0.2"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (OutsideKind.API_SERVER, (KUBERNETES,)),
        (OutsideKind.KUBELET, ("172.16.0.1", "172.16.0.2")),
        (OutsideKind.ETCD, ("172.16.0.1", "172.16.0.2")),
        (OutsideKind.NODE, ("172.16.0.1", "172.16.0.2")),
        (OutsideKind.ADDRESS, ("203.0.113.10",)),
        (OutsideKind.METADATA, ("203.0.113.10",)),
        (OutsideKind.DNS_NAME, ("www.example.com",)),
    ],
)
def test_where_each_kind_of_destination_is_looked_for(kind, expected):
    outside = Outside(
        key="x", kind=kind, port=Port(80), address="203.0.113.10", dns_name="www.example.com"
    )
    assert addresses(outside, NODES) == expected
