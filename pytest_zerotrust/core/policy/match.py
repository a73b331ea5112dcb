"""Whether a policy's subject, a rule's peers and its ports match an end of a flow."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from pytest_zerotrust.core.policy.endpoint import Dialect, Endpoint, Kind
from pytest_zerotrust.core.policy.identity import (
    demand,
    entity,
    namespace_label,
    pod_label,
)
from pytest_zerotrust.core.policy.model import (
    CidrPeer,
    EntityPeer,
    LabelPeer,
    Peer,
    PodPeer,
    PortSpec,
    Rule,
    Section,
    UnclearPeer,
)
from pytest_zerotrust.core.policy.selectors import Lookup, Selector
from pytest_zerotrust.core.policy.truth import (
    NO,
    YES,
    Truth,
    all_of,
    any_of,
    known,
    negate,
    unknown,
)

NamedPorts = Mapping[str, frozenset[tuple[int, str]]]
"""The ports, as (number, protocol), that a name stands for on all pods of a cluster."""

NEVER_A_POD = (
    "Cilium: an ipBlock or CIDR never selects a pod, even if it contains the pod's address"
)


def selects(section: Section, subject: Endpoint, dialect: Dialect, *, cilium: bool) -> Truth:
    """Whether a policy's section is about this endpoint."""
    if section.nodes:
        if not subject.is_node:
            return NO
        return unknown(
            "policies for nodes depend on Cilium's host firewall, which is not evaluated"
        )
    if subject.kind is not Kind.POD:
        return NO
    if section.namespace and section.namespace != subject.namespace:
        return NO
    answer = (
        by_identity(section.subject, subject, subject)
        if cilium
        else section.subject.fits(_pod_labels(subject, dialect))
    )
    if subject.host_network:
        if dialect is Dialect.CILIUM:
            return NO
        if answer.possible:
            return unknown(f"{subject} uses its node's network: Kubernetes leaves it open whether "
                           f"policies apply to it")  # fmt: skip
    return answer


def by_identity(selector: Selector, endpoint: Endpoint, subject: Endpoint) -> Truth:
    """Whether a selector of Cilium's fits an endpoint's identity."""
    answer = all_of(demand(r, endpoint, subject) for r in selector.requirements)
    if selector.doubt and answer.possible:
        return unknown(selector.doubt)
    only_negative = bool(selector.requirements) and all(r.negative for r in selector.requirements)
    if answer.value and only_negative and not endpoint.is_pod:
        return unknown(
            f"the selector {selector} says only what must not be there; whether that fits "
            f"{endpoint} depends on Cilium's version and settings"
        )
    return answer


def _pod_labels(endpoint: Endpoint, dialect: Dialect) -> Lookup:
    if dialect is Dialect.CILIUM:
        return lambda key: pod_label(endpoint, key)
    return endpoint.labels.get


def peers_match(
    rule: Rule,
    peer: Endpoint,
    subject: Endpoint,
    dialect: Dialect,
    requires: Sequence[tuple[Truth, Selector]] = (),
) -> tuple[Truth, list[str]]:
    """Whether a rule's peers include this end of the flow, and notes about how that was read."""
    demands = [
        any_of((negate(active), by_identity(selector, peer, subject)))
        for active, selector in requires
    ]
    if rule.peers is None:
        return all_of(demands) if rule.everybody_by_label else YES, []
    notes: list[str] = []
    answers = []
    for one in rule.peers:
        answer = _peer(one, peer, subject, dialect, notes)
        if isinstance(one, (LabelPeer, PodPeer)):
            answer = all_of((answer, *demands))
        answers.append(answer)
    return any_of(answers), notes


def _peer(
    one: Peer, peer: Endpoint, subject: Endpoint, dialect: Dialect, notes: list[str]
) -> Truth:
    match one:
        case PodPeer():
            return _pod_peer(one, peer, dialect)
        case CidrPeer():
            return _cidr(one, peer, dialect, notes)
        case LabelPeer():
            return by_identity(one.selector, peer, subject)
        case EntityPeer():
            return entity(peer, one.entity, subject)
        case UnclearPeer():
            in_cluster = peer.kind is not Kind.WORLD
            return NO if one.world_only and in_cluster else unknown(one.why)


def _pod_peer(one: PodPeer, peer: Endpoint, dialect: Dialect) -> Truth:
    if not peer.is_pod:
        if dialect is Dialect.CILIUM and one.namespaces is not None:
            demands = (*one.namespaces.requirements, *one.pods.requirements)
            if demands and all(r.negative for r in demands):
                return unknown(
                    f"whether {peer} fits a selector that says only what must not be there "
                    f"depends on Cilium's version and settings"
                )
        if dialect is Dialect.LETTER and peer.kind is Kind.POD:
            as_pod = _labels_fit(one, peer, dialect)
            if as_pod.possible:
                return unknown(f"{peer} uses its node's network: Kubernetes leaves it open "
                               f"whether selectors fit it")  # fmt: skip
        return NO
    return _labels_fit(one, peer, dialect)


def _labels_fit(one: PodPeer, peer: Endpoint, dialect: Dialect) -> Truth:
    if one.namespaces is None:
        where = known(peer.namespace == one.namespace)
    else:
        where = one.namespaces.fits(lambda key: namespace_label(peer, key))
    return all_of((where, one.pods.fits(_pod_labels(peer, dialect))))


def _cidr(one: CidrPeer, peer: Endpoint, dialect: Dialect, notes: list[str]) -> Truth:
    inside = _inside(one, peer)
    if dialect is Dialect.LETTER or peer.kind is Kind.WORLD:
        return inside
    if peer.is_pod:
        if inside.possible:
            notes.append(NEVER_A_POD)
        return NO
    if inside.possible:
        return unknown(f"whether address ranges select {peer} depends on Cilium's setting "
                       f"policy-cidr-match-mode")  # fmt: skip
    return NO


def _inside(one: CidrPeer, peer: Endpoint) -> Truth:
    try:
        address = ipaddress.ip_address(peer.ip)
    except ValueError:
        return unknown(f"the address of {peer} is not known")
    within = address in one.network and not any(address in e for e in one.excepts)
    return known(within)


def ports_match(rule: Rule, port: int, protocol: str, named: NamedPorts | None) -> Truth:
    """Whether a rule's ports include this one. ``named`` says what port names stand for; None
    means that it is not known."""
    if rule.ports is None:
        return YES
    return any_of(_port(spec, port, protocol, named) for spec in rule.ports)


def own_ports(target: Endpoint) -> NamedPorts:
    """What port names stand for on one pod."""
    return {name: frozenset({port}) for name, port in target.ports.items()}


def _port(spec: PortSpec, port: int, protocol: str, named: NamedPorts | None) -> Truth:
    if spec.unclear:
        return unknown(spec.unclear)
    if spec.protocol not in ("ANY", protocol):
        return NO
    if spec.name:
        if named is None:
            return unknown(f"the port name {spec.name!r} is looked up among all pods of the "
                           f"cluster, which were not read")  # fmt: skip
        numbers = {n for n, p in named.get(spec.name, ()) if p == protocol}
        # A name that stands for different numbers is of no use to Cilium, and it leaves it out.
        matches = numbers == {port}
    else:
        matches = spec.first == 0 or spec.first <= port <= spec.end
    if not matches:
        return NO
    return unknown(spec.proxied) if spec.proxied else YES
