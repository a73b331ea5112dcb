"""A draft names what runs, says where each flow comes from, and can always be read back."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.intent import Intent, OutsideKind, Port
from pytest_zerotrust.core.inventory import claimants
from pytest_zerotrust.draft.collect import Material
from pytest_zerotrust.draft.flows import matches
from pytest_zerotrust.draft.render import registry_of, render
from pytest_zerotrust.intent.load import intent_from_text

Item = dict[str, Any]


def pod(name: str, labels: dict[str, str], *ports: Any, owner: str = "", **spec: Any) -> Item:
    kind, _, by = owner.partition(" ")
    owners = [{"kind": kind, "name": by, "controller": True}] if owner else []
    containers = [{"name": "app", "image": "r.example.com/a:1", "ports": list(ports)}]
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
        "spec": {"containers": containers, **spec},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }


def policy(kind: str, spec: Item, name: str = "p", namespace: str = "shop") -> Item:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def drafted(
    pods: dict[str, list[Item]],
    *policies: Item,
    services: dict[str, list[Item]] | None = None,
    mesh: bool = False,
) -> tuple[Intent, str]:
    text = render(
        Material(
            labels={name: {"kubernetes.io/metadata.name": name} for name in pods},
            pods=pods,
            services={name: (services or {}).get(name, []) for name in pods},
            policies=policies,
            mesh=mesh,
        )
    )
    return intent_from_text(text, "draft"), text


HTTP = {"containerPort": 8080}
WEB = pod("web-1", {"app": "web", "pod-template-hash": "x"}, HTTP, owner="StatefulSet web")
STORE = pod("store-1", {"app": "store", "tier": "db"}, {"containerPort": 6379, "name": "redis"})


def test_pods_are_grouped_by_owner_with_labels_and_ports():
    second = pod("web-2", {"app": "web", "pod-template-hash": "y"}, HTTP, owner="StatefulSet web")
    intent, _ = drafted({"shop": [WEB, second, STORE]})
    assert list(intent.workloads) == ["store-1", "web"]
    assert intent.workloads["web"].labels == {"app": "web"}
    assert intent.workloads["web"].ports == (Port(8080),)
    assert intent.namespaces == ("shop",)


def test_labels_are_the_fewest_that_tell_a_workload_from_all_others():
    pods = [
        pod("a-1", {"app": "web", "part": "a", "z": "1"}),
        pod("b-1", {"app": "web", "part": "b", "z": "1"}),
        pod("c-1", {"app": "other", "part": "b", "z": "2"}),
        pod("d-1", {"app": "other", "part": "a", "z": "1"}),
    ]
    intent, _ = drafted({"shop": pods})
    for item in pods:
        found = claimants("shop", item["metadata"]["labels"], intent.workloads.values())
        assert [w.key for w in found] == [item["metadata"]["name"]]
    assert all(len(w.labels) <= 2 for w in intent.workloads.values())


def test_what_cannot_be_named_is_told():
    pods = [
        pod("bare", {}),
        pod("same-1", {"app": "x"}),
        pod("same-2", {"app": "x"}),
        pod("host", {"app": "host"}, hostNetwork=True),
    ]
    intent, text = drafted({"shop": pods})
    assert intent.workloads == {}
    for name in ("Pod bare", "Pod same-1", "Pod same-2", "Pod host"):
        assert f"# Left out: {name} in shop:" in text


def test_one_name_in_two_namespaces_is_told_with_its_namespace():
    intent, _ = drafted({"shop": [WEB], "data": [WEB]})
    assert set(intent.workloads) == {"shop/web", "data/web"}


def test_services_add_ports_and_their_name():
    service = {
        "metadata": {"name": "front"},
        "spec": {
            "selector": {"app": "web"},
            "ports": [
                {"port": 80, "targetPort": 9090},
                {"port": 53, "targetPort": 5353, "protocol": "UDP"},
            ],
        },
    }
    intent, _ = drafted({"shop": [WEB]}, services={"shop": [service]})
    web = intent.workloads["web"]
    assert set(web.ports) == {Port(8080), Port(9090), Port(5353, "UDP")}
    assert web.service == "front"


def test_a_proxy_makes_a_workload_meshed_and_is_none_of_its_ports():
    item = pod("web", {"app": "web", "security.istio.io/tlsMode": "istio"}, HTTP)
    item["spec"]["containers"].append(
        {"name": "istio-proxy", "image": "proxy", "ports": [{"containerPort": 15090}]}
    )
    intent, _ = drafted({"shop": [item]}, mesh=True)
    assert intent.workloads["web"].meshed
    assert intent.workloads["web"].ports == (Port(8080),)
    assert intent.mesh is not None


NAMED = {"podSelector": {"matchLabels": {"app": "web"}}}
REDIS = [{"port": "redis", "protocol": "TCP"}]
INGRESS = {
    "podSelector": {"matchLabels": {"app": "store"}},
    "ingress": [{"from": [NAMED], "ports": REDIS}],
}
EGRESS = {
    "podSelector": {"matchLabels": {"app": "web"}},
    "egress": [{"to": [{"podSelector": {"matchLabels": {"tier": "db"}}}]}],
}
CILIUM = {
    "endpointSelector": {"matchLabels": {"k8s:app": "store"}},
    "ingress": [
        {
            "fromEndpoints": [{"matchLabels": {"any:app": "web"}}],
            "toPorts": [{"ports": [{"port": "6379", "protocol": "TCP"}]}],
        }
    ],
}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("NetworkPolicy", INGRESS),
        ("NetworkPolicy", EGRESS),
        ("CiliumNetworkPolicy", CILIUM),
    ],
)
def test_a_rule_that_names_pods_becomes_a_flow_with_its_source(kind, spec):
    intent, text = drafted({"shop": [WEB, STORE]}, policy(kind, spec))
    assert [(f.source, f.target, f.port) for f in intent.flows] == [("web", "store-1", Port(6379))]
    assert f"  # from {kind} shop/p: correct me\n  - web -> store-1:6379" in text


def test_both_halves_of_a_flow_are_named_with_it():
    _, text = drafted(
        {"shop": [WEB, STORE]},
        policy("NetworkPolicy", INGRESS, "in"),
        policy("NetworkPolicy", EGRESS, "out"),
    )
    assert "# from NetworkPolicy shop/in, NetworkPolicy shop/out: correct me" in text


def test_a_peer_in_another_namespace_is_found_by_the_labels_of_the_namespace():
    there = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    spec = {**INGRESS, "ingress": [{"from": [{**NAMED, **there}]}]}
    pods = {"shop": [WEB], "data": [STORE]}
    intent, _ = drafted(pods, policy("NetworkPolicy", spec, namespace="data"))
    assert [(f.source, f.target) for f in intent.flows] == [("web", "store-1")]
    spec = {**INGRESS, "ingress": [{"from": [NAMED]}]}
    intent, _ = drafted(pods, policy("NetworkPolicy", spec, namespace="data"))
    assert intent.flows == ()


@pytest.mark.parametrize(
    "rule", [{}, {"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}, {"from": [{"podSelector": {}}]}]
)
def test_a_rule_for_everybody_is_a_remark_and_no_flow(rule):
    intent, text = drafted(
        {"shop": [WEB, STORE]}, policy("NetworkPolicy", {**INGRESS, "ingress": [rule]})
    )
    assert intent.flows == ()
    assert "# Not written: NetworkPolicy shop/p: an ingress rule for everybody" in text


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("r.example.com/a/b:1", "r.example.com/"),
        ("localhost:5000/a", "localhost:5000/"),
        ("localhost/a", "localhost/"),
        ("library/python:3", ""),
        ("python:3.13", ""),
    ],
)
def test_the_registry_of_an_image(image, registry):
    assert registry_of(image) == registry


@pytest.mark.parametrize("value", ["yes", "1", "1.0", "", "null", "a: b", "2024-01-01", '"', "#x"])
def test_labels_that_yaml_would_misread_come_back_as_they_are(value):
    intent, _ = drafted({"shop": [pod("p", {"app": value})]})
    assert intent.workloads["p"].labels == {"app": value}


def test_names_of_strangers_cannot_add_lines_to_the_draft():
    item = pod("p", {})
    item["metadata"]["name"] = "p\nversion: 2"
    _, text = drafted({"shop": [item]})
    assert "\nversion: 2" not in text


def test_what_every_cluster_has_is_outside_and_an_empty_cluster_can_be_read():
    intent, _ = drafted({})
    kinds = {o.kind for o in intent.outside.values()}
    assert kinds == {OutsideKind.METADATA, OutsideKind.API_SERVER, OutsideKind.KUBELET}


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, False),
        ({"key": "b", "operator": "NotIn", "values": ["1"]}, True),
        ({"key": "a", "operator": "Exists"}, True),
        ({"key": "b", "operator": "DoesNotExist"}, True),
        ({"key": "a", "operator": "Gt"}, False),
    ],
)
def test_label_selectors_with_expressions(expression, selected):
    assert matches({"matchExpressions": [expression]}, {"a": "1"}) is selected
