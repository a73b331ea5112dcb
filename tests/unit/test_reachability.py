"""A drop is a denial only if source, target and path are known to live, and nothing else holds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pytest_zerotrust.core.observation import DnsObservation, Observation, Seen
from pytest_zerotrust.core.reachability import (
    DnsFacts,
    Expected,
    FlowFacts,
    Liveness,
    judge_dns,
    judge_flow,
)
from pytest_zerotrust.core.verdict import Verdict

REFUSALS = {Seen.DROPPED, Seen.REFUSED, Seen.UNREACHABLE}
NAMES = ("source", "target", "path", "service")


def lives(name: str, alive: bool) -> Liveness:
    return Liveness(alive, f"{name} {'lives' if alive else 'was not shown to live'}")


def facts(
    expected: Expected, *seen: Seen, dead: tuple[str, ...] = (), service: bool = True
) -> FlowFacts:
    return FlowFacts(
        control="ZT-NET-001",
        subject="a->b:80",
        source="x/a",
        target="y/b:80/tcp",
        expected=expected,
        held=tuple(Observation(seen=s, ms=1.0) for s in seen),
        rounds=max(len(seen), 3),
        source_lives=lives("source", "source" not in dead),
        target_lives=lives("target", "target" not in dead),
        path_lives=lives("path", "path" not in dead),
        service_lives=lives("service", "service" not in dead) if service else None,
        remedy="mend it",
    )


@pytest.mark.parametrize("unserved", [True, False])
@pytest.mark.parametrize("expected", Expected)
def test_a_protocol_that_the_kernel_lacks_is_never_a_pass_and_never_a_violation(
    expected: Expected, unserved: bool
):
    seen = facts(expected, Seen.UNSUPPORTED, Seen.UNSUPPORTED)
    result = judge_flow(replace(seen, unserved=unserved))
    nothing = unserved and expected is Expected.DENIED
    assert result.verdict is (Verdict.NOT_APPLICABLE if nothing else Verdict.INCONCLUSIVE)
    assert result.reason == "protocol-not-supported"
    assert "lack" in result.headline


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [c for n in range(len(names) + 1) for c in itertools.combinations(names, n)]


def verdict_by_the_book(seen: Seen, expected: Expected, dead: tuple[str, ...]) -> Verdict:
    if seen is Seen.OPEN:
        return Verdict.HOLDS if expected is Expected.ALLOWED else Verdict.VIOLATED
    if seen not in REFUSALS or dead:
        return Verdict.INCONCLUSIVE
    return Verdict.HOLDS if expected is Expected.DENIED else Verdict.VIOLATED


@pytest.mark.parametrize("expected", Expected)
@pytest.mark.parametrize("seen", Seen)
def test_every_observation_with_every_missing_control_has_the_verdict_of_the_book(seen, expected):
    for service in (True, False):
        for dead in subsets(NAMES if service else NAMES[:3]):
            result = judge_flow(facts(expected, seen, seen, dead=dead, service=service))
            assert result.verdict is verdict_by_the_book(seen, expected, dead), dead


@pytest.mark.parametrize("seen", [s for s in Seen if s is not Seen.OPEN])
@pytest.mark.parametrize("missing", NAMES)
def test_nothing_refused_holds_without_all_of_its_controls(seen, missing):
    for also in subsets(tuple(n for n in NAMES if n != missing)):
        result = judge_flow(facts(Expected.DENIED, seen, seen, dead=(missing, *also)))
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.reason


@pytest.mark.parametrize("missing", NAMES)
def test_a_missing_control_is_named_with_what_is_missing(missing):
    result = judge_flow(facts(Expected.DENIED, Seen.DROPPED, Seen.DROPPED, dead=(missing,)))
    assert result.reason == f"{missing}-not-alive"
    assert f"{missing} was not shown to live" in result.headline
    assert any(line.startswith(f"{missing}: NOT SHOWN") for line in result.controls)


@pytest.mark.parametrize("length", [2, 3])
def test_a_mixture_of_observations_never_holds(length):
    for seen in itertools.product(Seen, repeat=length):
        if len(set(seen)) == 1:
            continue
        for expected in Expected:
            verdict = judge_flow(facts(expected, *seen)).verdict
            leaked = expected is Expected.DENIED and Seen.OPEN in seen
            assert verdict is (Verdict.VIOLATED if leaked else Verdict.INCONCLUSIVE), seen


@pytest.mark.parametrize("expected", Expected)
def test_a_flow_that_nobody_observed_is_inconclusive(expected):
    result = judge_flow(facts(expected))
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "not-observed")


@pytest.mark.parametrize("dead", subsets(NAMES))
def test_a_leak_is_a_violation_whatever_the_controls_say(dead):
    result = judge_flow(facts(Expected.DENIED, Seen.OPEN, Seen.DROPPED, dead=dead))
    assert result.verdict is Verdict.VIOLATED


def test_a_violation_says_who_reached_whom_what_was_expected_and_what_to_do():
    result = judge_flow(facts(Expected.DENIED, Seen.OPEN, Seen.OPEN))
    assert result.headline == "ZT-NET-001 x/a -> y/b:80/tcp REACHED, expected DENIED"
    assert result.remedy == "mend it"


@pytest.mark.parametrize(
    ("expected", "seen"),
    [(Expected.ALLOWED, Seen.OPEN), (Expected.DENIED, Seen.DROPPED), (Expected.DENIED, Seen.CUT)],
)
def test_only_a_violation_carries_a_remedy(expected, seen):
    assert judge_flow(facts(expected, seen, seen)).remedy == ""


def test_each_observation_tells_its_round_of_how_many():
    result = judge_flow(facts(Expected.DENIED, Seen.DROPPED, Seen.DROPPED))
    assert [line.rpartition("(")[2] for line in result.observed] == [
        "round 2 of 3)",
        "round 3 of 3)",
    ]


def dns(udp: Seen, tcp: Seen, *, source: bool = True, server: bool = True) -> DnsFacts:
    return DnsFacts(
        control="ZT-NET-004",
        subject="a",
        source="x/a",
        name="kubernetes.default.svc",
        udp=DnsObservation(seen=udp),
        tcp=DnsObservation(seen=tcp),
        source_lives=lives("source", source),
        dns_lives=lives("dns", server),
        remedy="mend it",
    )


@pytest.mark.parametrize("tcp", Seen)
@pytest.mark.parametrize("udp", Seen)
def test_names_resolve_only_if_both_protocols_answer(udp, tcp):
    for source, server in itertools.product((True, False), repeat=2):
        verdict = judge_dns(dns(udp, tcp, source=source, server=server)).verdict
        failed = {udp, tcp} - {Seen.OPEN}
        if not failed:
            assert verdict is Verdict.HOLDS
        elif source and server and failed <= REFUSALS:
            assert verdict is Verdict.VIOLATED
        else:
            assert verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("udp", "tcp", "words"),
    [
        (Seen.DROPPED, Seen.OPEN, "over UDP,"),
        (Seen.OPEN, Seen.DROPPED, "over TCP,"),
        (Seen.DROPPED, Seen.REFUSED, "over UDP and TCP,"),
    ],
)
def test_a_denied_look_up_names_the_protocols_that_failed(udp, tcp, words):
    result = judge_dns(dns(udp, tcp))
    assert words in result.headline
    assert result.remedy == "mend it"
