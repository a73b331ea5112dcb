"""NetworkPolicy, by its letter and as Cilium reads it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.policy import node, world
from pytest_zerotrust.core.policy.match import NEVER_A_POD
from tests.policies import (
    ALLOWED,
    CILIUM,
    DENIED,
    LETTER,
    UNKNOWN,
    X,
    Y,
    Z,
    decision,
    network_policy,
    outcome,
    pod,
)

both = pytest.mark.parametrize("dialect", [LETTER, CILIUM])
FROM_X = {"from": [{"podSelector": {"matchLabels": {"app": "x"}}}]}
TO_Y = {"to": [{"podSelector": {"matchLabels": {"app": "y"}}}]}


def ingress(*rules: Any, **spec: Any) -> dict[str, Any]:
    return network_policy(podSelector={}, policyTypes=["Ingress"], ingress=list(rules), **spec)


def egress(*rules: Any, **spec: Any) -> dict[str, Any]:
    return network_policy(podSelector={}, policyTypes=["Egress"], egress=list(rules), **spec)


@both
def test_without_policies_everything_passes(dialect):
    found = decision(dialect=dialect)
    assert found.outcome is ALLOWED
    assert found.egress.selecting == found.ingress.selecting == ()


@both
def test_a_default_deny_names_itself(dialect):
    found = decision(
        network_policy("deny", podSelector={}, policyTypes=["Ingress", "Egress"]), dialect=dialect
    )
    assert found.outcome is DENIED
    assert found.ingress.isolated_by == found.egress.isolated_by == ("NetworkPolicy a/deny",)


@both
@pytest.mark.parametrize(
    ("spec", "source", "wanted"),
    [
        ({}, Z, DENIED),
        ({"egress": [{}]}, Z, DENIED),
        ({"policyTypes": []}, Z, DENIED),
        ({"policyTypes": ["Egress"]}, Z, ALLOWED),
    ],
)
def test_policy_types_that_are_left_out_mean_ingress(spec, source, wanted, dialect):
    assert outcome(network_policy(**spec), source=source, dialect=dialect) is wanted


@both
def test_policy_types_that_are_left_out_mean_egress_where_egress_rules_are(dialect):
    policy = network_policy(egress=[TO_Y], ingress=[{}])
    assert outcome(policy, target=Y, dialect=dialect) is ALLOWED
    assert outcome(policy, target=Z, dialect=dialect) is DENIED


def test_cilium_takes_egress_rules_that_policy_types_leave_out():
    policy = network_policy(podSelector={}, policyTypes=["Ingress"], ingress=[{}], egress=[TO_Y])
    letter = decision(policy, target=Z, dialect=LETTER)
    assert letter.outcome is ALLOWED
    assert letter.notes == (
        "NetworkPolicy a/p has egress rules, but its policyTypes leave egress out",
    )
    assert outcome(policy, target=Z, dialect=CILIUM) is DENIED


@both
def test_an_empty_rule_allows_everything_and_no_rule_nothing(dialect):
    assert outcome(ingress({}), dialect=dialect) is ALLOWED
    assert outcome(ingress({"from": [], "ports": []}), dialect=dialect) is ALLOWED
    assert outcome(ingress(), dialect=dialect) is DENIED
    assert outcome(ingress({}), source=world("203.0.113.9"), dialect=dialect) is ALLOWED


@both
def test_policies_add_up(dialect):
    deny = network_policy("deny", podSelector={}, policyTypes=["Ingress"])
    found = decision(deny, ingress(FROM_X), dialect=dialect)
    assert found.outcome is ALLOWED
    assert found.ingress.allowed_by == ("NetworkPolicy a/p ingress[0]",)
    assert found.ingress.selecting == ("NetworkPolicy a/deny", "NetworkPolicy a/p")


@both
def test_a_flow_needs_both_halves(dialect):
    deny = network_policy("deny", podSelector={}, policyTypes=["Ingress", "Egress"])
    found = decision(deny, ingress(FROM_X), dialect=dialect)
    assert (found.egress.outcome, found.ingress.outcome) == (DENIED, ALLOWED)
    assert found.outcome is DENIED
    both_halves = egress(TO_Y)
    both_halves["metadata"]["name"] = "out"
    assert outcome(deny, ingress(FROM_X), both_halves, dialect=dialect) is ALLOWED


@both
def test_policies_of_other_namespaces_say_nothing(dialect):
    deny = network_policy("deny", "b", podSelector={}, policyTypes=["Ingress", "Egress"])
    assert outcome(deny, dialect=dialect) is ALLOWED
    assert outcome(deny, source=Z, dialect=dialect) is DENIED


@both
@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({}, True),
        ({"matchLabels": {"app": "y"}}, True),
        ({"matchLabels": {"app": "x"}}, False),
        ({"matchLabels": {"app": "y", "tier": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["y"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
    ],
)
def test_selectors(selector, chosen, dialect):
    policy = network_policy(podSelector=selector, policyTypes=["Ingress"])
    assert outcome(policy, dialect=dialect) is (DENIED if chosen else ALLOWED)


@both
@pytest.mark.parametrize(
    "selector",
    [
        {"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]},
        {"matchExpressions": [{"operator": "Exists"}]},
        {"matchExpressions": "app"},
        {"matchLabels": ["app"]},
        {"matchSomething": {}},
        "app=y",
    ],
)
def test_a_selector_that_is_not_understood_makes_the_outcome_unknown(selector, dialect):
    policy = network_policy(podSelector=selector, policyTypes=["Ingress"])
    found = decision(policy, dialect=dialect)
    assert found.outcome is UNKNOWN
    assert found.why


@both
@pytest.mark.parametrize(
    ("peer", "x", "z"),
    [
        ({"podSelector": {}}, True, False),
        ({"podSelector": {"matchLabels": {"app": "z"}}}, False, False),
        ({"namespaceSelector": {}}, True, True),
        ({"namespaceSelector": {"matchLabels": {"team": "team-b"}}}, False, True),
        ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}}, False, True),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "z"}}}, False, True),
        (
            {
                "namespaceSelector": {"matchLabels": {"team": "team-a"}},
                "podSelector": {"matchLabels": {"app": "z"}},
            },
            False,
            False,
        ),
    ],
)
def test_peers(peer, x, z, dialect):
    policy = ingress({"from": [peer]})
    assert outcome(policy, source=X, dialect=dialect) is (ALLOWED if x else DENIED)
    assert outcome(policy, source=Z, dialect=dialect) is (ALLOWED if z else DENIED)


@both
def test_labels_of_a_namespace_that_are_not_known_make_it_unknown(dialect):
    policy = ingress({"from": [{"namespaceSelector": {"matchLabels": {"team": "team-b"}}}]})
    blind = pod("z", "b", namespace_labels=None)
    found = decision(policy, source=blind, dialect=dialect)
    assert found.outcome is UNKNOWN
    assert found.why == ("the labels of namespace b are not known",)
    by_name = ingress(
        {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "b"}}}]}
    )
    assert outcome(by_name, source=blind, dialect=dialect) is ALLOWED


BLOCK = {"ipBlock": {"cidr": "10.0.0.0/16", "except": ["10.0.1.0/24"]}}


def test_an_ip_block_selects_pods_by_the_letter_and_never_in_cilium():
    policy = ingress({"from": [BLOCK]})
    assert outcome(policy, source=X, dialect=LETTER) is ALLOWED
    assert outcome(policy, source=Z, dialect=LETTER) is DENIED
    found = decision(policy, source=X, dialect=CILIUM)
    assert found.outcome is DENIED
    assert found.notes == (NEVER_A_POD,)
    assert decision(policy, source=Z, dialect=CILIUM).notes == ()


@both
def test_an_ip_block_selects_addresses_outside(dialect):
    policy = egress({"to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.8/32"]}}]})
    assert outcome(policy, target=world("203.0.113.9"), dialect=dialect) is ALLOWED
    assert outcome(policy, target=world("203.0.113.8"), dialect=dialect) is DENIED
    assert outcome(policy, target=world("198.51.100.1"), dialect=dialect) is DENIED
    assert outcome(policy, target=world("2001:db8::1"), dialect=dialect) is DENIED
    assert outcome(policy, target=world("by.name"), dialect=dialect) is UNKNOWN


@both
@pytest.mark.parametrize(
    ("ports", "port", "protocol", "fits"),
    [
        ([{"port": 8080}], 8080, "TCP", True),
        ([{"port": 8080}], 8080, "UDP", False),
        ([{"port": 8080}], 8081, "TCP", False),
        ([{"port": 8080, "protocol": "UDP"}], 8080, "UDP", True),
        ([{"port": 8080, "protocol": "UDP"}], 8080, "TCP", False),
        ([{"protocol": "UDP"}], 99, "UDP", True),
        ([{"protocol": "UDP"}], 99, "TCP", False),
        ([{"port": 8000, "endPort": 8100}], 8000, "TCP", True),
        ([{"port": 8000, "endPort": 8100}], 8100, "TCP", True),
        ([{"port": 8000, "endPort": 8100}], 8101, "TCP", False),
        ([{"port": 8000, "endPort": 8100}], 7999, "TCP", False),
        ([{"port": "web"}], 8080, "TCP", True),
        ([{"port": "web"}], 8081, "TCP", False),
        ([{"port": "web", "protocol": "UDP"}], 8080, "UDP", False),
        ([{"port": "dns", "protocol": "UDP"}], 53, "UDP", True),
        ([{"port": "dns"}], 53, "TCP", False),
        ([{"port": "other"}], 8080, "TCP", False),
        ([{"port": 1}, {"port": 8080}], 8080, "TCP", True),
    ],
)
def test_ports(ports, port, protocol, fits, dialect):
    policy = ingress({"ports": ports})
    assert outcome(policy, port=port, protocol=protocol, dialect=dialect) is (
        ALLOWED if fits else DENIED
    )


@both
@pytest.mark.parametrize(
    "odd",
    [
        {"ports": [{"port": "web", "endPort": 9}]},
        {"ports": [{"endPort": 9}]},
        {"ports": [{"port": 8080, "protocol": "GRE"}]},
        {"ports": [{"port": True}]},
        {"ports": [{"port": 8080, "speed": "high"}]},
        {"ports": ["8080"]},
        {"from": [{}]},
        {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]},
        {"from": [{"ipBlock": {"cidr": "ten"}}]},
        {"from": [{"ipBlock": {}}]},
        {"from": [{"sidecarSelector": {}}]},
        {"from": ["x"]},
        {"weather": "fine"},
        "rule",
    ],
)
def test_a_rule_that_is_not_understood_makes_the_outcome_unknown(odd, dialect):
    found = decision(ingress(odd), dialect=dialect)
    assert found.outcome is UNKNOWN
    assert found.why


@both
def test_what_is_not_understood_does_not_matter_where_the_rest_decides(dialect):
    odd = ingress({"from": [{"sidecarSelector": {}}], "ports": [{"port": 1}]})
    assert outcome(odd, dialect=dialect) is DENIED
    assert outcome(odd, ingress(FROM_X), dialect=dialect) is ALLOWED


def test_port_names_of_egress_rules():
    policy = egress({**TO_Y, "ports": [{"port": "web"}]})
    assert outcome(policy, dialect=LETTER) is ALLOWED
    found = decision(policy, dialect=CILIUM)
    assert found.outcome is UNKNOWN
    assert "'web'" in found.why[0]
    one = {"web": frozenset({(8080, "TCP"), (8080, "UDP")})}
    two = {"web": frozenset({(8080, "TCP"), (80, "TCP")})}
    assert outcome(policy, dialect=CILIUM, named_ports=one) is ALLOWED
    assert outcome(policy, dialect=CILIUM, named_ports=two) is DENIED
    assert outcome(policy, dialect=CILIUM, named_ports={}) is DENIED


@both
def test_a_pod_reaches_itself(dialect):
    deny = network_policy("deny", podSelector={}, policyTypes=["Ingress", "Egress"])
    assert outcome(deny, source=Y, target=Y, dialect=dialect) is ALLOWED


def test_traffic_between_a_pod_and_its_own_node():
    deny = network_policy("deny", podSelector={}, policyTypes=["Ingress", "Egress"])
    here, there, somewhere = node("n1"), node("n2"), node("")
    for dialect in (LETTER, CILIUM):
        assert outcome(deny, source=here, dialect=dialect) is ALLOWED
        assert outcome(deny, source=there, dialect=dialect) is DENIED
        assert outcome(deny, source=somewhere, dialect=dialect) is UNKNOWN
        assert outcome(deny, target=there, dialect=dialect) is DENIED
    assert outcome(deny, target=here, dialect=LETTER) is ALLOWED
    assert outcome(deny, target=here, dialect=CILIUM) is DENIED


def test_an_address_block_and_a_node():
    policy = egress({"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]})
    inside, outside = node("n2", ip="192.0.2.2"), node("n2", ip="198.51.100.2")
    assert outcome(policy, target=inside, dialect=LETTER) is ALLOWED
    assert outcome(policy, target=inside, dialect=CILIUM) is UNKNOWN
    assert outcome(policy, target=outside, dialect=CILIUM) is DENIED


def test_pods_in_the_network_of_their_node():
    deny = network_policy("deny", podSelector={}, policyTypes=["Ingress", "Egress"])
    hosted = pod("h", host_network=True, node="n2")
    assert outcome(deny, source=hosted, target=Z, dialect=LETTER) is UNKNOWN
    assert outcome(deny, source=hosted, target=Z, dialect=CILIUM) is ALLOWED
    allow = ingress({"from": [{"podSelector": {}}]})
    assert outcome(allow, source=hosted, dialect=LETTER) is UNKNOWN
    assert outcome(allow, source=hosted, dialect=CILIUM) is DENIED


def test_a_selector_of_absence_may_fit_the_world_in_cilium():
    rule = {"from": [{"namespaceSelector": {
        "matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["q"]}]}}]}  # fmt: skip
    outside = world("203.0.113.9")
    assert outcome(ingress(rule), source=outside, dialect=LETTER) is DENIED
    assert outcome(ingress(rule), source=outside, dialect=CILIUM) is UNKNOWN
    assert outcome(ingress(rule), source=Z, dialect=CILIUM) is ALLOWED


@pytest.mark.parametrize("key", ["pod-template-hash", "kubernetes.io/arch", "k8s.io/x"])
def test_labels_that_cilium_leaves_out_of_an_identity(key):
    policy = network_policy(podSelector={"matchLabels": {key: "1"}}, policyTypes=["Ingress"])
    target = pod("y", labels={key: "1"})
    assert outcome(policy, target=target, dialect=LETTER) is DENIED
    assert outcome(policy, target=target, dialect=CILIUM) is ALLOWED


@pytest.mark.parametrize("key", ["app.kubernetes.io/name", "zerotrust.dev/run", "app"])
def test_labels_that_cilium_keeps(key):
    policy = network_policy(podSelector={"matchLabels": {key: "1"}}, policyTypes=["Ingress"])
    assert outcome(policy, target=pod("y", labels={key: "1"}), dialect=CILIUM) is DENIED


def test_a_protocol_that_is_not_evaluated_is_unknown():
    assert outcome(protocol="ICMP") is UNKNOWN
