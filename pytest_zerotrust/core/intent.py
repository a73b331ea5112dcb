"""What the user declares (workloads, flows, registries, mesh mode), and what follows from it."""

from __future__ import annotations

import datetime
import enum
import fnmatch
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A container port. ``send`` is what a client says first to get an answer (may be empty), and
    ``echo`` the path at which its HTTP server answers with the headers of the request."""

    number: int
    protocol: str = "TCP"
    send: str = field(default="", compare=False)
    echo: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A workload as the user names it: the pods in ``namespace`` that carry ``labels``."""

    key: str
    namespace: str
    labels: Mapping[str, str]
    ports: tuple[Port, ...] = ()
    service: str | None = None
    meshed: bool = False

    @property
    def name(self) -> str:
        """``namespace/key``, the way a workload is shown to people."""
        return self.key if "/" in self.key else f"{self.namespace}/{self.key}"

    def port(self, number: int, protocol: str = "TCP") -> Port:
        """Return the declared port with this number, or a plain one if none is declared."""
        for port in self.ports:
            if port.number == number and port.protocol == protocol:
                return port
        return Port(number, protocol)

    @property
    def side_ports(self) -> tuple[Port, ...]:
        """Ports beside the declared ones, which nobody may reach: the same numbers over the other
        protocol, and one more TCP port. A rule that forgets its port or protocol opens them."""
        declared = {(port.number, port.protocol) for port in self.ports}
        others = [
            Port(number, "UDP" if protocol == "TCP" else "TCP") for number, protocol in declared
        ]
        if declared:
            taken = {number for number, _ in declared}
            first = min(taken)
            order = itertools.chain(range(first + 1, 65536), range(first - 1, 0, -1))
            others.append(Port(next(number for number in order if number not in taken)))
        return tuple(sorted(p for p in others if (p.number, p.protocol) not in declared))


class OutsideKind(enum.Enum):
    """What an outside destination is, and so how its addresses are found."""

    ADDRESS = "address"
    """The IP address that the user gave."""
    DNS_NAME = "dns-name"
    """The name that the user gave, as the source resolves it."""
    METADATA = "metadata"
    """The metadata service of a cloud, at ``METADATA_ADDRESS``."""
    API_SERVER = "api-server"
    """The API server of the cluster: the Service ``kubernetes`` in ``default``."""
    KUBELET = "kubelet"
    """The kubelet of each known node, at the node's address."""
    ETCD = "etcd"
    """etcd, at the address of each known node."""
    NODE = "node"
    """A port of each known node, at the node's address."""


METADATA_ADDRESS = "169.254.169.254"
"""Where AWS, Azure, Google Cloud and OpenStack serve a machine's credentials and user data."""

WELL_KNOWN_PORTS: Mapping[OutsideKind, int] = MappingProxyType(
    {
        OutsideKind.METADATA: 80,
        OutsideKind.API_SERVER: 443,
        OutsideKind.KUBELET: 10250,
        OutsideKind.ETCD: 2379,
    }
)
"""Ports of the kinds that need none of the user's (kubernetes.io, "Ports and Protocols")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """A destination that is no pod. ``address`` is set for ADDRESS and METADATA, ``dns_name`` for
    DNS_NAME; the addresses of the other kinds are looked up in the cluster."""

    key: str
    kind: OutsideKind
    port: Port
    address: str = ""
    dns_name: str = ""

    @property
    def name(self) -> str:
        """``key:port``, the way it is shown to people."""
        return f"{self.key}:{self.port}"

    @property
    def end(self) -> tuple[str, str, str, int, str]:
        """What makes it the same destination as another one, whatever its key."""
        kind = OutsideKind.ADDRESS if self.address else self.kind
        return kind.value, self.address, self.dns_name, self.port.number, self.port.protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """A violation that the user knows and accepts until the end of the day ``expires`` (UTC).

    ``check`` is the id of a check or a glob over ids; ``where`` is ``file:line`` for messages.
    """

    check: str
    reason: str
    owner: str
    expires: datetime.date
    where: str = field(default="", compare=False)

    def matches(self, check_id: str) -> bool:
        """True if the waiver is for this check (``*``, ``?`` and ``[…]`` as in a shell)."""
        return check_id == self.check or fnmatch.fnmatchcase(check_id, self.check)

    def expired(self, today: datetime.date) -> bool:
        """True if its last day is over."""
        return today > self.expires


@dataclass(frozen=True, slots=True)
class Flow:
    """Source, destination and port of a connection, by the keys of their workloads."""

    source: str
    target: str
    port: Port


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshIntent:
    """What the mesh is meant to do. Ports that are meant to be weaker have exceptions.

    ``certificate_hours`` is how long a workload's certificate may live, in hours.
    ``authorization``: the mesh itself must refuse callers with the wrong identity.
    """

    provider: str = "istio"
    mode: str = "STRICT"
    root_namespace: str = "istio-system"
    trust_domain: str = "cluster.local"
    node_vantage: bool = False
    certificate_hours: int = 24
    authorization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionIntent:
    """What must be encrypted below whatever the pods say. ``between_nodes`` is 'required'."""

    between_nodes: str = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionIntent:
    """Where admission is tested, which registries are allowed, and which engine must answer.

    ``pod_security`` is the Pod Security level that each namespace must keep. ``identities`` are
    users that requests are sent as, by impersonation. ``administrators`` are the subjects of RBAC
    that may change policies, as ``core.rbac.Subject`` writes them. ``profile`` is 'default' or
    'full'.
    """

    namespaces: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    engine: str = "any"
    pod_security: Mapping[str, str] = field(default_factory=dict)
    identities: tuple[str, ...] = ()
    administrators: tuple[str, ...] = ()
    profile: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeIntent:
    """How probe pods are made. ``namespace`` is the namespace of our own. ``host_network`` allows
    one pod in each node's own network, for what is reported without judgement; ``capture`` allows
    one there that sees what leaves the node (as root, with the capability NET_RAW).

    ``tolerations`` are as in a Pod (core/v1 Toleration), and pass through as they are.
    """

    image: str | None = None
    namespace: str = "zerotrust-probes"
    pull_secrets: tuple[str, ...] = ()
    max_pods: int = 60
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class: str | None = None
    host_network: bool = False
    capture: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The whole of what a user declared.

    ``flows`` are those between workloads. ``egress`` are those to ``outside`` destinations, whose
    target is the key of one; no key names both a workload and an outside destination.
    ``baseline``: what the network does with policies is shown on pods of our own.
    """

    source: str
    namespaces: tuple[str, ...] = ()
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    flows: tuple[Flow, ...] = ()
    outside: Mapping[str, Outside] = field(default_factory=dict)
    egress: tuple[Flow, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    mesh: MeshIntent | None = None
    encryption: EncryptionIntent | None = None
    admission: AdmissionIntent | None = None
    probe: ProbeIntent = field(default_factory=ProbeIntent)
    baseline: bool = False
    _allowed: frozenset[Flow] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Thousands of flows are looked up among thousands: never one by one.
        object.__setattr__(self, "_allowed", frozenset(self.flows))

    @property
    def baseline_namespaces(self) -> tuple[str, ...]:
        """The two further namespaces of our own that the baseline needs; empty without it."""
        own = self.probe.namespace
        return (f"{own}-a", f"{own}-b") if self.baseline else ()

    def allows(self, source: str, target: str, port: Port) -> bool:
        """True if the user declared this flow."""
        return Flow(source, target, port) in self._allowed

    def denied_flows(self) -> Iterator[Flow]:
        """Every flow between two declared workloads that nothing allows, in a stable order."""
        for source in self.workloads:
            for target, workload in self.workloads.items():
                if source == target:
                    continue
                for port in workload.ports:
                    if not self.allows(source, target, port):
                        yield Flow(source, target, port)

    def crosses_namespaces(self, flow: Flow) -> bool:
        """True if the two ends of the flow live in different namespaces."""
        return self.workloads[flow.source].namespace != self.workloads[flow.target].namespace

    def sources_of(self, target: str, port: Port) -> tuple[str, ...]:
        """The workloads that are allowed to reach this port."""
        return tuple(f.source for f in self.flows if f.target == target and f.port == port)

    def allowed_egress(self) -> Iterator[tuple[Workload, Outside]]:
        """Every declared flow to an outside destination, in the order of the file."""
        for flow in self.egress:
            yield self.workloads[flow.source], self.outside[flow.target]

    def denied_egress(self) -> Iterator[tuple[Workload, Outside]]:
        """Every pair of a workload and an outside destination that nothing allows, in a stable
        order: by workload, then by destination, each in the order of the file."""
        allowed = {(flow.source, flow.target) for flow in self.egress}
        for workload in self.workloads.values():
            for outside in self.outside.values():
                if (workload.key, outside.key) not in allowed:
                    yield workload, outside

    def waiver_of(self, check_id: str) -> Waiver | None:
        """The first waiver for this check, if there is one."""
        return next((waiver for waiver in self.waivers if waiver.matches(check_id)), None)
