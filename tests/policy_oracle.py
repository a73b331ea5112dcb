"""A second reading of NetworkPolicy and Cilium's policies, slow and simple, for property tests.

It works on the raw objects, shares no code with the product, and knows just the vocabulary of
``tests/live/random_policies.py`` (anything else fails). It enumerates: for each end, the list of
(rule, matches) of every policy, then the sentence of the documentation, word by word.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

Raw = Mapping[str, Any]


class Pod:
    """A pod, as plain as it gets."""

    def __init__(self, name: str, namespace: str, labels: Raw, ns_labels: Raw, ip: str, ports: Any):
        self.name, self.namespace, self.ip, self.ports = name, namespace, ip, ports
        self.labels, self.ns_labels = dict(labels), dict(ns_labels)

    def flat(self) -> dict[str, str]:
        """All labels of its identity in Cilium, without a source."""
        found = dict(self.labels)
        found["io.kubernetes.pod.namespace"] = self.namespace
        for key, value in self.ns_labels.items():
            found[f"io.cilium.k8s.namespace.labels.{key}"] = value
        return found


def chosen(selector: Raw, labels: Raw, *, sources: bool = False) -> bool:
    def bare(key: str) -> str:
        return key.split(":", 1)[1] if sources and key.startswith(("k8s:", "any:")) else key

    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(bare(key)) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        here = labels.get(bare(expression["key"]))
        values = expression.get("values") or ()
        if not {
            "In": here in values,
            "NotIn": here not in values,
            "Exists": here is not None,
            "DoesNotExist": here is None,
        }[expression["operator"]]:
            return False
    return True


def passes(policies: Iterable[Raw], source: Pod, target: Pod, port: int, protocol: str, *,
           cilium: bool, names: Raw) -> bool:  # fmt: skip
    """Whether the flow is let out and let in."""
    policies = list(policies)
    flow = (port, protocol, target, cilium, names)
    return _end(policies, "egress", source, target, flow) and _end(
        policies, "ingress", target, source, flow
    )


def _end(policies: list[Raw], side: str, subject: Pod, peer: Pod, flow: Any) -> bool:
    cilium = flow[3]
    isolated, allowed, denied = False, False, False
    sections = []
    for policy in policies:
        if policy["kind"] == "NetworkPolicy":
            sections.append((policy, policy["spec"]))
        elif cilium:
            listed = [policy["spec"]] if policy.get("spec") else []
            sections += [(policy, spec) for spec in listed + list(policy.get("specs") or ())]
    sections = [(p, s) for p, s in sections if _speaks(p, s, side, subject, cilium)]
    demands = []
    for policy, spec in sections:
        if policy["kind"] != "NetworkPolicy":
            way = "from" if side == "ingress" else "to"
            for rule in spec.get(side) or ():
                demands += [
                    (policy["metadata"].get("namespace"), d)
                    for d in rule.get(f"{way}Requires") or ()
                ]
    meets = all(_endpoint(d, ns, peer) for ns, d in demands)
    for policy, spec in sections:
        if policy["kind"] == "NetworkPolicy":
            isolated = True
            for rule in spec.get(side) or ():
                if _np_rule(rule, side, policy, peer, flow, meets):
                    allowed = True
            continue
        if (spec.get("enableDefaultDeny") or {}).get(side, True):
            isolated = True
        namespace = policy["metadata"].get("namespace")
        for rule in spec.get(side) or ():
            allowed = allowed or _cnp_rule(rule, side, namespace, peer, flow, meets)
        for rule in spec.get(f"{side}Deny") or ():
            denied = denied or _cnp_rule(rule, side, namespace, peer, flow, True)
    return not denied and (allowed or not isolated)


def _speaks(policy: Raw, spec: Raw, side: str, subject: Pod, cilium: bool) -> bool:
    namespace = policy["metadata"].get("namespace")
    if namespace is not None and namespace != subject.namespace:
        return False
    if policy["kind"] == "NetworkPolicy":
        if not chosen(spec.get("podSelector") or {}, subject.labels):
            return False
        types = spec.get("policyTypes")
        if not types:
            types = ["Ingress"] + (["Egress"] if spec.get("egress") else [])
        return side.capitalize() in types or (cilium and bool(spec.get(side)))
    if not chosen(spec["endpointSelector"], subject.flat(), sources=True):
        return False
    return bool(spec.get(side) or spec.get(f"{side}Deny"))


def _np_rule(rule: Raw, side: str, policy: Raw, peer: Pod, flow: Any, meets: bool) -> bool:
    cilium = flow[3]
    listed = rule.get("from" if side == "ingress" else "to")
    fits = not listed and meets
    for one in listed or ():
        if "ipBlock" in one:
            block = one["ipBlock"]
            address = ipaddress.ip_address(peer.ip)
            inside = address in ipaddress.ip_network(block["cidr"])
            for hole in block.get("except") or ():
                inside = inside and address not in ipaddress.ip_network(hole)
            fits = fits or (inside and not cilium)
            continue
        if "namespaceSelector" in one:
            names = {**peer.ns_labels, "kubernetes.io/metadata.name": peer.namespace}
            where = chosen(one["namespaceSelector"], names)
        else:
            where = peer.namespace == policy["metadata"]["namespace"]
        fits = fits or (where and chosen(one.get("podSelector") or {}, peer.labels) and meets)
    if not fits:
        return False
    ports = rule.get("ports")
    return not ports or any(_port(p, side, flow, p.get("protocol", "TCP")) for p in ports)


def _endpoint(selector: Raw, namespace: str | None, peer: Pod) -> bool:
    words = list(selector.get("matchLabels") or {})
    words += [e["key"] for e in selector.get("matchExpressions") or ()]
    named = any(w.endswith("io.kubernetes.pod.namespace") for w in words)
    by_label = any("io.cilium.k8s.namespace.labels" in w for w in words)
    if namespace and not named and not by_label and peer.namespace != namespace:
        return False
    return chosen(selector, peer.flat(), sources=True)


def _cnp_rule(
    rule: Raw, side: str, namespace: str | None, peer: Pod, flow: Any, meets: bool
) -> bool:
    way = "from" if side == "ingress" else "to"
    lists = {k: rule[f"{way}{k}"] for k in ("Endpoints", "CIDR", "CIDRSet", "Entities")
             if f"{way}{k}" in rule}  # fmt: skip
    if any(not value for value in lists.values()):
        return False
    if "icmps" in rule:
        return False
    if not lists:
        fits = bool(rule.get("toPorts"))
    else:
        fits = any(_endpoint(s, namespace, peer) for s in lists.get("Endpoints", ())) and meets
        fits = fits or bool({"all", "cluster"} & set(lists.get("Entities", ())))
    if not fits:
        return False
    groups = rule.get("toPorts")
    if not groups:
        return True
    return any(
        _port(p, side, flow, p.get("protocol", "ANY")) for group in groups for p in group["ports"]
    )


def _port(spec: Raw, side: str, flow: Any, protocol: str) -> bool:
    port, wanted, target, cilium, names = flow
    if protocol not in ("ANY", wanted):
        return False
    number = spec.get("port")
    if number in (None, "0"):
        return True
    if isinstance(number, str) and not number.isdigit():
        known = names if cilium and side == "egress" else {n: {p} for n, p in target.ports.items()}
        numbers = {n for n, p in known.get(number, ()) if p == wanted}
        return numbers == {port}
    return int(number) <= port <= max(int(number), spec.get("endPort") or 0)
