"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.policy import bare_pods, idle_policies, node, parse_policy, world
from tests.policies import (
    ALLOWED,
    CILIUM,
    DENIED,
    LETTER,
    UNKNOWN,
    X,
    Y,
    Z,
    cilium_policy,
    decision,
    network_policy,
    outcome,
    pod,
)

OUTSIDE = world("203.0.113.9")
EVERYONE: dict[str, Any] = {"endpointSelector": {}}


def ingress(*rules: Any, namespace: str | None = "a", **spec: Any) -> dict[str, Any]:
    return cilium_policy(namespace=namespace, **EVERYONE, ingress=list(rules), **spec)


def egress(*rules: Any, namespace: str | None = "a", **spec: Any) -> dict[str, Any]:
    return cilium_policy(namespace=namespace, **EVERYONE, egress=list(rules), **spec)


def labels(**selected: str) -> dict[str, Any]:
    return {"matchLabels": {k.replace("__", ":"): v for k, v in selected.items()}}


PORT = {"toPorts": [{"ports": [{"port": "8080", "protocol": "TCP"}]}]}


def test_where_nothing_shows_that_cilium_runs_its_policies_say_nothing():
    found = decision(ingress({}), dialect=LETTER)
    assert found.outcome is ALLOWED
    assert found.notes == (
        "CiliumNetworkPolicy a/c says nothing here: nothing shows that Cilium runs",
    )


@pytest.mark.parametrize(
    ("rule", "x", "z", "outside"),
    [
        ({}, False, False, False),
        ({"fromEndpoints": []}, False, False, False),
        ({"fromEndpoints": [{}]}, True, False, False),
        ({"fromEndpoints": [labels(app="x")]}, True, False, False),
        ({"fromEndpoints": [labels(k8s__app="x")]}, True, False, False),
        ({"fromEndpoints": [labels(any__app="x")]}, True, False, False),
        ({"fromEndpoints": [labels(reserved__app="x")]}, False, False, False),
        ({"fromEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "b"}}]},
         False, True, False),
        ({"fromEndpoints": [{"matchLabels": {"io.kubernetes.pod.namespace": "b"}}]},
         False, True, False),
        ({"fromEndpoints": [{"matchExpressions": [
            {"key": "k8s:io.kubernetes.pod.namespace", "operator": "Exists"}]}]},
         True, True, False),
        ({"fromEndpoints": [
            {"matchLabels": {"k8s:io.cilium.k8s.namespace.labels.team": "team-b"}}]},
         False, True, False),
        ({"fromEndpoints": [{"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "x"}}]},
         True, False, False),
        (PORT, True, True, True),
        ({"fromEndpoints": [], **PORT}, False, False, False),
        ({"fromEntities": ["all"]}, True, True, True),
        ({"fromEntities": ["cluster"]}, True, True, False),
        ({"fromEntities": ["world"]}, False, False, True),
        ({"fromEntities": ["none"]}, False, False, False),
        ({"fromEntities": ["host", "remote-node", "kube-apiserver"]}, False, False, False),
        ({"fromEntities": []}, False, False, False),
        ({"fromCIDR": ["10.0.0.0/8", "203.0.113.9"]}, False, False, True),
        ({"fromCIDR": ["0.0.0.0/0"]}, False, False, True),
        ({"fromCIDRSet": [{"cidr": "203.0.113.0/24", "except": ["203.0.113.8/29"]}]},
         False, False, False),
        ({"icmps": [{"fields": [{"type": 8}]}]}, False, False, False),
        ({"fromEndpoints": [{}], "icmps": [{"fields": [{"type": 8}]}]}, False, False, False),
        ({"fromEndpoints": [{}], "toPorts": []}, True, False, False),
        ({"fromEndpoints": [{}], "toPorts": [{}]}, False, False, False),
    ],
)  # fmt: skip
def test_peers(rule, x, z, outside):
    policy = ingress(rule)
    found = [outcome(policy, source=source) for source in (X, Z, OUTSIDE)]
    assert found == [ALLOWED if through else DENIED for through in (x, z, outside)]


def test_a_cluster_wide_policy_means_pods_of_all_namespaces():
    policy = ingress({"fromEndpoints": [labels(app="z")]}, namespace=None)
    assert outcome(policy, source=Z) is ALLOWED
    assert outcome(policy, source=X) is DENIED
    anyone = ingress({"fromEndpoints": [{}]}, namespace=None)
    assert [outcome(anyone, source=s) for s in (X, Z, OUTSIDE)] == [ALLOWED, ALLOWED, DENIED]
    assert decision(policy, source=X).ingress.isolated_by == ("CiliumClusterwideNetworkPolicy c",)


def test_a_policy_speaks_of_its_own_namespace_only():
    selector = {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "b"}}
    policy = cilium_policy(endpointSelector=selector, ingress=[{}])
    assert outcome(policy, source=X, target=Y) is DENIED
    assert outcome(policy, source=X, target=Z) is ALLOWED


def test_spec_and_specs_both_count():
    policy = ingress({})
    policy["specs"] = [{"endpointSelector": labels(app="y"), "ingress": [PORT]}]
    assert outcome(policy) is ALLOWED
    assert outcome(policy, port=1) is DENIED
    del policy["spec"]
    assert outcome(policy, target=pod("w"), port=1) is ALLOWED


def test_each_of_the_specs_counts_with_its_own_rules():
    policy = cilium_policy()
    del policy["spec"]
    anyone = {"endpointSelector": {}, "ingress": [{"fromEndpoints": [labels(app="x")]}]}
    other = {"endpointSelector": {}, "ingress": [{"fromEndpoints": [labels(app="w")]}]}
    soft = {**other, "enableDefaultDeny": {"ingress": False}}
    for specs in ([anyone, other], [other, anyone]):
        found = decision({**policy, "specs": specs})
        assert found.outcome is ALLOWED
        place = f"specs[{specs.index(anyone)}].ingress[0]"
        assert found.ingress.allowed_by == (f"CiliumNetworkPolicy a/c {place}",)
    for specs in ([other, soft], [soft, other]):
        assert outcome({**policy, "specs": specs}) is DENIED


def test_deny_rules_win():
    allow = ingress({"fromEntities": ["all"]})
    refuse = cilium_policy("no", **EVERYONE, ingressDeny=[{"fromEndpoints": [labels(app="x")]}])
    found = decision(allow, refuse)
    assert found.outcome is DENIED
    assert found.ingress.denied_by == ("CiliumNetworkPolicy a/no ingressDeny[0]",)
    assert outcome(allow, refuse, source=pod("w")) is ALLOWED
    out = cilium_policy("no", **EVERYONE, egressDeny=[{"toEndpoints": [labels(app="y")], **PORT}])
    everywhere = egress({"toEntities": ["all"]})
    assert outcome(everywhere, out) is DENIED
    assert outcome(everywhere, out, port=1) is ALLOWED


def test_default_deny_can_be_switched_off():
    soft = {"enableDefaultDeny": {"ingress": False, "egress": False}}
    policy = ingress({"fromEndpoints": [labels(app="w")]}, **soft)
    assert outcome(policy) is ALLOWED
    refuse = cilium_policy(**EVERYONE, **soft, ingressDeny=[{"fromEndpoints": [labels(app="x")]}])
    assert outcome(refuse) is DENIED
    assert outcome(refuse, source=Z) is ALLOWED
    hard = network_policy("deny", podSelector={}, policyTypes=["Ingress"])
    assert outcome(policy, hard) is DENIED
    assert outcome(policy, hard, source=pod("w")) is ALLOWED


@pytest.mark.parametrize(
    ("port", "fits"),
    [
        ({"port": "8080"}, True),
        ({"port": "8080", "protocol": "ANY"}, True),
        ({"port": "8080", "protocol": "UDP"}, False),
        ({"port": "8000", "endPort": 8100, "protocol": "TCP"}, True),
        ({"port": "8000", "endPort": 8079, "protocol": "TCP"}, False),
        ({"port": "0", "protocol": "TCP"}, True),
        ({"port": "0", "protocol": "UDP"}, False),
        ({"port": "web", "protocol": "TCP"}, True),
        ({"port": "WEB"}, True),
        ({"port": "other"}, False),
    ],
)
def test_ports(port, fits):
    assert outcome(ingress({"toPorts": [{"ports": [port]}]})) is (ALLOWED if fits else DENIED)


def test_requirements_narrow_down_every_rule_by_labels():
    demand = ingress({"fromRequires": [{"matchLabels": {"tier": "gold"}}]})
    allow = cilium_policy("allow", **EVERYONE, ingress=[{"fromEndpoints": [{}]}])
    gold = pod("g", labels={"tier": "gold"})
    assert outcome(demand, allow, source=X) is DENIED
    assert outcome(demand, allow, source=gold) is ALLOWED
    entities = cilium_policy("allow", **EVERYONE, ingress=[{"fromEntities": ["cluster"]}])
    assert outcome(demand, entities, source=X) is ALLOWED


def test_requirements_narrow_down_network_policies_as_well():
    demand = ingress({"fromRequires": [{"matchLabels": {"tier": "gold"}}]})
    gold = pod("g", labels={"tier": "gold"})
    for rule in ({}, {"from": [{"podSelector": {}}]}, {"from": [{"namespaceSelector": {}}]}):
        policy = network_policy(podSelector={}, policyTypes=["Ingress"], ingress=[rule])
        assert outcome(demand, policy, source=X) is DENIED
        assert outcome(demand, policy, source=gold) is ALLOWED
        assert outcome(demand, policy, source=X, dialect=LETTER) is ALLOWED
    ports = cilium_policy("ports", **EVERYONE, ingress=[PORT])
    assert outcome(demand, ports, source=X) is ALLOWED


def test_nodes():
    here, there, api = node("n1"), node("n2"), node("n2", kube_apiserver=True)

    def reached(entity: str) -> list[Any]:
        policy = egress({"toEntities": [entity]})
        return [outcome(policy, target=t) for t in (here, there, api)]

    assert reached("host") == [ALLOWED, DENIED, DENIED]
    assert reached("remote-node") == [DENIED, ALLOWED, ALLOWED]
    assert reached("kube-apiserver") == [UNKNOWN, UNKNOWN, ALLOWED]
    assert reached("cluster") == [ALLOWED, ALLOWED, ALLOWED]
    assert reached("world") == [DENIED, DENIED, DENIED]
    unplaced = pod("x", node="")
    policy = egress({"toEntities": ["host"]})
    assert outcome(policy, source=unplaced, target=there) is UNKNOWN


def test_what_comes_from_a_pods_own_node_gets_in_unless_it_is_refused():
    assert outcome(ingress({}), source=node("n1")) is ALLOWED
    assert outcome(ingress({}), source=node("n2")) is DENIED
    refuse = cilium_policy("no", **EVERYONE, ingressDeny=[{"fromEntities": ["host"]}])
    assert outcome(ingress({}), refuse, source=node("n1")) is DENIED


def test_policies_for_nodes_are_not_evaluated():
    policy = cilium_policy(namespace=None, nodeSelector={}, ingress=[{}])
    assert outcome(policy) is ALLOWED
    assert outcome(policy, target=node("n2")) is UNKNOWN


@pytest.mark.parametrize(
    "rule",
    [
        {"toServices": [{"k8sService": {"serviceName": "s"}}]},
        {"toGroups": [{"aws": {}}]},
        {"toNodes": [{}]},
        {"toEndpoints": [{}], "authentication": {"mode": "required"}},
        {"toPorts": [{"ports": [{"port": "8080"}], "rules": {"http": [{}]}}]},
        {"toPorts": [{"ports": [{"port": "8080"}], "serverNames": ["a.b"]}]},
        {"toPorts": [{"ports": [{"port": "8080"}], "listener": {"name": "l"}}]},
        {"toPorts": [{"ports": [{"port": "web"}]}]},
        {"toPorts": [{"ports": [{"port": "80 80"}]}]},
        {"toPorts": [{"ports": [{"port": "0", "endPort": 9}]}]},
        {"toPorts": [{"doors": []}]},
        {"toPorts": {"ports": []}},
        {"toEndpoints": [{"matchLabels": {"io.cilium.k8s.policy.cluster": "here"}}]},
        {"toEndpoints": [{"matchLabels": {"cidr:10.0.0.0/8": ""}}]},
        {"toEndpoints": {}, "toTrees": []},
        {"toEntities": ["moon"]},
        {"toEndpoints": [{}], "toEntities": ["world"]},
        {"toPorts": [{"ports": [{"port": "8080"}]}], "icmps": [{}]},
    ],
)
def test_what_is_not_evaluated_is_unknown(rule):
    found = decision(egress(rule))
    assert found.outcome is UNKNOWN, found
    assert found.why


def test_layer_7_rules_do_not_matter_where_the_port_is_another_one():
    rule = {"toPorts": [{"ports": [{"port": "8080"}], "rules": {"http": [{}]}}]}
    assert outcome(egress(rule), port=1) is DENIED


def test_names_and_groups_of_addresses_concern_the_world_only():
    for rule in (
        {"toFQDNs": [{"matchName": "example.com"}]},
        {"toCIDRSet": [{"cidrGroupRef": "g"}]},
    ):
        assert outcome(egress(rule)) is DENIED
        assert outcome(egress(rule), target=OUTSIDE) is UNKNOWN


@pytest.mark.parametrize(
    "spec",
    [
        {"endpointSelector": {}},
        {"endpointSelector": {}, "ingress": []},
        {"ingress": [{}]},
        {"endpointSelector": {}, "nodeSelector": {}, "ingress": [{}]},
        {"nodeSelector": {}, "ingress": [{}]},
        {"endpointSelector": {}, "ingress": [{}], "mood": "good"},
        {"endpointSelector": {}, "ingress": [{"fromEntities": ["moon"]}]},
    ],
)
def test_a_policy_that_cilium_may_refuse_denies_nothing_for_certain(spec):
    assert outcome(cilium_policy(**spec)) is not DENIED


def test_an_invalid_part_makes_the_whole_policy_uncertain():
    policy = ingress({})
    policy["specs"] = [{"endpointSelector": {}, "ingress": [{"fromEntities": ["moon"]}]}]
    found = decision(policy)
    assert found.outcome is UNKNOWN
    assert "may not be in force" in found.why[0]


def test_a_status_that_says_invalid_is_believed_to_be_uncertain():
    policy = ingress({})
    policy["status"] = {"conditions": [{"type": "Valid", "status": "False", "message": "bad"}]}
    assert outcome(policy) is UNKNOWN
    policy["status"] = {"conditions": [{"type": "Valid", "status": "True"}]}
    assert outcome(policy) is DENIED


def test_a_selector_of_absence_may_fit_the_world():
    key = "k8s:io.kubernetes.pod.namespace"
    absent = {"matchExpressions": [{"key": key, "operator": "NotIn", "values": ["q"]}]}
    policy = ingress({"fromEndpoints": [absent]})
    assert outcome(policy, source=X) is ALLOWED
    assert outcome(policy, source=OUTSIDE) is UNKNOWN


def test_world_by_family_and_an_api_server_outside():
    assert outcome(ingress({"fromEntities": ["world-ipv4"]}), source=OUTSIDE) is UNKNOWN
    assert outcome(ingress({"fromEntities": ["world-ipv6"]}), source=OUTSIDE) is DENIED


def test_a_kind_that_is_no_policy_is_refused():
    with pytest.raises(ValueError, match="Calico"):
        parse_policy({"kind": "CalicoPolicy"})


# -- whom policies select


def test_policies_that_select_no_pod():
    policies = [
        parse_policy(network_policy("typo", podSelector={"matchLabels": {"app": "xx"}})),
        parse_policy(network_policy("fine", podSelector={"matchLabels": {"app": "x"}})),
        parse_policy(cilium_policy("ctypo", endpointSelector=labels(app="xx"), ingress=[{}])),
        parse_policy(cilium_policy("cfine", endpointSelector=labels(app="x"), ingress=[{}])),
    ]
    found = idle_policies(policies, [X, Y], dialect=CILIUM)
    assert [(i.policy, i.selects.value, i.subject) for i in found] == [
        ("NetworkPolicy a/typo", False, "app=xx"),
        ("CiliumNetworkPolicy a/ctypo", False, "app=xx"),
    ]
    assert len(idle_policies(policies, [X, Y], dialect=LETTER)) == 3
    assert [i.policy for i in idle_policies(policies, [], dialect=CILIUM)] == [
        str(p) for p in policies
    ]


def test_a_policy_of_which_it_cannot_be_said_is_no_finding():
    policy = network_policy(podSelector={"matchSomething": {}})
    (found,) = idle_policies([parse_policy(policy)], [X], dialect=CILIUM)
    assert found.selects.value is None
    assert found.selects.why


def test_pods_that_no_policy_isolates():
    policies = [
        parse_policy(network_policy(podSelector={"matchLabels": {"app": "x"}})),
        parse_policy(ingress({}, enableDefaultDeny={"ingress": False})),
    ]
    pods = [X, Y, pod("h", host_network=True)]
    assert [b.pod for b in bare_pods(policies, pods, dialect=CILIUM)] == ["a/y"]
    assert [b.pod for b in bare_pods([], pods, dialect=CILIUM)] == ["a/x", "a/y"]
    doubtful = [parse_policy(ingress({"fromEntities": ["moon"]}))]
    (found,) = bare_pods(doubtful, [X], dialect=CILIUM)
    assert found.isolated.value is None
