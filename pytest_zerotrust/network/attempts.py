"""Which connections a batch makes: the flows that were asked for, and the controls around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.network.batch import Attempt, Name
from pytest_zerotrust.network.checks import FlowCheck, SidePortsCheck, Via


@dataclass(slots=True, kw_only=True)
class AttemptList:
    """The attempts of a batch by name, and whether each should come to be open. ``nodes`` are the
    addresses of the nodes that are asked, by their names."""

    fleet: Fleet
    members: Mapping[str, Member]
    twins: Mapping[str, PodSpec]
    services: Mapping[str, tuple[str, str]]
    nodes: Mapping[str, str] = field(default_factory=dict)
    attempts: dict[Name, Attempt] = field(default_factory=dict)
    expected: dict[Name, bool] = field(default_factory=dict)

    def add_flows(self, checks: Iterable[FlowCheck]) -> None:
        """The flows of these checks."""
        for check in checks:
            ip, host = self._address(check)
            if ip:
                source, target = self.twins[check.flow.source], self.twins[check.flow.target]
                open_ = check.expected is Expected.ALLOWED
                self._add(("flow", check.id), source, target, check.flow.port, ip, open_, host)

    def _address(self, check: FlowCheck) -> tuple[str, str]:
        source, target = self.twins[check.flow.source], self.twins[check.flow.target]
        ip = self._ip(target)
        if not ip or not self._ip(source):
            return "", ""
        if check.via is Via.POD_IP:
            return ip, ""
        service_ip = self.services[check.flow.target][0]
        if check.via is Via.DNS_NAME:
            return service_ip, self.fleet.service_host(target)
        return service_ip, ""

    def add_side_ports(self, checks: Iterable[SidePortsCheck]) -> None:
        """The ports beside the declared ones, pair by pair, and each listener by itself."""
        for check in checks:
            source, target = self.twins[check.source], self.twins[check.target]
            ip = self._ip(target)
            if not ip or not self._ip(source):
                continue
            for port in target.side_ports:
                name = ("flow", check.id, str(port))
                self._add(name, source, target, port, ip, False)
                self._alone(target, port)

    def add_listeners(self) -> None:
        """Each twin's own listeners, asked by itself."""
        for spec in self.twins.values():
            for port in spec.ports:
                self._alone(spec, port)

    def add_canaries(self, nodes: Iterable[str]) -> None:
        """Open and sealed canaries between all pairs of nodes, and within each."""
        for name, caller, target, open_ in canary_pairs(self.fleet, self.members, nodes):
            self._add(name, caller, target, CANARY_PORT, self._ip(target), open_)
        for node in nodes:
            self._alone(self._sealed(node), CANARY_PORT)

    def add_barrier(self, nodes: Iterable[str], first: PodSpec, ip: str) -> None:
        """A Service that was made after all others, asked from every node."""
        for node in nodes:
            caller = topology.canary(self.fleet.run, self.fleet.own_namespace, node)
            if self._ip(caller):
                self._add(("barrier", node), caller, first, CANARY_PORT, ip, True)

    def _sealed(self, node: str) -> PodSpec:
        return topology.sealed(self.fleet.run, self.fleet.own_namespace, node)

    def _alone(self, spec: PodSpec, port: Port) -> None:
        ip = self._ip(spec)
        if ip:
            self._add(("self", spec.name, str(port)), spec, spec, port, ip, True)

    def _ip(self, spec: PodSpec) -> str:
        return usable_ip(self.members, spec)

    def _add(
        self,
        name: Name,
        source: PodSpec,
        target: PodSpec,
        port: Port,
        ip: str,
        open_: bool,
        host: str = "",
    ) -> None:
        self.attempts[name] = Attempt(
            pod=source.name,
            ip=ip,
            port=port.number,
            protocol=port.protocol,
            key=self.fleet.key_of(target),
            host=host,
        )
        self.expected[name] = open_


def usable_ip(members: Mapping[str, Member], spec: PodSpec) -> str:
    """The address of a probe pod that can be used; empty for any other."""
    member = members.get(spec.name)
    if member is None or not member.usable or member.state is None:
        return ""
    return member.state.ip


def canary_pairs(
    fleet: Fleet, members: Mapping[str, Member], nodes: Iterable[str]
) -> list[tuple[Name, PodSpec, PodSpec, bool]]:
    """(name, caller, target, open) of every pair of canaries that can be asked."""
    nodes = list(nodes)
    pairs: list[tuple[Name, PodSpec, PodSpec, bool]] = []
    run, own = fleet.run, fleet.own_namespace
    for here in nodes:
        source, neighbour = topology.canary(run, own, here), topology.sealed(run, own, here)
        if not usable_ip(members, source):
            continue
        for there in nodes:
            for word, target, open_ in (
                ("canary", topology.canary(run, own, there), True),
                ("sealed", topology.sealed(run, own, there), False),
            ):
                # A connection of a pod to itself never leaves it; within a node the sealed
                # canary is the caller, which is closed for those who come to it only.
                caller = neighbour if source == target else source
                if usable_ip(members, target) and usable_ip(members, caller):
                    pairs.append(((word, here, there), caller, target, open_))
    return pairs
