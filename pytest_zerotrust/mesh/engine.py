"""Attacks every meshed port from outside the mesh, and calls allowed flows from inside, in one
batch. Where a network policy leaves no way in, a probe in the node's network is used if allowed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.cluster.api import ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.discovery import LivePod, LiveWorkload, own_pods_of
from pytest_zerotrust.core.intent import Intent, Port
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import PodSpec, Role, twin_labels
from pytest_zerotrust.mesh.checks import CallCheck, PortCheck

Check = PortCheck | CallCheck

CONNECT_TIMEOUT = 1.5
CALL_TIMEOUT = 5.0
"""Seconds for a call through two proxies and an application."""

ROUNDS = 3
"""Attacks are repeated with fresh connections; the last rounds must agree."""

SETTLE = 10.0
"""Seconds for which connections that cannot be made are given time to come about."""

LIMIT = 30.0
"""Seconds after which rounds end even though the answers still change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One port of one real pod, attacked from one probe pod."""

    check: PortCheck
    pod: LivePod
    vantage: PodSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one batch saw. ``reports`` are the agents' raw reports by probe, one for each round."""

    members: Mapping[str, Member]
    pods: Mapping[str, tuple[LivePod, ...]]
    changed: Mapping[str, str]
    targets: tuple[Target, ...]
    reports: Mapping[Hashable, tuple[Mapping[str, Any], ...]]
    failed: Mapping[str, str]
    covered: frozenset[str]


@dataclass(slots=True)
class MeshEngine:
    """Makes snapshots for checks; a check that a snapshot covers costs nothing more."""

    fleet: Fleet
    intent: Intent
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
        specs: list[PodSpec] = []
        for check in checks:
            if isinstance(check, CallCheck):
                specs.append(self.meshed_twin(check.flow.source))
            elif self.intent.mesh is not None and self.intent.mesh.node_vantage:
                specs += [self.node_probe(node) for node in self.live[check.workload].nodes]
        return specs

    def meshed_twin(self, key: str) -> PodSpec:
        """The twin of a workload inside the mesh."""
        workload, live = self.intent.workloads[key], self.live[key]
        return PodSpec(
            name=self.fleet.run.name("meshed", workload.namespace, key),
            namespace=workload.namespace,
            role=Role.MESHED,
            subject=key,
            labels=twin_labels(live.labels),
            service_account=live.service_account,
            refusal=topology.refusal(live),
        )

    def node_probe(self, node: str) -> PodSpec:
        """The probe in a node's own network."""
        return topology.node_probe(self.fleet.run, self.fleet.own_namespace, node)

    def is_http(self, key: str, port: Port) -> bool:
        """True if the workload's port speaks HTTP, as far as the intent and its Service tell."""
        if port.send:
            return False
        service = self.live[key].service
        name = service.names.get(port.number, "") if service else ""
        return not name.startswith(("tcp", "tls", "mongo", "mysql", "redis"))

    def payload(self, key: str, port: Port) -> str:
        """What a client sends first: the declared bytes, or a small HTTP request."""
        if port.send:
            return port.send
        workload = self.intent.workloads[key]
        service = self.live[key].service
        host = f"{service.name}.{workload.namespace}" if service else key
        return f"GET / HTTP/1.1\r\nHost: {host}:{port.number}\r\nConnection: close\r\n\r\n"

    def _observe(self, checks: Iterable[Check]) -> Snapshot:
        checks = list(checks)
        ports = [check for check in checks if isinstance(check, PortCheck)]
        calls = [check for check in checks if isinstance(check, CallCheck)]
        pods = {key: self._pods(key) for key in sorted({check.workload for check in ports})}
        targets = [t for check in ports for t in self._targets(check, pods[check.workload])]
        specs = {t.vantage.name: t.vantage for t in targets}
        specs |= {s.name: s for s in (self.meshed_twin(c.flow.source) for c in calls)}
        members = self.fleet.members(specs.values())
        probes = self._port_probes([t for t in targets if members[t.vantage.name].usable])
        for name, pod, probe in self._call_probes(calls):
            if members[pod].usable:
                probes.append((name, pod, probe))
        reports, failed = self._run(probes)
        return Snapshot(
            members=members,
            pods=pods,
            changed={key: self._change(key, before) for key, before in pods.items()},
            targets=tuple(targets),
            reports=reports,
            failed=failed,
            covered=frozenset(check.id for check in checks),
        )

    def _pods(self, key: str) -> tuple[LivePod, ...]:
        return tuple(own_pods_of(self.fleet.api, self.intent.workloads[key], self.intent))

    def _change(self, key: str, before: tuple[LivePod, ...]) -> str:
        """What changed about a workload's pods during the batch, or nothing."""
        try:
            after = {pod.uid: pod for pod in self._pods(key)}
        except (ApiFailure, ApiUnreachable) as error:
            return f"its pods could not be listed again: {error}"
        for pod in before:
            if pod.uid not in after:
                return f"pod {pod.namespace}/{pod.name} went away during the batch"
            if not pod.ready or not after[pod.uid].ready:
                return f"pod {pod.namespace}/{pod.name} is not ready"
        return ""

    def _targets(self, check: PortCheck, pods: tuple[LivePod, ...]) -> list[Target]:
        """Every place from which a port may be attacked: allowed sources, then the pod's node."""
        vantages = [
            topology.twin(self.fleet.run, self.intent.workloads[key], self.live[key])
            for key in self.intent.sources_of(check.workload, check.port)
        ]
        targets = []
        for pod in pods:
            here = list(vantages)
            if self.intent.mesh is not None and self.intent.mesh.node_vantage:
                here.append(self.node_probe(pod.node))
            targets += [Target(check=check, pod=pod, vantage=vantage) for vantage in here]
        return targets

    def _port_probes(
        self, targets: Iterable[Target]
    ) -> list[tuple[Hashable, str, Mapping[str, Any]]]:
        roots: dict[str, str] = {}
        probes: dict[Hashable, tuple[Hashable, str, Mapping[str, Any]]] = {}
        for target in targets:
            workload, port = target.check.workload, target.check.port
            namespace = target.pod.namespace
            if namespace not in roots:
                roots[namespace] = self._mesh_root(namespace)
            base = {"ip": target.pod.ip, "port": port.number, "timeout": CONNECT_TIMEOUT}
            payload = self.payload(workload, port)
            kinds: dict[str, Mapping[str, Any]] = {
                "plain": {"kind": "tcp", **base, "send": payload, "until": "\n"},
                "tls": {"kind": "tls", **base},
                "tls-istio": {"kind": "tls", **base, "alpn": ["istio"]},
            }
            if roots[namespace]:
                kinds["tls-verified"] = {"kind": "tls", **base, "ca": roots[namespace]}
            for kind, probe in kinds.items():
                name = (kind, target.vantage.name, target.pod.ip, port)
                probes[name] = (name, target.vantage.name, probe)
        return list(probes.values())

    def _mesh_root(self, namespace: str) -> str:
        """The mesh's root certificates (PEM), which istiod puts into every namespace."""
        path = f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert"
        response = self.fleet.api.request("GET", path)
        data: Mapping[str, str] = response.body.get("data", {}) if response.ok else {}
        return data.get("root-cert.pem", "")

    def _call_probes(
        self, calls: Iterable[CallCheck]
    ) -> list[tuple[Hashable, str, Mapping[str, Any]]]:
        probes: list[tuple[Hashable, str, Mapping[str, Any]]] = []
        for check in calls:
            service = self.live[check.flow.target].service
            number = service.ports.get(check.flow.port.number) if service else None
            if service is None or number is None:
                continue
            http = self.is_http(check.flow.target, check.flow.port)
            probe = {
                "kind": "tcp",
                "ip": service.ip,
                "port": number,
                "timeout": CALL_TIMEOUT,
                "send": self.payload(check.flow.target, check.flow.port),
                "until": "" if http else "\n",
            }
            source = self.meshed_twin(check.flow.source).name
            probes.append((("call", check.id), source, probe))
        return probes

    def _run(
        self, probes: list[tuple[Hashable, str, Mapping[str, Any]]]
    ) -> tuple[dict[Hashable, tuple[Mapping[str, Any], ...]], dict[str, str]]:
        reports: dict[Hashable, list[Mapping[str, Any]]] = {}
        failed: dict[str, str] = {}
        requests: dict[str, list[Mapping[str, Any]]] = {}
        names: dict[str, list[Hashable]] = {}
        for name, pod, probe in probes:
            requests.setdefault(pod, []).append(probe)
            names.setdefault(pod, []).append(name)
        started = time.monotonic()
        while True:
            failed.clear()
            for pod, reply in self.fleet.ask_all(requests).items():
                if isinstance(reply, str):
                    failed[pod] = reply
                    continue
                for name, report in zip(names[pod], reply["results"], strict=True):
                    reports.setdefault(name, []).append(report)
            elapsed = time.monotonic() - started
            kept = {name: seen[-ROUNDS:] for name, seen in reports.items()}
            stable = not failed and all(_agree(seen) for seen in kept.values())
            clear = all(_clear(seen[-1]) for seen in kept.values())
            if (stable and (clear or elapsed >= SETTLE)) or elapsed >= LIMIT:
                return {name: tuple(seen) for name, seen in kept.items()}, failed


def _agree(reports: list[Mapping[str, Any]]) -> bool:
    """True if there are enough rounds, and all of them look alike."""
    looks = {(r.get("stage"), r.get("end"), bool(r.get("data")), r.get("alert")) for r in reports}
    return len(reports) == ROUNDS and len(looks) == 1


def _clear(report: Mapping[str, Any]) -> bool:
    """True unless the connection was not even made, as it is while pods are still new to a node."""
    return report.get("stage") in ("exchange", "handshake")
