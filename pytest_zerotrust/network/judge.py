"""From a snapshot to the verdict of one check: gathers the facts, leaves the rule to ``core``."""

from __future__ import annotations

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.explanation import Explanation, explain
from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.policy import Outcome
from pytest_zerotrust.core.reachability import (
    DnsFacts,
    Expected,
    FlowFacts,
    Liveness,
    combine,
    judge_dns,
    judge_flow,
)
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.network.batch import DNS_NAME
from pytest_zerotrust.network.checks import (
    Check,
    DnsCheck,
    EgressCheck,
    FlowCheck,
    NewbornCheck,
    NodePortCheck,
    SidePortsCheck,
    Via,
)
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge_canaries import judge_canaries
from pytest_zerotrust.network.judge_more import judge_birth, judge_way_out
from pytest_zerotrust.network.nodeports import judge_ways_around
from pytest_zerotrust.network.refusers import with_refuser
from pytest_zerotrust.network.snapshot import Snapshot


class Judge:
    """Judges checks against one snapshot."""

    def __init__(self, engine: NetworkEngine, snapshot: Snapshot) -> None:
        self._engine = engine
        self.snapshot = snapshot

    def of(self, check: Check) -> Result:
        """The verdict on a check of any kind."""
        if isinstance(check, FlowCheck):
            return self.flow(check)
        if isinstance(check, DnsCheck):
            return self.dns(check)
        if isinstance(check, SidePortsCheck):
            return self.side_ports(check)
        if isinstance(check, NewbornCheck):
            return judge_birth(self, check)
        if isinstance(check, EgressCheck):
            return judge_way_out(self, check)
        if isinstance(check, NodePortCheck):
            return judge_ways_around(self, check)
        return judge_canaries(self.snapshot, self._engine.fleet.own_namespace, self.unusable)

    # -- flows

    def flow(self, check: FlowCheck) -> Result:
        """The verdict on one flow."""
        source = self.snapshot.twins[check.flow.source]
        target = self.snapshot.twins[check.flow.target]
        workloads = self._engine.workloads
        names = workloads[check.flow.source].name, workloads[check.flow.target].name
        goal = f"{names[1]}:{check.flow.port} by {_VIA[check.via]}"
        problem = self.unusable(source) or self.unusable(target)
        if not problem and check.via is not Via.POD_IP:
            problem = self.snapshot.services.get(check.flow.target, ("", ""))[1]
        if problem:
            return Result(
                control=check.control,
                subject=check.subject,
                verdict=Verdict.INCONCLUSIVE,
                reason="probe-not-available",
                headline=f"{check.control} {names[0]} -> {goal} not tested: {problem}",
            )
        name = ("flow", check.id)
        attempt = self.snapshot.attempts.get(name)
        result = judge_flow(
            FlowFacts(
                control=check.control,
                subject=check.subject,
                source=names[0],
                target=goal,
                expected=check.expected,
                held=self.snapshot.observations(name),
                rounds=len(self.snapshot.rounds),
                source_lives=self.source_lives(source),
                target_lives=self.target_lives(target, check.flow.port),
                path_lives=self.path_lives(source, target),
                service_lives=self._service_lives(check, source),
                unserved=self._unserved(target, check.flow.port),
                objects=(f"Pod {source.where}", f"Pod {target.where}"),
                remedy=self.remedy_of(check.control),
                reproduce=self.by_hand(source, attempt.ip, attempt.port) if attempt else "",
            )
        )
        explained = explain(result, check.expected, self.declared(source, target, check.flow.port))
        return with_refuser(self.snapshot, explained, name, target.name)

    def declared(self, source: PodSpec, target: PodSpec, port: Port) -> Explanation:
        """What the policies imply for a flow between two probe pods."""
        members = self.snapshot.members
        return self.snapshot.declared.explain(members[source.name], members[target.name], port)

    def side_ports(self, check: SidePortsCheck) -> Result:
        """The verdict on the ports of a target beside its declared ones, from one source."""
        source, target = self.snapshot.twins[check.source], self.snapshot.twins[check.target]
        workloads = self._engine.workloads
        names = workloads[check.source].name, workloads[check.target].name
        problem = self.unusable(source) or self.unusable(target)
        if problem:
            return self.not_tested(check, f"{names[0]} -> {names[1]}", problem)
        parts = []
        for port in target.side_ports:
            name = ("flow", check.id, str(port))
            attempt = self.snapshot.attempts.get(name)
            facts = FlowFacts(
                control=check.control,
                subject=str(port),
                source=names[0],
                target=f"{names[1]}:{port}, a port that nothing allows,",
                expected=Expected.DENIED,
                held=self.snapshot.observations(name),
                rounds=len(self.snapshot.rounds),
                source_lives=self.source_lives(source),
                target_lives=self.target_lives(target, port),
                path_lives=self.path_lives(source, target),
                objects=(f"Pod {source.where}", f"Pod {target.where}"),
                remedy=self.remedy_of(check.control),
                reproduce=self.by_hand(source, attempt.ip, attempt.port) if attempt else "",
            )
            declared = self.declared(source, target, port)
            explained = explain(judge_flow(facts), Expected.DENIED, declared)
            parts.append(with_refuser(self.snapshot, explained, name, target.name))
        ports = ", ".join(map(str, target.side_ports))
        headline = f"{check.control} {names[0]} -> {names[1]} other ports denied ({ports})"
        return combine(check.control, check.subject, headline, parts)

    def not_tested(
        self, check: SidePortsCheck | NewbornCheck | EgressCheck, what: str, why: str
    ) -> Result:
        """The result of a check whose probe pods cannot be relied on."""
        subject = check.workload if isinstance(check, NewbornCheck) else check.subject
        return Result(
            control=check.control,
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            reason="probe-not-available",
            headline=f"{check.control} {what} not tested: {why}",
        )

    def unusable(self, spec: PodSpec) -> str:
        """Why a probe pod cannot be relied on; empty if it can."""
        member = self.snapshot.members.get(spec.name)
        if member is None:
            return f"probe pod {spec.where} was never made"
        if not member.usable:
            return member.problem or f"probe pod {spec.where} is not usable"
        lost = self.snapshot.lost.get(spec.name, "")
        failed = next(
            (r.failed[spec.name] for r in self.snapshot.held if spec.name in r.failed), ""
        )
        return lost or failed

    def source_lives(self, spec: PodSpec) -> Liveness:
        """Whether a pod is known to live on the network, and by what."""
        problem = self.unusable(spec)
        if problem:
            return Liveness(False, problem)
        for protocol in ("UDP", "TCP"):
            if self._dns_open(spec, protocol):
                return Liveness(True, f"its DNS look-up over {protocol} was answered")
        if spec.name in self.snapshot.index.by_source:
            return Liveness(True, "another flow of it was answered")
        if self.answers_kubelet(spec):
            return Liveness(True, "it answers the kubelet over its own network interface")
        return Liveness(False, f"nothing shows that {spec.where} is on the network")

    def answers_kubelet(self, spec: PodSpec) -> bool:
        """True if the kubelet reached the pod's listener."""
        state = self.snapshot.members[spec.name].state
        return spec.listens and state is not None and state.answers_kubelet

    def target_lives(self, spec: PodSpec, port: Port) -> Liveness:
        """Whether a pod's listener is known to live, and by what."""
        problem = self.unusable(spec)
        if problem:
            return Liveness(False, problem)
        if not self.snapshot.is_open(("self", spec.name, str(port))):
            return Liveness(False, f"the listener of {spec.where} on {port} does not answer itself")
        reached = self._reached_by_somebody(spec)
        if reached:
            return Liveness(True, f"its listener answers itself, and {reached} reached it")
        if self.answers_kubelet(spec):
            return Liveness(True, "its listener answers itself and the kubelet")
        return Liveness(False, f"nobody, not even the kubelet, reaches {spec.where}")

    def _unserved(self, spec: PodSpec, port: Port) -> bool:
        """True if the pod's own kernel does not know the protocol."""
        seen = self.snapshot.observations(("self", spec.name, str(port)))
        return bool(seen) and all(o.seen is Seen.UNSUPPORTED for o in seen)

    def _reached_by_somebody(self, spec: PodSpec) -> str:
        pod = self.snapshot.index.by_key.get(self._engine.fleet.key_of(spec))
        return self.snapshot.members[pod].spec.subject if pod is not None else ""

    def path_lives(self, source: PodSpec, target: PodSpec) -> Liveness:
        """Whether the path between the nodes of two pods is known to live."""
        here, there = self.snapshot.node(source.name), self.snapshot.node(target.name)
        if self.snapshot.is_open(("canary", here, there)):
            return Liveness(True, f"the canary on {here} reaches the canary on {there}")
        return Liveness(False, f"the canary on {here} does not reach the canary on {there}")

    def _service_lives(self, check: FlowCheck, source: PodSpec) -> Liveness | None:
        if check.via is Via.POD_IP:
            return None
        ip = self.snapshot.services.get(check.flow.target, ("", ""))[0]
        here = self.snapshot.node(source.name)
        # Every node has a service proxy of its own, so only callers on this node count.
        caller = self.snapshot.index.by_address.get((ip, check.flow.port.number, here))
        if caller is not None:
            who = self.snapshot.members[caller].spec.subject
            return Liveness(True, f"{who} reached the target through it on {here}")
        seen = {observation.seen for observation in self.snapshot.observations(("flow", check.id))}
        if seen & {Seen.REFUSED, Seen.UNREACHABLE}:
            return Liveness(False, "nobody reached the target through this Service")
        if self.snapshot.is_open(("barrier", here)):
            return Liveness(True, f"a Service that was made later works on {here}")
        return Liveness(False, f"no Service of ours is known to work on {here}")

    def name_of(self, workload: str) -> str:
        """``namespace/key`` of a workload."""
        return self._engine.workloads[workload].name

    @staticmethod
    def remedy_of(control_id: str) -> str:
        """The remedy of a control of ours; a user's own sentence has none."""
        control = CONTROLS.get(control_id)
        return control.remedy if control is not None else ""

    @staticmethod
    def by_hand(source: PodSpec, ip: str, port: int) -> str:
        """A command that repeats an attempt."""
        return (
            f"kubectl -n {source.namespace} exec {source.name} -c probe -- python3 -c "
            f'\'import socket; socket.create_connection(("{ip}", {port}), 2); print("open")\''
        )

    # -- DNS

    def _dns_open(self, spec: PodSpec, protocol: str) -> bool:
        return self.snapshot.dns(spec.name, protocol).seen is Seen.OPEN

    def dns(self, check: DnsCheck) -> Result:
        """The verdict on one workload's name resolution."""
        spec = self.snapshot.twins[check.workload]
        problem = self.unusable(spec)
        name = self._engine.workloads[check.workload].name
        if problem:
            return Result(
                control=check.control,
                subject=check.workload,
                verdict=Verdict.INCONCLUSIVE,
                reason="probe-not-available",
                headline=f"{check.control} {name} name resolution not tested: {problem}",
            )
        result = judge_dns(
            DnsFacts(
                control=check.control,
                subject=check.workload,
                source=name,
                name=DNS_NAME,
                udp=self.snapshot.dns(spec.name, "UDP"),
                tcp=self.snapshot.dns(spec.name, "TCP"),
                source_lives=self.source_lives(spec),
                dns_lives=self._dns_lives(),
                remedy=CONTROLS[check.control].remedy,
                reproduce=f"kubectl -n {spec.namespace} exec {spec.name} -c probe -- "
                f"python3 -c 'import socket; print(socket.gethostbyname(\"{DNS_NAME}\"))'",
            )
        )
        return explain(result, Expected.ALLOWED, self._dns_declared(spec))

    def _dns_declared(self, spec: PodSpec) -> Explanation:
        """What the policies imply for a look-up: over the protocol that failed, if one did."""
        member = self.snapshot.members[spec.name]
        failed = [p for p in ("UDP", "TCP") if not self._dns_open(spec, p)]
        found = [
            self.snapshot.beyond.dns(
                member, self.snapshot.dns(spec.name, protocol).server, protocol
            )
            for protocol in failed or ("UDP", "TCP")
        ]
        # What no policy explains is what is worth telling.
        return next((e for e in found if e.outcome is not Outcome.DENIED), found[0])

    def _dns_lives(self) -> Liveness:
        for member in self.snapshot.members.values():
            if all(self._dns_open(member.spec, protocol) for protocol in ("UDP", "TCP")):
                return Liveness(True, f"{member.spec.subject} resolves names over UDP and TCP")
        return Liveness(False, "no probe pod at all can resolve names, so the DNS may be down")


_VIA = {
    Via.POD_IP: "pod IP",
    Via.SERVICE_IP: "Service IP",
    Via.DNS_NAME: "the DNS name of a Service",
}
