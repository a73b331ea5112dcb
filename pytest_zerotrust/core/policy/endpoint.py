"""The two ends of a flow, as policies see them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Kind(enum.Enum):
    """What stands at one end of a flow."""

    POD = "pod"
    NODE = "node"
    """The network of a node itself, hostNetwork pods included."""
    WORLD = "world"
    """An address outside the cluster."""


class Dialect(enum.Enum):
    """By whose reading policies are evaluated."""

    LETTER = "letter"
    """The text of the Kubernetes API: NetworkPolicy only, as its documentation says."""
    CILIUM = "cilium"
    """Cilium as of 1.18: NetworkPolicy as Cilium translates it, and Cilium's own kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One end of a flow.

    ``ports`` maps the names of a pod's container ports to (number, protocol). Where something is
    not known, ``namespace_labels``, ``service_account`` and ``kube_apiserver`` are None, and
    ``ip`` and ``node`` are empty; what would depend on it then comes out as unknown.
    """

    kind: Kind
    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] | None = None
    service_account: str | None = None
    ip: str = ""
    node: str = ""
    host_network: bool = False
    ports: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    kube_apiserver: bool | None = False

    def __str__(self) -> str:
        if self.kind is Kind.POD:
            return f"pod {self.namespace}/{self.name}"
        if self.kind is Kind.NODE:
            return f"node {self.node or self.name or self.ip}"
        return f"{self.ip or self.name} outside the cluster"

    @property
    def is_pod(self) -> bool:
        """True for a pod with a network of its own."""
        return self.kind is Kind.POD and not self.host_network

    @property
    def is_node(self) -> bool:
        """True for a node, and for a pod that uses its node's network."""
        return self.kind is Kind.NODE or (self.kind is Kind.POD and self.host_network)

    def same_pod(self, other: Endpoint) -> bool:
        """True if both ends are one and the same pod, whose traffic to itself never leaves it."""
        mine, theirs = (self.namespace, self.name), (other.namespace, other.name)
        return self.is_pod and other.is_pod and bool(self.name) and mine == theirs


def world(ip: str) -> Endpoint:
    """An address outside the cluster."""
    return Endpoint(kind=Kind.WORLD, ip=ip)


def node(name: str, *, ip: str = "", kube_apiserver: bool | None = None) -> Endpoint:
    """A node; ``kube_apiserver`` says whether an API server answers at its address."""
    return Endpoint(kind=Kind.NODE, name=name, node=name, ip=ip, kube_apiserver=kube_apiserver)
