"""Observes every demanded flow in a few rounds, together with the controls around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.cluster.api import ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.core.intent import Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.network.batch import Attempt, Name, Round, run_round
from pytest_zerotrust.network.checks import CanaryCheck, DnsCheck, FlowCheck, Via
from pytest_zerotrust.network.settle import HOLD, observe_until_settled

Check = FlowCheck | DnsCheck | CanaryCheck
AddAttempt = Callable[[Name, PodSpec, PodSpec, Port, str, bool], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one batch saw: the pods before and after it, the rounds, and the addresses used."""

    members: Mapping[str, Member]
    twins: Mapping[str, PodSpec]
    lost: Mapping[str, str]
    rounds: tuple[Round, ...]
    attempts: Mapping[Name, Attempt]
    services: Mapping[str, tuple[str, str]]
    covered: frozenset[str]

    @property
    def held(self) -> tuple[Round, ...]:
        """The last rounds, on which verdicts rest."""
        return self.rounds[-HOLD:]


@dataclass(slots=True)
class NetworkEngine:
    """Makes snapshots for checks; a check that a snapshot covers costs nothing more."""

    fleet: Fleet
    workloads: Mapping[str, Workload]
    live: Mapping[str, LiveWorkload]
    _snapshot: Snapshot | None = None
    _failed: dict[str, ZeroTrustError] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def snapshot(self, check: Check, demanded: Iterable[Check]) -> Snapshot:
        """Return a snapshot that covers ``check``; a new one covers all ``demanded`` as well."""
        with self._lock:
            if self._snapshot is None or check.id not in self._snapshot.covered:
                if check.id in self._failed:
                    raise self._failed[check.id]
                checks = {c.id: c for c in (*demanded, check)}
                try:
                    self._snapshot = self._observe(checks.values())
                except ZeroTrustError as error:
                    # What cannot be observed is not tried again for every single check.
                    self._failed |= dict.fromkeys(checks, error)
                    raise
            return self._snapshot

    def plan(self, checks: Iterable[Check]) -> list[PodSpec]:
        """The pods that these checks will need, as far as that is known before they are placed."""
        twins = self._twins(checks).values()
        nodes = {node for live in self.live.values() for node in live.nodes}
        run, own = self.fleet.run, self.fleet.own_namespace
        return [*twins, *topology.canaries(run, own, nodes)] if twins else []

    def _twins(self, checks: Iterable[Check]) -> dict[str, PodSpec]:
        checks = list(checks)
        keys = {check.workload for check in checks if isinstance(check, DnsCheck)}
        for check in checks:
            if isinstance(check, FlowCheck):
                keys |= {check.flow.source, check.flow.target}
        if not keys and checks:
            # The canaries alone are asked for: they go where the workloads are.
            keys = set(self.workloads)
        return {
            key: topology.twin(self.fleet.run, self.workloads[key], self.live[key])
            for key in sorted(keys)
        }

    def _observe(self, checks: Iterable[Check]) -> Snapshot:
        checks = list(checks)
        flows = [check for check in checks if isinstance(check, FlowCheck)]
        twins = self._twins(checks)
        members = self.fleet.members(twins.values())
        nodes = {m.state.node for m in members.values() if m.usable and m.state is not None}
        # Enforcement is shown where the workloads themselves run as well.
        nodes |= {node for key in twins for node in self.live[key].nodes}
        own = self.fleet.own_namespace
        members |= self.fleet.members(topology.canaries(self.fleet.run, own, nodes))
        services = self._services(flows, twins, members)
        barrier = self._barrier(members, nodes)
        attempts, expected = self._attempts(flows, twins, members, services, nodes, barrier)
        dns_pods = frozenset(name for name, member in members.items() if member.usable)
        rounds = observe_until_settled(lambda: run_round(self.fleet, attempts, dns_pods), expected)
        return Snapshot(
            members=members,
            twins=twins,
            lost=self._lost(members),
            rounds=tuple(rounds),
            attempts=attempts,
            services=services,
            covered=frozenset(check.id for check in checks),
        )

    def _services(
        self,
        flows: Iterable[FlowCheck],
        twins: Mapping[str, PodSpec],
        members: Mapping[str, Member],
    ) -> dict[str, tuple[str, str]]:
        targets = sorted({c.flow.target for c in flows if c.via is Via.SERVICE_IP})
        return {
            key: self.fleet.service_ip(twins[key])
            for key in targets
            if members[twins[key].name].usable
        }

    def _barrier(self, members: Mapping[str, Member], nodes: Iterable[str]) -> str:
        """The IP of a Service that was made after all others.

        A node's service proxy takes changes in their order, so a node on which the barrier works
        has taken in the Services before it.
        """
        for node in sorted(nodes):
            spec = topology.canary(self.fleet.run, self.fleet.own_namespace, node)
            if members[spec.name].usable:
                return self.fleet.service_ip(spec)[0]
        return ""

    def _attempts(
        self,
        flows: Iterable[FlowCheck],
        twins: Mapping[str, PodSpec],
        members: Mapping[str, Member],
        services: Mapping[str, tuple[str, str]],
        nodes: Iterable[str],
        barrier: str,
    ) -> tuple[dict[Name, Attempt], dict[Name, bool]]:
        attempts: dict[Name, Attempt] = {}
        expected: dict[Name, bool] = {}

        def add(
            name: Name, source: PodSpec, target: PodSpec, port: Port, ip: str, open_: bool
        ) -> None:
            attempts[name] = Attempt(
                pod=source.name,
                ip=ip,
                port=port.number,
                protocol=port.protocol,
                key=self.fleet.key_of(target),
            )
            expected[name] = open_

        for check in flows:
            source, target = twins[check.flow.source], twins[check.flow.target]
            ends = members[source.name], members[target.name]
            if not all(member.usable for member in ends):
                continue
            ip = ends[1].state.ip if ends[1].state is not None else ""
            if check.via is Via.SERVICE_IP:
                ip = services[check.flow.target][0]
            if ip:
                open_ = check.expected is Expected.ALLOWED
                add(("flow", check.id), source, target, check.flow.port, ip, open_)
        for spec in twins.values():
            state = members[spec.name].state
            if members[spec.name].usable and state is not None:
                for port in spec.ports:
                    add(("self", spec.name, str(port)), spec, spec, port, state.ip, True)
        self._canary_attempts(add, members, sorted(nodes), barrier)
        return attempts, expected

    def _canary_attempts(
        self, add: AddAttempt, members: Mapping[str, Member], nodes: list[str], barrier: str
    ) -> None:
        run, own = self.fleet.run, self.fleet.own_namespace
        for here in nodes:
            source = topology.canary(run, own, here)
            if not members[source.name].usable:
                continue
            neighbour = topology.sealed(run, own, here)
            for there in nodes:
                for word, target, open_ in (
                    ("canary", topology.canary(run, own, there), True),
                    ("sealed", topology.sealed(run, own, there), False),
                ):
                    state = members[target.name].state
                    # A connection of a pod to itself never leaves it; within a node the sealed
                    # canary is the caller, which is closed for those who come to it only.
                    caller = neighbour if source == target else source
                    ready = members[target.name].usable and members[caller.name].usable
                    if ready and state is not None:
                        add((word, here, there), caller, target, CANARY_PORT, state.ip, open_)
            if barrier:
                first = next(
                    topology.canary(run, own, node)
                    for node in nodes
                    if members[topology.canary(run, own, node).name].usable
                )
                add(("barrier", here), source, first, CANARY_PORT, barrier, True)
        for node in nodes:
            spec = topology.sealed(run, own, node)
            state = members[spec.name].state
            if members[spec.name].usable and state is not None:
                add(("self", spec.name, str(CANARY_PORT)), spec, spec, CANARY_PORT, state.ip, True)

    def _lost(self, members: Mapping[str, Member]) -> dict[str, str]:
        """Pods that are no longer what they were when the batch began, and what became of them."""
        usable = {n: m for n, m in members.items() if m.usable and m.state is not None}
        try:
            now = self.fleet.look(usable)
        except (ApiFailure, ApiUnreachable) as error:
            return dict.fromkeys(usable, f"the probe pods could not be looked at again: {error}")
        lost = {}
        for name, member in usable.items():
            before, after = member.state, now.get(name)
            if after is None:
                lost[name] = f"probe pod {member.spec.where} vanished during the batch"
            elif before is not None and (after.uid, after.ip) != (before.uid, before.ip):
                lost[name] = f"probe pod {member.spec.where} was replaced during the batch"
            elif not after.usable:
                lost[name] = f"probe pod {member.spec.where}: {after.problem}"
            elif before is not None and before.answers_kubelet and not after.answers_kubelet:
                lost[name] = f"probe pod {member.spec.where} no longer answers the kubelet"
        return lost
