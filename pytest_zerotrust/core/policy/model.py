"""What policies come to, whatever kind they were written as: subjects, peers, ports, rules."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pytest_zerotrust.core.policy.endpoint import Dialect
from pytest_zerotrust.core.policy.selectors import Selector

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
BOTH = frozenset(Dialect)
CILIUM_ONLY = frozenset({Dialect.CILIUM})
LETTER_ONLY = frozenset({Dialect.LETTER})


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPeer:
    """Pods by labels, as NetworkPolicy names them: without a namespace selector, those of the
    policy's own ``namespace``."""

    namespace: str
    namespaces: Selector | None
    pods: Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class CidrPeer:
    """Addresses in ``network`` but in none of ``excepts``."""

    network: Network
    excepts: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPeer:
    """Endpoints by Cilium's identity labels (fromEndpoints, toEndpoints)."""

    selector: Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPeer:
    """One of Cilium's entities, by its name."""

    entity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnclearPeer:
    """A peer that we cannot evaluate. ``world_only``: no pod and no node can be meant."""

    why: str
    world_only: bool = False


Peer = PodPeer | CidrPeer | LabelPeer | EntityPeer | UnclearPeer


@dataclass(frozen=True, slots=True, kw_only=True)
class PortSpec:
    """Ports: a number up to ``end``, or all (``first`` is 0), or a ``name``. ``protocol`` ANY
    stands for TCP, UDP and SCTP. ``proxied`` says why a proxy has the last word about the traffic
    that comes through. ``unclear`` says what was not understood."""

    protocol: str
    first: int = 0
    end: int = 0
    name: str = ""
    proxied: str = ""
    unclear: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``where`` is its place in the policy (``ingress[0]``). ``peers`` None means
    everybody, an empty tuple nobody; ``ports`` None means all, an empty tuple none.
    ``everybody_by_label``: Cilium reads 'everybody' as a selector of labels, which demands of
    other rules narrow down. ``doubt`` says why what the rule says is not certain.
    """

    where: str
    peers: tuple[Peer, ...] | None
    ports: tuple[PortSpec, ...] | None
    everybody_by_label: bool = False
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """What a policy says about one direction of its subjects' traffic.

    ``isolates``: what no rule allows is denied. ``requires`` are demands on all peers that are
    named by labels (Cilium's fromRequires and toRequires), ``requires_deny`` the same for deny
    rules. ``dialects`` are the readings in which it says anything at all.
    """

    isolates: bool
    allow: tuple[Rule, ...] = ()
    deny: tuple[Rule, ...] = ()
    requires: tuple[Selector, ...] = ()
    requires_deny: tuple[Selector, ...] = ()
    dialects: frozenset[Dialect] = BOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A subject and what is said about its traffic: a NetworkPolicy, or one ``spec`` of Cilium's.

    ``namespace`` is "" for all namespaces. ``nodes``: the subjects are nodes, not pods.
    ``doubt`` says why it is not certain that the section is in force.
    """

    namespace: str
    subject: Selector
    nodes: bool = False
    ingress: Direction | None = None
    egress: Direction | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy object; ``namespace`` is "" for a cluster-wide one."""

    kind: str
    namespace: str
    name: str
    sections: tuple[Section, ...]

    @property
    def cilium(self) -> bool:
        """True for Cilium's own kinds, which nobody else reads."""
        return self.kind != "NetworkPolicy"

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.namespace}/{self.name}"
            if self.namespace
            else (f"{self.kind} {self.name}")
        )
