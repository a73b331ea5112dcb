"""Reads NetworkPolicy objects (networking.k8s.io/v1) from plain data.

Source of the rules: the API's reference and the Kubernetes documentation, "Network Policies". How
Cilium reads the same objects: its pkg/k8s/network_policy.go, version 1.18.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.core.policy.model import (
    BOTH,
    CILIUM_ONLY,
    CidrPeer,
    Direction,
    Peer,
    PodPeer,
    Policy,
    PortSpec,
    Rule,
    Section,
    UnclearPeer,
)
from pytest_zerotrust.core.policy.selectors import odd_fields, parse_selector

_SPEC = ("podSelector", "policyTypes", "ingress", "egress")


def parse_network_policy(raw: Mapping[str, Any]) -> Policy:
    """Read one NetworkPolicy. What is not understood in it becomes a doubt, never an error."""
    meta = raw.get("metadata") or {}
    namespace, name = str(meta.get("namespace", "")), str(meta.get("name", ""))
    spec = raw.get("spec")
    if not isinstance(spec, Mapping):
        spec = {}
    types = spec.get("policyTypes")
    doubt = odd_fields(spec, _SPEC, f"NetworkPolicy {namespace}/{name}")
    if not isinstance(types, (list, tuple)) or not types:
        # What the API server fills in (API reference, policyTypes).
        types = ("Ingress", "Egress") if spec.get("egress") else ("Ingress",)
    odd = [str(t) for t in types if t not in ("Ingress", "Egress")]
    if odd:
        doubt = doubt or f"NetworkPolicy {namespace}/{name} has the policy type {odd[0]}"
    section = Section(
        namespace=namespace,
        subject=parse_selector(spec.get("podSelector")),
        ingress=_direction(spec, "ingress", "from", namespace, declared="Ingress" in types),
        egress=_direction(spec, "egress", "to", namespace, declared="Egress" in types),
        doubt=doubt,
    )
    return Policy(kind="NetworkPolicy", namespace=namespace, name=name, sections=(section,))


def _direction(
    spec: Mapping[str, Any], side: str, peers_key: str, namespace: str, *, declared: bool
) -> Direction | None:
    raw = spec.get(side)
    rules = raw if isinstance(raw, (list, tuple)) else ()
    if not declared and not rules:
        return None
    return Direction(
        isolates=True,
        allow=tuple(
            _rule(rule, f"{side}[{i}]", peers_key, namespace) for i, rule in enumerate(rules)
        ),
        # Cilium takes rules into account whose direction policyTypes leaves out.
        dialects=BOTH if declared else CILIUM_ONLY,
    )


def _rule(raw: Any, where: str, peers_key: str, namespace: str) -> Rule:
    if not isinstance(raw, Mapping):
        return Rule(where=where, peers=None, ports=None, doubt=f"{where} is not an object")
    doubt = odd_fields(raw, (peers_key, "ports"), where)
    peers = raw.get(peers_key)
    ports = raw.get("ports")
    return Rule(
        where=where,
        peers=tuple(_peer(p, f"{where}.{peers_key}", namespace) for p in peers) if peers else None,
        ports=tuple(_port(p, f"{where}.ports") for p in ports) if ports else None,
        everybody_by_label=True,
        doubt=doubt,
    )


def _peer(raw: Any, where: str, namespace: str) -> Peer:
    if not isinstance(raw, Mapping):
        return UnclearPeer(why=f"{where} holds something that is not an object")
    odd = odd_fields(raw, ("podSelector", "namespaceSelector", "ipBlock"), where)
    block = raw.get("ipBlock")
    by_label = raw.get("podSelector") is not None or raw.get("namespaceSelector") is not None
    if odd or (block is not None) is by_label:
        return UnclearPeer(why=odd or f"{where} holds a peer that is not understood")
    if block is not None:
        return cidr_peer(block, "cidr", where)
    namespaces = raw.get("namespaceSelector")
    return PodPeer(
        namespace=namespace,
        namespaces=None if namespaces is None else parse_selector(namespaces),
        pods=parse_selector(raw.get("podSelector")),
    )


def cidr_peer(raw: Any, key: str, where: str) -> CidrPeer | UnclearPeer:
    """Read ``{cidr: …, except: […]}``, which ipBlock and Cilium's CIDR sets share."""
    if not isinstance(raw, Mapping):
        return UnclearPeer(why=f"{where} holds something that is not an object")
    odd = odd_fields(raw, (key, "except"), where)
    if odd or not raw.get(key):
        return UnclearPeer(why=odd or f"{where} has no {key}")
    try:
        network = ipaddress.ip_network(str(raw[key]), strict=False)
        excepts = tuple(ipaddress.ip_network(str(e), strict=False) for e in raw.get("except") or ())
    except (ValueError, TypeError):
        return UnclearPeer(why=f"{where} holds an address range that is not understood")
    return CidrPeer(network=network, excepts=excepts)


def _port(raw: Any, where: str) -> PortSpec:
    if not isinstance(raw, Mapping):
        return PortSpec(protocol="ANY", unclear=f"{where} holds something that is not an object")
    protocol = str(raw.get("protocol") or "TCP")
    odd = odd_fields(raw, ("port", "endPort", "protocol"), where)
    port, end = raw.get("port"), raw.get("endPort")
    if odd or protocol not in ("TCP", "UDP", "SCTP") or isinstance(port, bool):
        return PortSpec(protocol="ANY", unclear=odd or f"{where} is not understood")
    if port is None:
        unclear = f"{where} has an endPort without a port" if end is not None else ""
        return PortSpec(protocol=protocol, unclear=unclear)
    if isinstance(port, str):
        unclear = f"{where} has an endPort with a port name" if end is not None else ""
        return PortSpec(protocol=protocol, name=port, unclear=unclear)
    if not isinstance(port, int) or not isinstance(end, (int, type(None))):
        return PortSpec(protocol="ANY", unclear=f"{where} is not understood")
    return PortSpec(protocol=protocol, first=port, end=port if end is None else end)
