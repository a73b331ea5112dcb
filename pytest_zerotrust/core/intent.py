"""What the user declares (workloads, flows, registries, mesh mode), and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A container port. ``send`` is what a client says first to get an answer (may be empty)."""

    number: int
    protocol: str = "TCP"
    send: str = field(default="", compare=False)

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


@dataclass(frozen=True, slots=True)
class Flow:
    """Source, destination and port of a connection, by the keys of their workloads."""

    source: str
    target: str
    port: Port


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshIntent:
    """What the mesh is meant to do. Modes other than STRICT are declared, not checked."""

    provider: str = "istio"
    mode: str = "STRICT"
    root_namespace: str = "istio-system"
    trust_domain: str = "cluster.local"
    node_vantage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionIntent:
    """Where admission is tested, which registries are allowed, and which engine must answer.

    ``pod_security`` is the Pod Security level that each namespace must keep. ``identities`` are
    users that requests are sent as, by impersonation. ``profile`` is 'default' or 'full'.
    """

    namespaces: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()
    engine: str = "any"
    pod_security: Mapping[str, str] = field(default_factory=dict)
    identities: tuple[str, ...] = ()
    profile: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeIntent:
    """How probe pods are made. ``namespace`` is the namespace of our own."""

    image: str | None = None
    namespace: str = "zerotrust-probes"
    pull_secrets: tuple[str, ...] = ()
    max_pods: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The whole of what a user declared."""

    source: str
    namespaces: tuple[str, ...] = ()
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    flows: tuple[Flow, ...] = ()
    mesh: MeshIntent | None = None
    admission: AdmissionIntent | None = None
    probe: ProbeIntent = field(default_factory=ProbeIntent)

    def allows(self, source: str, target: str, port: Port) -> bool:
        """True if the user declared this flow."""
        return any(
            f.source == source
            and f.target == target
            and (f.port.number, f.port.protocol) == (port.number, port.protocol)
            for f in self.flows
        )

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
