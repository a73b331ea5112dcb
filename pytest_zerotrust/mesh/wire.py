"""Captures what leaves the nodes while probe pods of ours talk between them, in one batch.

On each node runs a capturing pod and a pod that talks. Every node talks to the next one in a ring;
besides, for each flow within the mesh, a meshed twin of its source calls from another node than
its target's. Each exchange has a nonce of its own, which the captures look for.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_zerotrust.cluster.discovery import LivePod, own_pods_of
from pytest_zerotrust.core.mesh.wire import BULK, Capture, read_capture
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.mesh.engine import MeshEngine
from pytest_zerotrust.mesh.probes import CALL_TIMEOUT, CONNECT_TIMEOUT
from pytest_zerotrust.mesh.wire_checks import Check, MeshWireCheck

MOST_NODES = 6
"""Nodes that talk and capture; each takes two probe pods."""

CALLS = 6
"""How often a call within the mesh is made: a Service chooses among replicas on several nodes."""

SHORTEST_SENT = 6
"""Bytes that a workload's declared ``send`` must have to be looked for in its place."""

CONTROL_PORT = 9
"""Where the capturing pod sends its control nonce: discard (RFC 863), where nobody listens."""

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """From one node to the next: who captures, who talks to whom."""

    capture: PodSpec
    talker: PodSpec
    listener: PodSpec

    @property
    def name(self) -> str:
        """``node -> node``."""
        return f"{self.talker.node} -> {self.listener.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call within the mesh: the twin that makes it, and the pods that it may reach."""

    check: MeshWireCheck
    caller: PodSpec
    targets: tuple[LivePod, ...]
    needle: str
    send: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WireSnapshot:
    """What one batch saw. ``captures`` are by node, ``reports`` the agents' raw reports by (kind
    of exchange, name of the way or id of the check). ``untold`` are the mesh checks that could not
    be tried, and why. ``sizes`` are those of the bulk, in bytes, ``nonces`` by protocol."""

    nodes: tuple[str, ...]
    members: Mapping[str, Member]
    ways: tuple[Way, ...]
    calls: Mapping[str, Call]
    untold: Mapping[str, str]
    captures: Mapping[str, Capture]
    reports: Mapping[tuple[str, str], tuple[Report, ...]]
    failed: Mapping[str, str]
    sizes: tuple[int, ...]
    nonces: Mapping[tuple[str, str], str]
    configured: tuple[str, ...]
    covered: frozenset[str]


@dataclass(slots=True)
class WireEngine:
    """Makes snapshots for checks; a check that a snapshot covers costs nothing more.

    ``nodes`` returns the nodes on which pods may run, ``configured`` what the cluster itself says
    about encryption between nodes, in sentences.
    """

    mesh: MeshEngine
    nodes: Callable[[], tuple[str, ...]]
    configured: Callable[[], tuple[str, ...]]
    _snapshot: WireSnapshot | None = None
    _failed: dict[str, ZeroTrustError] = field(default_factory=dict)
    _known: tuple[str, ...] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fleet(self) -> Fleet:
        """The probe pods."""
        return self.mesh.fleet

    @property
    def allowed(self) -> bool:
        """True if the intent file consents to pods that capture."""
        return self.mesh.intent.probe.capture

    def snapshot(self, check: Check, demanded: Iterable[Check]) -> WireSnapshot:
        """Return a snapshot that covers ``check``; a new one covers all ``demanded`` as well."""
        with self._lock:
            if self._snapshot is None or check.id not in self._snapshot.covered:
                if check.id in self._failed:
                    raise self._failed[check.id]
                checks = {c.id: c for c in (*demanded, check)}
                try:
                    self._snapshot = self._observe(list(checks.values()))
                except ZeroTrustError as error:
                    self._failed |= dict.fromkeys(checks, error)
                    raise
            return self._snapshot

    def plan(self, checks: Iterable[Check]) -> list[PodSpec]:
        """The pods that these checks will need."""
        checks = list(checks)
        nodes = self.known_nodes() if checks and self.allowed else ()
        if len(nodes) < 2:
            return []
        specs = [spec for way in self._ways(nodes) for spec in (way.capture, way.talker)]
        flows = [check for check in checks if isinstance(check, MeshWireCheck)]
        return specs + [caller for check in flows if (caller := self._caller(check, nodes))]

    def known_nodes(self) -> tuple[str, ...]:
        """The first nodes by name, those of the intent's workloads before others."""
        if self._known is None:
            used = sorted({node for live in self.mesh.live.values() for node in live.nodes})
            self._known = tuple(sorted(list(dict.fromkeys((*used, *self.nodes())))[:MOST_NODES]))
        return self._known

    def _ways(self, nodes: Sequence[str]) -> list[Way]:
        run, own = self.fleet.run, self.fleet.own_namespace
        around = [*nodes[1:], nodes[0]]
        return [
            Way(
                capture=topology.capture(run, own, here),
                talker=topology.talker(run, own, here),
                listener=topology.talker(run, own, there),
            )
            for here, there in zip(nodes, around, strict=True)
        ]

    def _caller(self, check: MeshWireCheck, nodes: Sequence[str]) -> PodSpec | None:
        """The meshed twin of a flow's source on a node where its target is not, or the least."""
        target = self.mesh.live[check.flow.target]
        away = [node for node in nodes if node not in target.nodes]
        if not away and len(target.nodes) < 2:
            return None
        twin = self.mesh.meshed_twin(check.flow.source)
        node = (away or list(nodes))[0]
        name = self.fleet.run.name("wire", twin.namespace, check.flow.source, node)
        return replace(twin, name=name, subject=f"{twin.subject} on {node}", node=node)

    # -- observing

    def _observe(self, checks: list[Check]) -> WireSnapshot:
        nodes = self.known_nodes()
        ways = self._ways(nodes) if len(nodes) > 1 else []
        calls: dict[str, Call] = {}
        untold: dict[str, str] = {}
        for check in checks:
            if isinstance(check, MeshWireCheck):
                found = self._call(check, nodes)
                if isinstance(found, Call):
                    calls[check.id] = found
                else:
                    untold[check.id] = found
        members = self.fleet.members(
            [
                *(spec for way in ways for spec in (way.capture, way.talker)),
                *(call.caller for call in calls.values()),
            ]
        )
        usable = {name: m for name, m in members.items() if m.usable}
        token = secrets.token_hex(8)
        nonces = {
            (kind, way.name): f"zerotrust-{secrets.token_hex(12)}"
            for way in ways
            for kind in ("tcp", "udp", "control")
        }
        # Ciphers pad to 16 bytes at most, so what they add is the same for all of these; and they
        # are further apart than anything adds, so no single size stands for two of them.
        first = 400 + 16 * secrets.randbelow(10)
        second = first + 176 + 16 * secrets.randbelow(8)
        sizes = (first, second, second + 176 + 16 * secrets.randbelow(8))
        captures: dict[str, Report] = {}
        failed: dict[str, str] = {}
        starts = {
            way.capture.name: [self._start(way, token, nonces, calls.values(), usable)]
            for way in ways
            if way.capture.name in usable
        }
        started = self._ask(starts, failed)
        talk = self._talk(ways, calls.values(), usable, nonces, sizes)
        reports = self._exchange(talk, failed)
        stop = {"kind": "capture", "do": "stop", "token": token}
        captures = self._ask({name: [stop] for name in starts}, failed)
        return WireSnapshot(
            nodes=nodes,
            members=members,
            ways=tuple(ways),
            calls=calls,
            untold=untold,
            captures={
                str(way.capture.node): _capture(
                    members[way.capture.name], way.capture.name, started, captures, failed
                )
                for way in ways
            },
            reports=reports,
            failed=failed,
            sizes=sizes,
            nonces=nonces,
            configured=self.configured(),
            covered=frozenset(check.id for check in checks),
        )

    def _call(self, check: MeshWireCheck, nodes: Sequence[str]) -> Call | str:
        """How a flow is called, or why it cannot be."""
        flow = check.flow
        caller = self._caller(check, nodes)
        service = self.mesh.live[flow.target].service
        if caller is None:
            return "there is no node but that of its target from which it could be called"
        if service is None or flow.port.number not in service.ports:
            return f"no Service leads to port {flow.port} of {flow.target}"
        send = self.mesh.payload(flow.target, flow.port)
        needle = flow.port.send
        if not needle:
            needle = f"zerotrust-{secrets.token_hex(12)}"
            send = send.replace("\r\n\r\n", f"\r\nX-Zerotrust-Nonce: {needle}\r\n\r\n", 1)
        elif len(needle) < SHORTEST_SENT:
            return f"what its port is sent has less than {SHORTEST_SENT} bytes to look for"
        workload = self.mesh.intent.workloads[flow.target]
        pods = own_pods_of(self.fleet.api, workload, self.mesh.intent)
        targets = tuple(pod for pod in pods if pod.node != caller.node)
        if not targets:
            return f"all pods of {flow.target} are on the node of the caller"
        return Call(check=check, caller=caller, targets=targets, needle=needle, send=send)

    def _start(
        self,
        way: Way,
        token: str,
        nonces: Mapping[tuple[str, str], str],
        calls: Iterable[Call],
        usable: Mapping[str, Member],
    ) -> Report:
        """The request that begins the capture of one node."""
        node = way.talker.node
        toward = {
            member.state.node_ip
            for member in usable.values()
            if member.state is not None and member.state.node != node and member.state.node_ip
        }
        listener = usable.get(way.listener.name)
        addresses = {listener.state.ip} if listener is not None and listener.state else set()
        needles: dict[str, dict[str, str]] = {
            kind: {"text": nonces[(kind, way.name)]} for kind in ("tcp", "udp", "control")
        }
        pairs: dict[str, tuple[str, str]] = {}
        for call in calls:
            member = usable.get(call.caller.name)
            if call.caller.node != node or member is None or member.state is None:
                continue
            for pod in call.targets:
                addresses.add(pod.ip)
                name = pair_name(call, pod)
                pairs[name] = (member.state.ip, pod.ip)
                needles[name] = {"text": call.needle, "pair": name}
        return {
            "kind": "capture",
            "do": "start",
            "token": token,
            "toward": sorted(toward),
            "addresses": sorted(addresses),
            "needles": needles,
            "pairs": pairs,
        }

    def _talk(
        self,
        ways: Iterable[Way],
        calls: Iterable[Call],
        usable: Mapping[str, Member],
        nonces: Mapping[tuple[str, str], str],
        sizes: Sequence[int],
    ) -> Iterator[tuple[tuple[str, str], str, Report]]:
        """Everything that is said: (the name of its reports, the pod that says it, the request)."""
        for way in ways:
            listener = usable.get(way.listener.name)
            if listener is None or listener.state is None:
                continue
            base = {"ip": listener.state.ip, "timeout": CONNECT_TIMEOUT}
            if way.talker.name in usable:
                for kind in ("tcp", "udp"):
                    line = f"ZT1 {nonces[(kind, way.name)]}\n"
                    said = {"kind": kind, **base, "port": _PORT, "send": line, "until": "\n"}
                    yield (kind, way.name), way.talker.name, said
                for size in sizes:
                    bulk = secrets.token_hex(size)[:size]
                    datagram = {"kind": "udp", **base, "port": _PORT, "send": bulk}
                    for _ in range(BULK):
                        yield ("bulk", way.name), way.talker.name, datagram
            if way.capture.name in usable and listener.state.node_ip:
                yield (
                    ("control", way.name),
                    way.capture.name,
                    {
                        "kind": "udp",
                        "ip": listener.state.node_ip,
                        "port": CONTROL_PORT,
                        "timeout": CONNECT_TIMEOUT,
                        "send": nonces[("control", way.name)],
                    },
                )
        for call in calls:
            if call.caller.name in usable:
                asked = self._request(call)
                for wave in range(CALLS):
                    yield ("call", call.check.id), call.caller.name, {**asked, "wave": wave}

    def _request(self, call: Call) -> Report:
        flow = call.check.flow
        service = self.mesh.live[flow.target].service
        assert service is not None
        http = self.mesh.is_http(flow.target, flow.port)
        return {
            "kind": "tcp",
            "ip": service.ip,
            "port": service.ports[flow.port.number],
            "timeout": CALL_TIMEOUT,
            "send": call.send,
            "until": "" if http else "\n",
        }

    def _exchange(
        self, talk: Iterable[tuple[tuple[str, str], str, Report]], failed: dict[str, str]
    ) -> dict[tuple[str, str], tuple[Report, ...]]:
        requests: dict[str, list[Report]] = {}
        names: dict[str, list[tuple[str, str]]] = {}
        for name, pod, request in talk:
            requests.setdefault(pod, []).append(request)
            names.setdefault(pod, []).append(name)
        reports: dict[tuple[str, str], list[Report]] = {}
        for pod, reply in self.fleet.ask_all(requests).items():
            if isinstance(reply, str):
                failed[pod] = reply
                continue
            for name, report in zip(names[pod], reply["results"], strict=True):
                reports.setdefault(name, []).append(report)
        return {name: tuple(found) for name, found in reports.items()}

    def _ask(
        self, requests: Mapping[str, Sequence[Report]], failed: dict[str, str]
    ) -> dict[str, Report]:
        """The one report of each pod; what went wrong goes to ``failed``."""
        found: dict[str, Report] = {}
        for pod, reply in self.fleet.ask_all(requests).items():
            if isinstance(reply, str):
                failed[pod] = reply
            else:
                found[pod] = reply["results"][0]
        return found


_PORT = CANARY_PORT.number


def pair_name(call: Call, pod: LivePod) -> str:
    """The name of what is said between the caller and one pod of its target."""
    return f"{call.check.id} {pod.name}"


def _capture(
    member: Member,
    name: str,
    started: Mapping[str, Report],
    ended: Mapping[str, Report],
    failed: Mapping[str, str],
) -> Capture:
    if not member.usable:
        return Capture(problem=member.problem)
    if name in failed:
        return Capture(problem=f"the capture was cut off: {failed[name]}")
    return read_capture(started.get(name, {}), ended.get(name, {}))
