"""Observes every demanded flow in a few rounds, together with the controls around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_zerotrust.cluster.api import ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.cluster.servers import DNS_NAMESPACE
from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.core.nodes import NodeList
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.state import PodState
from pytest_zerotrust.network import baseline, newborn
from pytest_zerotrust.network.attempts import AttemptList
from pytest_zerotrust.network.batch import Round, run_rounds
from pytest_zerotrust.network.beyond import Beyond, Servers, UnreadServers
from pytest_zerotrust.network.checks import (
    CanaryCheck,
    Check,
    DnsCheck,
    EgressCheck,
    FlowCheck,
    NewbornCheck,
    NodePortCheck,
    SidePortsCheck,
    Via,
)
from pytest_zerotrust.network.declared import Declared, ReadPolicies, nothing_read
from pytest_zerotrust.network.egress import add_egress, node_addresses
from pytest_zerotrust.network.enforcement import seal
from pytest_zerotrust.network.nodeports import ReadDoors, add_ways_around, no_doors
from pytest_zerotrust.network.refusers import WatchDrops, nobody_watches
from pytest_zerotrust.network.settle import observe_until_settled
from pytest_zerotrust.network.snapshot import Snapshot, make_index
from pytest_zerotrust.network.surroundings import (
    Surroundings,
    look_around,
    waiting_for_the_kubelet,
)


@dataclass(slots=True)
class NetworkEngine:
    """Makes snapshots for checks; a check that a snapshot covers costs nothing more."""

    fleet: Fleet
    workloads: Mapping[str, Workload]
    live: Mapping[str, LiveWorkload]
    read_policies: ReadPolicies = nothing_read
    servers: Servers = field(default_factory=UnreadServers)
    read_doors: ReadDoors = no_doors
    host_network: bool = False
    baseline_namespaces: Sequence[str] = ()
    read_nodes: Callable[[], NodeList] = NodeList
    watch_drops: WatchDrops = nobody_watches
    _snapshot: Snapshot | None = None
    _failed: dict[str, ZeroTrustError] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def about(
        self, workloads: Mapping[str, Workload], live: Mapping[str, LiveWorkload]
    ) -> NetworkEngine:
        """An engine for other workloads, with the same probe pods and a batch of its own."""
        return NetworkEngine(
            self.fleet,
            workloads,
            live,
            self.read_policies,
            self.servers,
            self.read_doors,
            self.host_network,
            self.baseline_namespaces,
            self.read_nodes,
            self.watch_drops,
        )

    def has_seen(self, check: object) -> bool:
        """True if the present snapshot covers a check."""
        return self._snapshot is not None and getattr(check, "id", "") in self._snapshot.covered

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
        probes = [topology.node_probe(run, own, node) for node in sorted(nodes)]
        return (
            [*twins, *topology.canaries(run, own, nodes), *(probes if self.host_network else ())]
            if twins
            else []
        )

    def plan_of_newborns(self, checks: Iterable[Check]) -> list[PodSpec]:
        """The pods that are made only when the others run; what these try is not known before."""
        return [
            topology.newborn(
                self.fleet.run, self.workloads[check.workload], self.live[check.workload], ()
            )
            for check in checks
            if isinstance(check, NewbornCheck)
        ]

    def _twins(self, checks: Iterable[Check]) -> dict[str, PodSpec]:
        checks = list(checks)
        keys: set[str] = set()
        for check in checks:
            keys |= _workloads_of(check)
        if not keys and checks:
            # The canaries alone are asked for: they go where the workloads are.
            keys = set(self.workloads)
        return {
            key: topology.twin(self.fleet.run, self.workloads[key], self.live[key])
            for key in sorted(keys)
        }

    def _observe(self, checks: Iterable[Check]) -> Snapshot:
        checks = list(checks)
        twins = self._twins(checks)
        members = self.fleet.members(twins.values())
        nodes = {m.state.node for m in members.values() if m.usable and m.state is not None}
        # Enforcement is shown where the workloads themselves run as well.
        nodes |= {node for key in twins for node in self.live[key].nodes}
        own = self.fleet.own_namespace
        members |= self.fleet.members(topology.canaries(self.fleet.run, own, nodes))
        if any(map(baseline.is_baseline, checks)):
            baseline.declare(self.fleet, self.baseline_namespaces)
        newborns = self._newborns(checks, twins, members)
        self.fleet.begin(born.spec for born in newborns.values())
        sealing = seal(self.fleet, members, sorted(nodes))
        sealed = time.monotonic()
        services = self._services(checks, twins, members)
        nodes_asked = self._nodes_asked(checks, members)
        asked = AttemptList(
            fleet=self.fleet,
            members=members,
            twins=twins,
            services=services,
            nodes=nodes_asked.addresses,
        )
        asked.add_flows(c for c in checks if isinstance(c, FlowCheck))
        asked.add_side_ports(c for c in checks if isinstance(c, SidePortsCheck))
        add_egress(asked, (c for c in checks if isinstance(c, EgressCheck)))
        around = add_ways_around(
            asked,
            [check for check in checks if isinstance(check, NodePortCheck)],
            self.live,
            self.read_doors,
        )
        asked.add_listeners()
        asked.add_canaries(sorted(nodes))
        self._add_barrier(asked, members, sorted(nodes))
        dns_pods = frozenset(name for name, member in members.items() if member.usable)

        def observe(count: int) -> list[Round]:
            return run_rounds(self.fleet, asked.attempts, dns_pods, count)

        places = sorted({spec.namespace for spec in twins.values()})
        # The policies of the DNS servers' namespace explain look-ups, and must not cloud the rest.
        asks_dns = any(isinstance(check, DnsCheck) for check in checks)
        areas = [places, *([[DNS_NAMESPACE]] if asks_dns else [])]
        before = [self.read_policies(area) for area in areas]
        with self.watch_drops() as watch:
            rounds = tuple(
                observe_until_settled(observe, asked.expected, since=sealing.watched_until)
            )
        after = [self.read_policies(area) for area in areas]
        declared = Declared(before[0], after[0])
        births = self._births(newborns, members)
        looks_around = any(isinstance(check, CanaryCheck) for check in checks)
        if looks_around:
            time.sleep(waiting_for_the_kubelet(time.monotonic() - sealed))
        now, unseen = self._look_again(members)
        surroundings = Surroundings()
        if looks_around:
            surroundings = look_around(
                self.fleet,
                members,
                twins.values(),
                sorted(nodes),
                now=now,
                sealed_for=time.monotonic() - sealed,
                host_network=self._host_network(sorted(nodes)),
            )
        return Snapshot(
            members=members,
            twins=twins,
            lost=_lost(members, now, unseen),
            rounds=rounds,
            attempts=asked.attempts,
            nodes=asked.nodes,
            nodes_left_out=nodes_asked.left_out,
            services=services,
            covered=frozenset(check.id for check in checks),
            index=make_index(rounds, asked.attempts, members),
            enforcement=sealing.measured(),
            sealed=self._still_sealed(),
            births=births,
            declared=declared,
            beyond=Beyond(
                declared=declared,
                declared_dns=declared.joined(before[-1], after[-1]),
                servers=self.servers,
                nodes=asked.nodes,
            ),
            around=around,
            surroundings=surroundings,
            drops=watch.log(),
        )

    def _still_sealed(self) -> bool:
        try:
            return self.fleet.seal_note() is not None
        except (ApiFailure, ApiUnreachable):
            return False

    def _newborns(
        self,
        checks: Iterable[Check],
        twins: Mapping[str, PodSpec],
        members: Mapping[str, Member],
    ) -> dict[str, newborn.Newborn]:
        """A newborn for each workload that is asked for, told what it must not reach."""
        found = {}
        for check in checks:
            if isinstance(check, NewbornCheck):
                key = check.workload
                targets = newborn.plan(self.fleet, check, twins, members)
                birth = tuple(target.probe for target in targets)
                spec = topology.newborn(self.fleet.run, self.workloads[key], self.live[key], birth)
                found[key] = newborn.Newborn(spec=spec, targets=targets)
        return found

    def _births(
        self, newborns: Mapping[str, newborn.Newborn], members: dict[str, Member]
    ) -> dict[str, newborn.Birth]:
        born = self.fleet.members(born.spec for born in newborns.values())
        members |= born
        return newborn.ask(self.fleet, newborns, born)

    def _services(
        self,
        checks: Iterable[Check],
        twins: Mapping[str, PodSpec],
        members: Mapping[str, Member],
    ) -> dict[str, tuple[str, str]]:
        targets = {
            check.flow.target
            for check in checks
            if isinstance(check, FlowCheck) and check.via is not Via.POD_IP
        }
        return {
            key: self.fleet.service_ip(twins[key])
            for key in sorted(targets)
            if members[twins[key].name].usable
        }

    def _add_barrier(
        self, asked: AttemptList, members: Mapping[str, Member], nodes: Sequence[str]
    ) -> None:
        """Ask a Service that is made after all others.

        A node's service proxy takes changes in their order, so a node on which the barrier works
        has taken in the Services before it.
        """
        for node in nodes:
            spec = topology.canary(self.fleet.run, self.fleet.own_namespace, node)
            if members[spec.name].usable:
                ip = self.fleet.service_ip(spec)[0]
                if ip:
                    asked.add_barrier(nodes, spec, ip)
                return

    def _nodes_asked(self, checks: Iterable[Check], members: Mapping[str, Member]) -> NodeList:
        """The nodes whose addresses are asked: those that can be listed, and those of our pods."""
        wanted = any(isinstance(check, (EgressCheck, NodePortCheck)) for check in checks)
        listed = self.read_nodes() if wanted else NodeList()
        ours = node_addresses(members)
        return replace(listed, addresses={**listed.addresses, **ours})

    def _host_network(self, nodes: Iterable[str]) -> dict[str, Member] | None:
        """The probe pods in the network of their nodes, by node; None if they are not allowed."""
        if not self.host_network:
            return None
        run, own = self.fleet.run, self.fleet.own_namespace
        specs = {node: topology.node_probe(run, own, node) for node in nodes}
        members = self.fleet.members(specs.values())
        return {node: members[spec.name] for node, spec in specs.items()}

    def _look_again(self, members: Mapping[str, Member]) -> tuple[dict[str, PodState], str]:
        """The present states of the usable pods, and why they could not be read, if so."""
        usable = [n for n, m in members.items() if m.usable and m.state is not None]
        try:
            return self.fleet.look(usable), ""
        except (ApiFailure, ApiUnreachable) as error:
            return {}, f"the probe pods could not be looked at again: {error}"


def _lost(
    members: Mapping[str, Member], now: Mapping[str, PodState], unseen: str
) -> dict[str, str]:
    """Pods that are no longer what they were when the batch began, and what became of them."""
    usable = {n: m for n, m in members.items() if m.usable and m.state is not None}
    if unseen:
        return dict.fromkeys(usable, unseen)
    lost = {}
    for name, member in usable.items():
        before, after = member.state, now.get(name)
        if after is None:
            lost[name] = f"probe pod {member.spec.where} vanished during the batch"
        elif before is not None and (after.uid, after.ip) != (before.uid, before.ip):
            lost[name] = f"probe pod {member.spec.where} was replaced during the batch"
        elif not after.usable:
            lost[name] = f"probe pod {member.spec.where}: {after.problem}"
        elif _went_silent(member, after):
            lost[name] = f"probe pod {member.spec.where} no longer answers the kubelet"
    return lost


def _went_silent(member: Member, after: PodState) -> bool:
    """True if the kubelet no longer reaches a pod. Our own policy may have that effect on a sealed
    canary: networks differ in whether a node passes."""
    before = member.state
    kept_from_all = member.spec.role is Role.SEALED
    answered = before is not None and before.answers_kubelet
    return answered and not after.answers_kubelet and not kept_from_all


def _workloads_of(check: Check) -> set[str]:
    """The workloads of which a check needs a twin."""
    if isinstance(check, FlowCheck):
        return {check.flow.source, check.flow.target}
    if isinstance(check, SidePortsCheck):
        return {check.source, check.target}
    if isinstance(check, (NewbornCheck, NodePortCheck)):
        return {
            check.workload,
            *(end for flow in check.flows for end in (flow.source, flow.target)),
        }
    return {check.workload} if isinstance(check, (DnsCheck, EgressCheck)) else set()
