"""From a snapshot to the verdict of one check: gathers the facts, leaves the rule to ``core``."""

from __future__ import annotations

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.egress import EgressFacts, judge_egress
from pytest_zerotrust.core.explanation import Explanation, explain
from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.newborn import NewbornFacts, TargetFacts, judge_newborn
from pytest_zerotrust.core.observation import Seen
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
    SidePortsCheck,
    Via,
)
from pytest_zerotrust.network.egress import facts_of
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge_canaries import judge_canaries
from pytest_zerotrust.network.newborn import Birth
from pytest_zerotrust.network.snapshot import Snapshot


class Judge:
    """Judges checks against one snapshot."""

    def __init__(self, engine: NetworkEngine, snapshot: Snapshot) -> None:
        self._engine = engine
        self._snapshot = snapshot

    def of(self, check: Check) -> Result:
        """The verdict on a check of any kind."""
        if isinstance(check, FlowCheck):
            return self.flow(check)
        if isinstance(check, DnsCheck):
            return self.dns(check)
        if isinstance(check, SidePortsCheck):
            return self.side_ports(check)
        if isinstance(check, NewbornCheck):
            return self.newborn(check)
        if isinstance(check, EgressCheck):
            return self.egress(check)
        return judge_canaries(self._snapshot, self._engine.fleet.own_namespace, self.unusable)

    # -- flows

    def flow(self, check: FlowCheck) -> Result:
        """The verdict on one flow."""
        source = self._snapshot.twins[check.flow.source]
        target = self._snapshot.twins[check.flow.target]
        workloads = self._engine.workloads
        names = workloads[check.flow.source].name, workloads[check.flow.target].name
        goal = f"{names[1]}:{check.flow.port} by {_VIA[check.via]}"
        problem = self.unusable(source) or self.unusable(target)
        if not problem and check.via is not Via.POD_IP:
            problem = self._snapshot.services.get(check.flow.target, ("", ""))[1]
        if problem:
            return Result(
                control=check.control,
                subject=check.subject,
                verdict=Verdict.INCONCLUSIVE,
                reason="probe-not-available",
                headline=f"{check.control} {names[0]} -> {goal} not tested: {problem}",
            )
        name = ("flow", check.id)
        attempt = self._snapshot.attempts.get(name)
        result = judge_flow(
            FlowFacts(
                control=check.control,
                subject=check.subject,
                source=names[0],
                target=goal,
                expected=check.expected,
                held=self._snapshot.observations(name),
                rounds=len(self._snapshot.rounds),
                source_lives=self.source_lives(source),
                target_lives=self._target_lives(target, check.flow.port),
                path_lives=self._path_lives(source, target),
                service_lives=self._service_lives(check, source),
                objects=(f"Pod {source.where}", f"Pod {target.where}"),
                remedy=_remedy(check.control),
                reproduce=_by_hand(source, attempt.ip, attempt.port) if attempt else "",
            )
        )
        return explain(result, check.expected, self._declared(source, target, check.flow.port))

    def _declared(self, source: PodSpec, target: PodSpec, port: Port) -> Explanation:
        members = self._snapshot.members
        return self._snapshot.declared.explain(members[source.name], members[target.name], port)

    def side_ports(self, check: SidePortsCheck) -> Result:
        """The verdict on the ports of a target beside its declared ones, from one source."""
        source, target = self._snapshot.twins[check.source], self._snapshot.twins[check.target]
        workloads = self._engine.workloads
        names = workloads[check.source].name, workloads[check.target].name
        problem = self.unusable(source) or self.unusable(target)
        if problem:
            return self._not_tested(check, f"{names[0]} -> {names[1]}", problem)
        parts = []
        for port in target.side_ports:
            name = ("flow", check.id, str(port))
            attempt = self._snapshot.attempts.get(name)
            facts = FlowFacts(
                control=check.control,
                subject=str(port),
                source=names[0],
                target=f"{names[1]}:{port}, a port that nothing allows,",
                expected=Expected.DENIED,
                held=self._snapshot.observations(name),
                rounds=len(self._snapshot.rounds),
                source_lives=self.source_lives(source),
                target_lives=self._target_lives(target, port),
                path_lives=self._path_lives(source, target),
                objects=(f"Pod {source.where}", f"Pod {target.where}"),
                remedy=_remedy(check.control),
                reproduce=_by_hand(source, attempt.ip, attempt.port) if attempt else "",
            )
            declared = self._declared(source, target, port)
            parts.append(explain(judge_flow(facts), Expected.DENIED, declared))
        ports = ", ".join(map(str, target.side_ports))
        headline = f"{check.control} {names[0]} -> {names[1]} other ports denied ({ports})"
        return combine(check.control, check.subject, headline, parts)

    def egress(self, check: EgressCheck) -> Result:
        """The verdict on one way out of a workload."""
        source = self._snapshot.twins[check.workload]
        name = self._engine.workloads[check.workload].name
        problem = self.unusable(source)
        if problem:
            return self._not_tested(check, f"{name} -> {check.outside.name}", problem)
        facts = facts_of(self._snapshot, check, source)
        ip = facts[0].address.partition(":")[0] if facts else ""
        return judge_egress(
            EgressFacts(
                control=check.control,
                subject=check.subject,
                source=name,
                target=check.outside.name,
                expected=check.expected,
                addresses=facts,
                source_lives=self.source_lives(source),
                objects=(f"Pod {source.where}",),
                remedy=_remedy(check.control),
                reproduce=_by_hand(source, ip, check.outside.port.number),
            )
        )

    def newborn(self, check: NewbornCheck) -> Result:
        """The verdict on the first seconds of a new pod of a workload."""
        birth = self._snapshot.births[check.workload]
        name = self._engine.workloads[check.workload].name
        problem = birth.problem or self.unusable(birth.spec)
        if problem:
            return self._not_tested(check, f"a new pod of {name}", problem)
        targets = []
        for flow in check.flows:
            twin = self._snapshot.twins[flow.target]
            lives = self._target_lives(twin, flow.port), self._path_lives(birth.spec, twin)
            goal = f"{self._engine.workloads[flow.target].name}:{flow.port}"
            targets.append(TargetFacts(name=goal, trail=birth.trails.get(flow), controls=lives))
        return judge_newborn(
            NewbornFacts(
                control=check.control,
                subject=check.workload,
                source=name,
                targets=tuple(targets),
                source_lives=self._newborn_lives(birth),
                objects=(f"Pod {birth.spec.where}",),
                remedy=_remedy(check.control),
            )
        )

    def _newborn_lives(self, birth: Birth) -> Liveness:
        for protocol, look_up in zip(("UDP", "TCP"), birth.dns, strict=False):
            if look_up.seen is Seen.OPEN:
                return Liveness(True, f"its DNS look-up over {protocol} was answered")
        if self._answers_kubelet(birth.spec):
            return Liveness(True, "it answers the kubelet over its own network interface")
        return Liveness(False, f"nothing shows that {birth.spec.where} is on the network")

    def _not_tested(
        self, check: SidePortsCheck | NewbornCheck | EgressCheck, what: str, why: str
    ) -> Result:
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
        member = self._snapshot.members.get(spec.name)
        if member is None:
            return f"probe pod {spec.where} was never made"
        if not member.usable:
            return member.problem or f"probe pod {spec.where} is not usable"
        lost = self._snapshot.lost.get(spec.name, "")
        failed = next(
            (r.failed[spec.name] for r in self._snapshot.held if spec.name in r.failed), ""
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
        if spec.name in self._snapshot.index.by_source:
            return Liveness(True, "another flow of it was answered")
        if self._answers_kubelet(spec):
            return Liveness(True, "it answers the kubelet over its own network interface")
        return Liveness(False, f"nothing shows that {spec.where} is on the network")

    def _answers_kubelet(self, spec: PodSpec) -> bool:
        state = self._snapshot.members[spec.name].state
        return spec.listens and state is not None and state.answers_kubelet

    def _target_lives(self, spec: PodSpec, port: Port) -> Liveness:
        problem = self.unusable(spec)
        if problem:
            return Liveness(False, problem)
        if not self._snapshot.is_open(("self", spec.name, str(port))):
            return Liveness(False, f"the listener of {spec.where} on {port} does not answer itself")
        reached = self._reached_by_somebody(spec)
        if reached:
            return Liveness(True, f"its listener answers itself, and {reached} reached it")
        if self._answers_kubelet(spec):
            return Liveness(True, "its listener answers itself and the kubelet")
        return Liveness(False, f"nobody, not even the kubelet, reaches {spec.where}")

    def _reached_by_somebody(self, spec: PodSpec) -> str:
        pod = self._snapshot.index.by_key.get(self._engine.fleet.key_of(spec))
        return self._snapshot.members[pod].spec.subject if pod is not None else ""

    def _path_lives(self, source: PodSpec, target: PodSpec) -> Liveness:
        here, there = self._snapshot.node(source.name), self._snapshot.node(target.name)
        if self._snapshot.is_open(("canary", here, there)):
            return Liveness(True, f"the canary on {here} reaches the canary on {there}")
        return Liveness(False, f"the canary on {here} does not reach the canary on {there}")

    def _service_lives(self, check: FlowCheck, source: PodSpec) -> Liveness | None:
        if check.via is Via.POD_IP:
            return None
        ip = self._snapshot.services.get(check.flow.target, ("", ""))[0]
        here = self._snapshot.node(source.name)
        # Every node has a service proxy of its own, so only callers on this node count.
        caller = self._snapshot.index.by_address.get((ip, check.flow.port.number, here))
        if caller is not None:
            who = self._snapshot.members[caller].spec.subject
            return Liveness(True, f"{who} reached the target through it on {here}")
        seen = {observation.seen for observation in self._snapshot.observations(("flow", check.id))}
        if seen & {Seen.REFUSED, Seen.UNREACHABLE}:
            return Liveness(False, "nobody reached the target through this Service")
        if self._snapshot.is_open(("barrier", here)):
            return Liveness(True, f"a Service that was made later works on {here}")
        return Liveness(False, f"no Service of ours is known to work on {here}")

    # -- DNS

    def _dns_open(self, spec: PodSpec, protocol: str) -> bool:
        return self._snapshot.dns(spec.name, protocol).seen is Seen.OPEN

    def dns(self, check: DnsCheck) -> Result:
        """The verdict on one workload's name resolution."""
        spec = self._snapshot.twins[check.workload]
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
        return judge_dns(
            DnsFacts(
                control=check.control,
                subject=check.workload,
                source=name,
                name=DNS_NAME,
                udp=self._snapshot.dns(spec.name, "UDP"),
                tcp=self._snapshot.dns(spec.name, "TCP"),
                source_lives=self.source_lives(spec),
                dns_lives=self._dns_lives(),
                remedy=CONTROLS[check.control].remedy,
                reproduce=f"kubectl -n {spec.namespace} exec {spec.name} -c probe -- "
                f"python3 -c 'import socket; print(socket.gethostbyname(\"{DNS_NAME}\"))'",
            )
        )

    def _dns_lives(self) -> Liveness:
        for member in self._snapshot.members.values():
            if all(self._dns_open(member.spec, protocol) for protocol in ("UDP", "TCP")):
                return Liveness(True, f"{member.spec.subject} resolves names over UDP and TCP")
        return Liveness(False, "no probe pod at all can resolve names, so the DNS may be down")


_VIA = {
    Via.POD_IP: "pod IP",
    Via.SERVICE_IP: "Service IP",
    Via.DNS_NAME: "the DNS name of a Service",
}


def _remedy(control_id: str) -> str:
    """The remedy of a control of ours; a user's own sentence has none."""
    control = CONTROLS.get(control_id)
    return control.remedy if control is not None else ""


def _by_hand(source: PodSpec, ip: str, port: int) -> str:
    return (
        f"kubectl -n {source.namespace} exec {source.name} -c probe -- python3 -c "
        f'\'import socket; socket.create_connection(("{ip}", {port}), 2); print("open")\''
    )
