"""From a snapshot to the verdict of one check: gathers the facts, leaves the rule to ``core``."""

from __future__ import annotations

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.observation import DnsObservation, Observation, Seen
from pytest_zerotrust.core.reachability import (
    DnsFacts,
    FlowFacts,
    Liveness,
    judge_dns,
    judge_flow,
)
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.network.batch import DNS_NAME, Name
from pytest_zerotrust.network.checks import CanaryCheck, DnsCheck, FlowCheck, Via
from pytest_zerotrust.network.engine import NetworkEngine, Snapshot


class Judge:
    """Judges checks against one snapshot."""

    def __init__(self, engine: NetworkEngine, snapshot: Snapshot) -> None:
        self._engine = engine
        self._snapshot = snapshot

    # -- flows

    def flow(self, check: FlowCheck) -> Result:
        """The verdict on one flow."""
        source = self._snapshot.twins[check.flow.source]
        target = self._snapshot.twins[check.flow.target]
        workloads = self._engine.workloads
        names = workloads[check.flow.source].name, workloads[check.flow.target].name
        goal = f"{names[1]}:{check.flow.port} by {_VIA[check.via]}"
        problem = self._unusable(source) or self._unusable(target)
        if not problem and check.via is Via.SERVICE_IP:
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
        return judge_flow(
            FlowFacts(
                control=check.control,
                subject=check.subject,
                source=names[0],
                target=goal,
                expected=check.expected,
                held=self._held(name),
                rounds=len(self._snapshot.rounds),
                source_lives=self.source_lives(source),
                target_lives=self._target_lives(target, check),
                path_lives=self._path_lives(source, target),
                service_lives=self._service_lives(check, source),
                objects=(f"Pod {source.where}", f"Pod {target.where}"),
                remedy=_remedy(check.control),
                reproduce=_by_hand(source, attempt.ip, attempt.port) if attempt else "",
            )
        )

    def _held(self, name: Name) -> tuple[Observation, ...]:
        return tuple(r.flows[name] for r in self._snapshot.held if name in r.flows)

    def _open(self, name: Name) -> bool:
        held = self._held(name)
        return bool(held) and all(o.seen is Seen.OPEN for o in held)

    def _unusable(self, spec: PodSpec) -> str:
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
        problem = self._unusable(spec)
        if problem:
            return Liveness(False, problem)
        for protocol in ("UDP", "TCP"):
            if self._dns_open(spec, protocol):
                return Liveness(True, f"its DNS look-up over {protocol} was answered")
        for name, attempt in self._snapshot.attempts.items():
            if attempt.pod == spec.name and name[0] == "flow" and self._open(name):
                return Liveness(True, "another flow of it was answered")
        if self._answers_kubelet(spec):
            return Liveness(True, "it answers the kubelet over its own network interface")
        return Liveness(False, f"nothing shows that {spec.where} is on the network")

    def _answers_kubelet(self, spec: PodSpec) -> bool:
        state = self._snapshot.members[spec.name].state
        return spec.listens and state is not None and state.answers_kubelet

    def _target_lives(self, spec: PodSpec, check: FlowCheck) -> Liveness:
        problem = self._unusable(spec)
        if problem:
            return Liveness(False, problem)
        if not self._open(("self", spec.name, str(check.flow.port))):
            return Liveness(
                False, f"the listener of {spec.where} on {check.flow.port} does not answer itself"
            )
        reached = self._reached_by_somebody(spec)
        if reached:
            return Liveness(True, f"its listener answers itself, and {reached} reached it")
        if self._answers_kubelet(spec):
            return Liveness(True, "its listener answers itself and the kubelet")
        return Liveness(False, f"nobody, not even the kubelet, reaches {spec.where}")

    def _reached_by_somebody(self, spec: PodSpec) -> str:
        key = self._engine.fleet.key_of(spec)
        for name, attempt in self._snapshot.attempts.items():
            if attempt.key == key and attempt.pod != spec.name and self._open(name):
                return self._snapshot.members[attempt.pod].spec.subject
        return ""

    def _node(self, spec: PodSpec) -> str:
        state = self._snapshot.members[spec.name].state
        return state.node if state is not None else ""

    def _path_lives(self, source: PodSpec, target: PodSpec) -> Liveness:
        here, there = self._node(source), self._node(target)
        if self._open(("canary", here, there)):
            return Liveness(True, f"the canary on {here} reaches the canary on {there}")
        return Liveness(False, f"the canary on {here} does not reach the canary on {there}")

    def _service_lives(self, check: FlowCheck, source: PodSpec) -> Liveness | None:
        if check.via is not Via.SERVICE_IP:
            return None
        ip = self._snapshot.services.get(check.flow.target, ("", ""))[0]
        here = self._node(source)
        for name, attempt in self._snapshot.attempts.items():
            who = self._snapshot.members[attempt.pod].spec
            same = attempt.ip == ip and attempt.port == check.flow.port.number
            # Every node has a service proxy of its own, so only callers on this node count.
            if same and self._node(who) == here and self._open(name):
                return Liveness(True, f"{who.subject} reached the target through it on {here}")
        seen = {observation.seen for observation in self._held(("flow", check.id))}
        if seen & {Seen.REFUSED, Seen.UNREACHABLE}:
            return Liveness(False, "nobody reached the target through this Service")
        if self._open(("barrier", here)):
            return Liveness(True, f"a Service that was made later works on {here}")
        return Liveness(False, f"no Service of ours is known to work on {here}")

    # -- DNS

    def _dns(self, spec: PodSpec, protocol: str) -> DnsObservation:
        for round_ in reversed(self._snapshot.held):
            observation = round_.dns.get((spec.name, protocol))
            if observation is not None and observation.seen is not Seen.OPEN:
                return observation
        last = self._snapshot.held[-1].dns.get((spec.name, protocol))
        return last or DnsObservation(seen=Seen.FAILED, detail="not observed")

    def _dns_open(self, spec: PodSpec, protocol: str) -> bool:
        return self._dns(spec, protocol).seen is Seen.OPEN

    def dns(self, check: DnsCheck) -> Result:
        """The verdict on one workload's name resolution."""
        spec = self._snapshot.twins[check.workload]
        problem = self._unusable(spec)
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
                udp=self._dns(spec, "UDP"),
                tcp=self._dns(spec, "TCP"),
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

    # -- enforcement

    def canaries(self, check: CanaryCheck) -> Result:
        """The verdict on enforcement: open canaries are reached, sealed ones are not."""
        broken, leaks, observed = [], [], []
        for name in self._snapshot.attempts:
            if name[0] not in ("canary", "sealed"):
                continue
            word, here, there = name
            held = self._held(name)
            observed.append(f"{here} -> {word} {there}: {', '.join(map(str, held))}")
            if word == "canary" and not self._open(name):
                broken.append(f"the open canary on {there} is not reached from {here}")
            elif word == "sealed" and any(o.seen is Seen.OPEN for o in held):
                leaks.append(f"{here} -> {there}")
            elif word == "sealed" and not all(o.seen in _REFUSED for o in held):
                broken.append(f"the sealed canary on {there} gives no clear answer to {here}")
        for member in self._snapshot.members.values():
            if member.spec.namespace == self._engine.fleet.own_namespace:
                problem = self._unusable(member.spec)
                alone = ("self", member.spec.name, str(CANARY_PORT))
                if not problem and alone in self._snapshot.attempts and not self._open(alone):
                    problem = f"the listener of {member.spec.where} does not answer itself"
                if problem:
                    broken.append(problem)
        if leaks:
            verdict, reason = Verdict.VIOLATED, ""
            what = f"a sealed canary was REACHED ({', '.join(leaks)}), expected DENIED"
        elif broken or not observed:
            verdict, reason = Verdict.INCONCLUSIVE, "canary-not-alive"
            what = f"not shown: {broken[0] if broken else 'no canary could be placed'}"
        else:
            verdict, reason = Verdict.HOLDS, ""
            what = "open canaries are reached, sealed ones are not"
        return Result(
            control=check.control,
            subject="canaries",
            verdict=verdict,
            reason=reason,
            headline=f"{check.control} enforcement of NetworkPolicy: {what}",
            observed=tuple(observed),
            remedy=CONTROLS[check.control].remedy if verdict is Verdict.VIOLATED else "",
        )


_VIA = {Via.POD_IP: "pod IP", Via.SERVICE_IP: "Service IP"}
_REFUSED = (Seen.DROPPED, Seen.REFUSED, Seen.UNREACHABLE)


def _remedy(control_id: str) -> str:
    """The remedy of a control of ours; a user's own sentence has none."""
    control = CONTROLS.get(control_id)
    return control.remedy if control is not None else ""


def _by_hand(source: PodSpec, ip: str, port: int) -> str:
    return (
        f"kubectl -n {source.namespace} exec {source.name} -c probe -- python3 -c "
        f'\'import socket; socket.create_connection(("{ip}", {port}), 2); print("open")\''
    )
