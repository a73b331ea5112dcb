"""Random policies against an independent oracle, and what must be true of any policy."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_zerotrust.core.policy import Dialect, Endpoint, Kind, Outcome, PolicySet, parse_policy
from tests import policy_oracle as oracle
from tests.live.random_policies import Vocabulary, random_case

NAMESPACES = ("red", "plain")
LABELS = {"red": {"team": "red"}, "plain": {}}
PORTS: tuple[dict[str, tuple[int, str]], ...] = (
    {"zt-same": (8080, "TCP"), "zt-two": (8080, "TCP")},
    {"zt-same": (8080, "TCP"), "zt-two": (8081, "TCP")},
    {},
)
ADDRESSES = tuple(f"10.244.{n}.{i}" for n in range(2) for i in range(1, 4))
WORDS = Vocabulary(mark="m", namespaces=NAMESPACES, addresses=ADDRESSES)
NAMES = {
    name: frozenset(ports[name] for ports in PORTS if name in ports)
    for name in ("zt-same", "zt-two")
}


def _pods() -> list[dict[str, Any]]:
    found = []
    for n, namespace in enumerate(NAMESPACES):
        for i in range(3):
            labels = {"app": "abc"[i], **({"tier": "gold"} if i == 1 else {})}
            found.append({
                "name": f"p{i}", "namespace": namespace, "labels": labels,
                "ip": f"10.244.{n}.{i + 1}", "ports": PORTS[i],
            })  # fmt: skip
    return found


ENDPOINTS = [
    Endpoint(kind=Kind.POD, namespace_labels=LABELS[p["namespace"]], service_account="default",
             node="n", **p)
    for p in _pods()
]  # fmt: skip
PODS = [
    oracle.Pod(p["name"], p["namespace"], p["labels"], LABELS[p["namespace"]], p["ip"], p["ports"])
    for p in _pods()
]
FLOWS = [
    (s, t, port, protocol)
    for s in range(6)
    for t in range(6)
    if s != t
    for port, protocol in ((8080, "TCP"), (8081, "TCP"), (8080, "UDP"))
]
cases = st.integers(0, 2**48).map(lambda seed: random_case(random.Random(seed), WORDS))


def outcomes(policies: list[dict[str, Any]], dialect: Dialect) -> list[Outcome]:
    rules = PolicySet(map(parse_policy, policies), dialect=dialect, named_ports=NAMES)
    return [
        rules.decide(ENDPOINTS[s], ENDPOINTS[t], port, protocol).outcome
        for s, t, port, protocol in FLOWS
    ]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(cases, st.sampled_from(Dialect))
def test_the_oracle_agrees_on_every_flow(policies, dialect):
    expected = [
        Outcome.ALLOWED
        if oracle.passes(policies, PODS[s], PODS[t], port, protocol,
                         cilium=dialect is Dialect.CILIUM, names=NAMES)
        else Outcome.DENIED
        for s, t, port, protocol in FLOWS
    ]  # fmt: skip
    assert outcomes(policies, dialect) == expected


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases, st.randoms(use_true_random=False), st.sampled_from(Dialect))
def test_a_field_that_is_not_understood_never_turns_one_answer_into_the_other(
    policies, dice, dialect
):
    before = outcomes(policies, dialect)
    odd = copy.deepcopy(policies)
    places = [place for policy in odd for place in _objects(policy.get("spec", {}))]
    if not places:
        return
    dice.choice(places)["surprise"] = {"a": 1}
    for old, new in zip(before, outcomes(odd, dialect), strict=True):
        assert new in (old, Outcome.UNKNOWN)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(cases, st.sampled_from(Dialect))
def test_the_order_of_policies_does_not_matter(policies, dialect):
    assert outcomes(policies, dialect) == outcomes(policies[::-1], dialect)


def _objects(value: Any) -> list[dict[str, Any]]:
    """The spec and its rules; labels may have any key, so they are left out."""
    found = [value] if value else []
    for side in ("ingress", "egress", "ingressDeny", "egressDeny"):
        found += [rule for rule in value.get(side) or () if rule]
    return found
