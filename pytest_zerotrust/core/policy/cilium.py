"""Reads CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2) from plain data.

Source of the rules: Cilium 1.18, pkg/policy/api (types and their validation), pkg/k8s/apis/
cilium.io/utils (namespaces of selectors) and pkg/policy/rule.go (what an empty list means).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_zerotrust.core.policy.kubernetes import cidr_peer
from pytest_zerotrust.core.policy.model import (
    CILIUM_ONLY,
    Direction,
    EntityPeer,
    LabelPeer,
    Peer,
    Policy,
    PortSpec,
    Rule,
    Section,
    UnclearPeer,
)
from pytest_zerotrust.core.policy.selectors import (
    Requirement,
    Selector,
    odd_fields,
    parse_selector,
)

POD_NAMESPACE = "io.kubernetes.pod.namespace"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels"
ENTITIES = frozenset(
    {
        "all",
        "world",
        "world-ipv4",
        "world-ipv6",
        "cluster",
        "host",
        "init",
        "ingress",
        "unmanaged",
        "remote-node",
        "health",
        "none",
        "kube-apiserver",
    }
)
_SECTION = (
    "endpointSelector",
    "nodeSelector",
    "ingress",
    "ingressDeny",
    "egress",
    "egressDeny",
    "enableDefaultDeny",
    "labels",
    "description",
    "log",
)
# Lists of peers by the suffix of their keys; those that we read, then those that we recognise.
_READ = ("Endpoints", "CIDR", "CIDRSet", "Entities")
_RECOGNISED = ("Nodes", "Groups", "Services", "FQDNs")


def parse_cilium_policy(raw: Mapping[str, Any]) -> Policy:
    """Read one policy of Cilium's. What is not understood becomes a doubt, never an error."""
    meta = raw.get("metadata") or {}
    namespace = str(meta.get("namespace") or "")
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    name = str(meta.get("name", ""))
    more = raw.get("specs")
    found = [("", raw["spec"])] if raw.get("spec") is not None else []
    if isinstance(more, (list, tuple)):
        found += [(f"specs[{number}].", spec) for number, spec in enumerate(more)]
    label = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
    invalid = _called_invalid(raw)
    sections = [_section(spec, namespace, place) for place, spec in found]
    # One invalid part keeps Cilium from importing the whole object.
    doubt = invalid or next((s.doubt for s in sections if s.doubt), "")
    if not sections:
        doubt, sections = f"{label} is empty", [Section(namespace=namespace, subject=Selector())]
    sections = [
        Section(
            namespace=s.namespace,
            subject=s.subject,
            nodes=s.nodes,
            ingress=s.ingress,
            egress=s.egress,
            doubt=f"{label} may not be in force: {doubt}" if doubt else "",
        )
        for s in sections
    ]
    return Policy(kind=kind, namespace=namespace, name=name, sections=tuple(sections))


def _called_invalid(raw: Mapping[str, Any]) -> str:
    """What Cilium's own status says, if it says that the policy is not valid."""
    status = raw.get("status")
    conditions = status.get("conditions") if isinstance(status, Mapping) else None
    for condition in conditions if isinstance(conditions, (list, tuple)) else ():
        found = condition if isinstance(condition, Mapping) else {}
        if found.get("type") == "Valid" and found.get("status") == "False":
            return f"its status says that it is not valid: {found.get('message', '')}"
    return ""


def _section(raw: Any, namespace: str, place: str) -> Section:
    if not isinstance(raw, Mapping):
        return Section(namespace=namespace, subject=Selector(), doubt="a spec is not an object")
    doubt = odd_fields(raw, _SECTION, "its spec")
    nodes = raw.get("nodeSelector") is not None
    if nodes is (raw.get("endpointSelector") is not None):
        doubt = doubt or "it needs one of endpointSelector and nodeSelector"
    if nodes and namespace:
        doubt = doubt or "only a cluster-wide policy may have a nodeSelector"
    posture = raw.get("enableDefaultDeny")
    posture = posture if isinstance(posture, Mapping) else {}
    directions = {}
    for side in ("ingress", "egress"):
        directions[side], problem = _direction(raw, side, namespace, posture.get(side), place)
        doubt = doubt or problem
    if directions["ingress"] is None and directions["egress"] is None:
        doubt = doubt or "it has no rules at all"
    selector = raw.get("nodeSelector" if nodes else "endpointSelector")
    return Section(
        namespace=namespace,
        subject=parse_selector(_own_namespace(selector) if namespace else selector),
        nodes=nodes,
        ingress=directions["ingress"],
        egress=directions["egress"],
        doubt=doubt,
    )


def _own_namespace(raw: Any) -> Any:
    """A policy speaks of its own namespace, whatever its subject's matchLabels say of another."""
    labels = raw.get("matchLabels") if isinstance(raw, Mapping) else None
    if not isinstance(labels, Mapping):
        return raw
    kept = {k: v for k, v in labels.items() if source_of(str(k)) != ("k8s", POD_NAMESPACE)}
    return {**raw, "matchLabels": kept}


def _direction(
    raw: Mapping[str, Any], side: str, namespace: str, posture: Any, place: str
) -> tuple[Direction | None, str]:
    allow, deny = raw.get(side) or (), raw.get(f"{side}Deny") or ()
    if not isinstance(allow, (list, tuple)) or not isinstance(deny, (list, tuple)):
        return None, f"{side} is not a list"
    if not allow and not deny:
        return None, ""
    prefix = "from" if side == "ingress" else "to"
    read = [_rule(r, f"{place}{side}[{i}]", prefix, namespace) for i, r in enumerate(allow)]
    refused = [_rule(r, f"{place}{side}Deny[{i}]", prefix, namespace) for i, r in enumerate(deny)]
    doubt = next((problem for _, problem in (*read, *refused) if problem), "")
    direction = Direction(
        # Without a word about it, a direction with rules is isolated (enableDefaultDeny).
        isolates=posture is not False,
        allow=tuple(rule for rule, _ in read),
        deny=tuple(rule for rule, _ in refused),
        requires=_requires(allow, prefix, namespace),
        requires_deny=_requires(deny, prefix, namespace),
        dialects=CILIUM_ONLY,
    )
    return direction, doubt


def _requires(rules: Iterable[Any], prefix: str, namespace: str) -> tuple[Selector, ...]:
    return tuple(
        endpoint_selector(selector, namespace, reserved_stay=False)
        for rule in rules
        if isinstance(rule, Mapping)
        for selector in rule.get(f"{prefix}Requires") or ()
    )


def _rule(raw: Any, where: str, prefix: str, namespace: str) -> tuple[Rule, str]:
    """The rule, and what may make Cilium refuse the whole policy."""
    if not isinstance(raw, Mapping):
        return Rule(where=where, peers=None, ports=None, doubt=f"{where} is not an object"), ""
    lists = {suffix: raw.get(f"{prefix}{suffix}") for suffix in (*_READ, *_RECOGNISED)}
    named = [suffix for suffix, value in lists.items() if value]
    understood = (*(f"{prefix}{s}" for s in lists), f"{prefix}Requires", "toPorts", "icmps",
                  "authentication")  # fmt: skip
    problem = odd_fields(raw, understood, where)
    if len(named) > 1:
        problem = problem or f"{where} combines {prefix}{named[0]} and {prefix}{named[1]}"
    if lists["Nodes"]:
        problem = problem or f"{where} has {prefix}Nodes, which a setting of Cilium must allow"
    if raw.get("toPorts") and raw.get("icmps"):
        problem = problem or f"{where} has toPorts and icmps"
    peers: tuple[Peer, ...] | None
    peers, odd = _peers(lists, where, prefix, namespace)
    problem = problem or odd
    restricted = bool(raw.get("toPorts") or raw.get("icmps"))
    if not peers and not any(lists.values()) and not _emptied(lists):
        # Without any list of peers: everybody on these ports, but nobody without ports.
        peers = None if restricted else ()
    doubt = ""
    mode = raw.get("authentication")
    if isinstance(mode, Mapping) and mode.get("mode") not in (None, "disabled"):
        doubt = f"{where} demands mutual authentication"
    rule = Rule(where=where, peers=peers, ports=_ports(raw, where), doubt=doubt)
    return rule, problem


def _peers(
    lists: Mapping[str, Any], where: str, prefix: str, namespace: str
) -> tuple[tuple[Peer, ...], str]:
    if _emptied(lists):
        fqdns = UnclearPeer(why=f"{where} goes by names", world_only=True)
        return ((fqdns,) if lists["FQDNs"] else ()), ""
    found: list[Peer] = []
    problem = ""
    for suffix, value in lists.items():
        if not value:
            continue
        place = f"{where}.{prefix}{suffix}"
        if not isinstance(value, (list, tuple)):
            found.append(UnclearPeer(why=f"{place} is not a list"))
            continue
        match suffix:
            case "Endpoints":
                found += [
                    LabelPeer(selector=endpoint_selector(v, namespace, reserved_stay=True))
                    for v in value
                ]
            case "CIDR":
                found += [cidr_peer({"cidr": v}, "cidr", place) for v in value]
            case "CIDRSet":
                found += [_cidr_set(v, place) for v in value]
            case "Entities":
                found += [EntityPeer(entity=str(v)) for v in value]
                odd = sorted(str(v) for v in value if v not in ENTITIES)
                problem = problem or (f"{place} names the unknown entity {odd[0]}" if odd else "")
            case "FQDNs":
                found.append(UnclearPeer(why=f"{place} goes by names", world_only=True))
            case _:
                found.append(UnclearPeer(why=f"{place} is not evaluated"))
    return tuple(found), problem


def _emptied(lists: Mapping[str, Any]) -> bool:
    """True if a list of peers is there and empty: it selects nobody, and takes the rule along."""
    strict = ("Endpoints", "CIDR", "CIDRSet", "Entities", "Nodes")
    return any(lists[suffix] is not None and not lists[suffix] for suffix in strict)


def _cidr_set(raw: Any, where: str) -> Peer:
    if isinstance(raw, Mapping) and (raw.get("cidrGroupRef") or raw.get("cidrGroupSelector")):
        return UnclearPeer(why=f"{where} goes by a CIDR group", world_only=True)
    return cidr_peer(raw, "cidr", where)


def endpoint_selector(raw: Any, namespace: str, *, reserved_stay: bool) -> Selector:
    """A selector of peers, with the namespace that Cilium adds where none is named.

    In a namespaced policy that is its own; a cluster-wide one means all pods of the cluster.
    Selectors of reserved labels stay as they are in lists of peers (``reserved_stay``).
    """
    selector = parse_selector(raw)
    if reserved_stay and any(source_of(key)[0] == "reserved" for key in selector.keys):
        return selector
    bare = {source_of(key)[1] for key in selector.keys if source_of(key)[0] in ("any", "k8s")}
    if POD_NAMESPACE in bare:
        return selector
    if not namespace:
        return selector.also(Requirement(f"k8s:{POD_NAMESPACE}", "Exists"))
    if any(key.startswith(NAMESPACE_LABELS) for key in bare):
        return selector
    return selector.also(Requirement(f"k8s:{POD_NAMESPACE}", "In", (namespace,)))


def source_of(key: str) -> tuple[str, str]:
    """Split a key of Cilium's into its source and the label's own key: ``k8s:app`` is a label of
    Kubernetes, ``app`` one of any source."""
    if key.startswith("$"):
        return "reserved", key[1:]
    source, colon, rest = key.partition(":")
    if colon:
        return source, rest
    if key.startswith("reserved."):
        return "reserved", key.removeprefix("reserved.")
    return "any", key


def _ports(raw: Mapping[str, Any], where: str) -> tuple[PortSpec, ...] | None:
    groups = raw.get("toPorts")
    if not groups:
        # A rule about ICMP alone says nothing about ports.
        return () if raw.get("icmps") else None
    if not isinstance(groups, (list, tuple)):
        return (PortSpec(protocol="ANY", unclear=f"{where}.toPorts is not a list"),)
    return tuple(spec for i, g in enumerate(groups) for spec in _group(g, f"{where}.toPorts[{i}]"))


def _group(raw: Any, where: str) -> Iterable[PortSpec]:
    if not isinstance(raw, Mapping):
        return (PortSpec(protocol="ANY", unclear=f"{where} is not an object"),)
    proxied = ""
    for key in ("listener", "serverNames", "terminatingTLS", "originatingTLS"):
        if raw.get(key):
            proxied = f"{where}.{key} leaves the last word to a proxy"
    rules = raw.get("rules")
    if rules and not (isinstance(rules, Mapping) and not any(rules.values())):
        proxied = f"{where}.rules leaves the last word to a proxy (layer 7)"
    understood = ("ports", "rules", "listener", "serverNames", "terminatingTLS", "originatingTLS")
    odd = odd_fields(raw, understood, where)
    ports = raw.get("ports") or ()
    if odd or not isinstance(ports, (list, tuple)):
        return (PortSpec(protocol="ANY", unclear=odd or f"{where}.ports is not a list"),)
    return tuple(_port(port, where, proxied) for port in ports)


def _port(raw: Any, where: str, proxied: str) -> PortSpec:
    if not isinstance(raw, Mapping):
        return PortSpec(protocol="ANY", unclear=f"{where} holds something that is not an object")
    protocol = str(raw.get("protocol") or "ANY").upper()
    odd = odd_fields(raw, ("port", "endPort", "protocol"), where)
    port, end = str(raw.get("port", "")), raw.get("endPort") or 0
    if odd or protocol not in ("TCP", "UDP", "SCTP", "ANY") or not isinstance(end, int):
        return PortSpec(protocol="ANY", unclear=odd or f"{where} has a port that is not understood")
    if re.fullmatch(r"0|[1-9][0-9]{0,4}", port):
        number = int(port)
        unclear = f"{where} has an endPort with the port 0" if end and not number else ""
        return PortSpec(
            protocol=protocol,
            first=number,
            end=max(number, end),
            proxied=proxied,
            unclear=unclear,
        )
    if re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9]+(-[A-Za-z0-9]+)*", port):
        return PortSpec(protocol=protocol, name=port.lower(), proxied=proxied)
    return PortSpec(protocol="ANY", unclear=f"{where} has a port that is not understood")
