"""Makes random small policies out of a small vocabulary, so that they often matter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

POD_NAMESPACE = "k8s:io.kubernetes.pod.namespace"
TEAM = "k8s:io.cilium.k8s.namespace.labels.team"


@dataclass(frozen=True)
class Vocabulary:
    """What the policies speak of."""

    mark: str
    namespaces: tuple[str, ...]
    addresses: tuple[str, ...]


def random_case(dice: random.Random, words: Vocabulary) -> list[dict[str, Any]]:
    """One to three policies."""
    makers: tuple[Callable[..., dict[str, Any]], ...] = (_kubernetes, _cilium, _clusterwide)
    return [
        dice.choices(makers, weights=(5, 5, 2))[0](dice, words, f"zt-{words.mark}-{number}")
        for number in range(dice.randint(1, 3))
    ]


def _selector(dice: random.Random, *, prefix: str = "") -> dict[str, Any]:
    app, tier = f"{prefix}app", f"{prefix}tier"
    return dice.choice([
        {},
        {},
        {"matchLabels": {app: dice.choice("abc")}},
        {"matchLabels": {app: dice.choice("abc")}},
        {"matchLabels": {tier: "gold"}},
        {"matchLabels": {app: "b", tier: "gold"}},
        {"matchLabels": {app: "nobody"}},
        {"matchExpressions": [{"key": app, "operator": "In", "values": ["a", "c"]}]},
        {"matchExpressions": [{"key": app, "operator": "NotIn", "values": ["a"]}]},
        {"matchExpressions": [{"key": tier, "operator": "Exists"}]},
        {"matchExpressions": [{"key": tier, "operator": "DoesNotExist"}]},
    ])  # fmt: skip


# -- NetworkPolicy


def _kubernetes(dice: random.Random, words: Vocabulary, name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"podSelector": _selector(dice)}
    types = dice.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"], None])
    if types is not None:
        spec["policyTypes"] = types
    for side, peers in (("ingress", "from"), ("egress", "to")):
        if dice.random() < 0.7:
            count = dice.choice([0, 1, 1, 2])
            spec[side] = [_kubernetes_rule(dice, words, peers) for _ in range(count)]
    meta = {"name": name, "namespace": dice.choice(words.namespaces)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": meta, "spec": spec}  # fmt: skip


def _kubernetes_rule(dice: random.Random, words: Vocabulary, peers: str) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    if dice.random() < 0.8:
        rule[peers] = [_kubernetes_peer(dice, words) for _ in range(dice.choice([1, 1, 2]))]
    if dice.random() < 0.5:
        rule["ports"] = [_kubernetes_port(dice) for _ in range(dice.choice([1, 1, 2]))]
    return rule


def _namespaces(dice: random.Random, words: Vocabulary) -> dict[str, Any]:
    return dice.choice([
        {},
        {"matchLabels": {"team": "red"}},
        {"matchLabels": {"kubernetes.io/metadata.name": dice.choice(words.namespaces)}},
        {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
        {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["red"]}]},
    ])  # fmt: skip


def _kubernetes_peer(dice: random.Random, words: Vocabulary) -> dict[str, Any]:
    match dice.randint(0, 6):
        case 0 | 1 | 2:
            return {"podSelector": _selector(dice)}
        case 3:
            return {"namespaceSelector": _namespaces(dice, words)}
        case 4 | 5:
            return {
                "namespaceSelector": _namespaces(dice, words),
                "podSelector": _selector(dice),
            }
    block: dict[str, Any] = {"cidr": "10.244.0.0/16"}
    if dice.random() < 0.5:
        block["except"] = [f"{dice.choice(words.addresses)}/32"]
    return {"ipBlock": block}


def _kubernetes_port(dice: random.Random) -> dict[str, Any]:
    return dice.choice([
        {"port": 8080},
        {"port": 8081},
        {"port": 8080, "protocol": "UDP"},
        {"protocol": "TCP"},
        {"protocol": "UDP"},
        {"port": 8000, "endPort": 8080},
        {"port": 8081, "endPort": 8090, "protocol": "TCP"},
        {"port": "zt-same"},
        {"port": "zt-two"},
        {"port": "zt-none"},
    ])  # fmt: skip


# -- Cilium's


def _cilium(dice: random.Random, words: Vocabulary, name: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": dice.choice(words.namespaces)}
    body: dict[str, Any] = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
                            "metadata": meta}  # fmt: skip
    if dice.random() < 0.85:
        body["spec"] = _section(dice, words, _selector(dice, prefix=_prefix(dice)))
    else:
        body["specs"] = [
            _section(dice, words, _selector(dice, prefix=_prefix(dice))) for _ in range(2)
        ]
    return body


def _clusterwide(dice: random.Random, words: Vocabulary, name: str) -> dict[str, Any]:
    """Its subjects are always in a namespace of ours: the lab has other tenants."""
    subject = _selector(dice)
    where = {POD_NAMESPACE: dice.choice(words.namespaces)}
    subject = {**subject, "matchLabels": {**subject.get("matchLabels", {}), **where}}
    return {"apiVersion": "cilium.io/v2", "kind": "CiliumClusterwideNetworkPolicy",
            "metadata": {"name": name}, "spec": _section(dice, words, subject)}  # fmt: skip


def _prefix(dice: random.Random) -> str:
    return dice.choice(["", "", "k8s:", "any:"])


def _section(dice: random.Random, words: Vocabulary, subject: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {"endpointSelector": subject}
    sides = dice.choice([("ingress",), ("egress",), ("ingress", "egress")])
    for side in sides:
        prefix = "from" if side == "ingress" else "to"
        if dice.random() < 0.85:
            spec[side] = [_rule(dice, words, prefix) for _ in range(dice.choice([1, 1, 2]))]
        if dice.random() < 0.25:
            spec[f"{side}Deny"] = [_rule(dice, words, prefix, deny=True)]
    if dice.random() < 0.25:
        spec["enableDefaultDeny"] = {side: dice.random() < 0.4 for side in sides}
    return spec


def _rule(
    dice: random.Random, words: Vocabulary, prefix: str, *, deny: bool = False
) -> dict[str, Any]:
    rule: dict[str, Any] = {}
    match dice.randint(0, 11):
        case 0:
            pass
        case 1:
            entities = ["all", "cluster", "world", "none", "host", "remote-node", "kube-apiserver"]
            rule[f"{prefix}Entities"] = dice.sample(entities, dice.choice([1, 1, 2]))
        case 2:
            rule[f"{prefix}CIDR"] = [dice.choice(["10.244.0.0/16", "0.0.0.0/0"])]
        case 3:
            rule[f"{prefix}CIDRSet"] = [{"cidr": "10.0.0.0/8", "except": ["10.96.0.0/16"]}]
        case 4:
            rule[f"{prefix}Endpoints"] = []
        case 5 if not deny:
            rule[f"{prefix}Requires"] = [{"matchLabels": {"tier": "gold"}}]
            rule[f"{prefix}Endpoints"] = [_peer(dice, words)]
        case _:
            rule[f"{prefix}Endpoints"] = [_peer(dice, words) for _ in range(dice.choice([1, 1, 2]))]
    if dice.random() < 0.5:
        rule["toPorts"] = [{"ports": [_port(dice) for _ in range(dice.choice([1, 1, 2]))]}]
    elif dice.random() < 0.1:
        rule["icmps"] = [{"fields": [{"type": 8, "family": "IPv4"}]}]
    return rule


def _peer(dice: random.Random, words: Vocabulary) -> dict[str, Any]:
    selector = _selector(dice, prefix=_prefix(dice))
    labels = dict(selector.get("matchLabels", {}))
    match dice.randint(0, 5):
        case 0:
            labels[POD_NAMESPACE] = dice.choice(words.namespaces)
        case 1:
            labels["io.kubernetes.pod.namespace"] = dice.choice(words.namespaces)
        case 2:
            labels[TEAM] = "red"
        case 3:
            expressions = list(selector.get("matchExpressions", ()))
            expressions.append({"key": POD_NAMESPACE, "operator": "Exists"})
            return {**selector, "matchExpressions": expressions}
    return {**selector, "matchLabels": labels} if labels else selector


def _port(dice: random.Random) -> dict[str, Any]:
    return dice.choice([
        {"port": "8080"},
        {"port": "8080", "protocol": "TCP"},
        {"port": "8081", "protocol": "TCP"},
        {"port": "8080", "protocol": "UDP"},
        {"port": "8080", "protocol": "ANY"},
        {"port": "0", "protocol": "TCP"},
        {"port": "8000", "endPort": 8080, "protocol": "TCP"},
        {"port": "8081", "endPort": 8090},
        {"port": "zt-same", "protocol": "TCP"},
        {"port": "zt-two"},
        {"port": "zt-none"},
    ])  # fmt: skip
