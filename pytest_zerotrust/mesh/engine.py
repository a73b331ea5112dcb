"""Attacks every meshed port from outside the mesh, and calls allowed flows from inside, in one
batch. Where a network policy leaves no way in, a probe in the node's network is used if allowed.
"""

from __future__ import annotations

import datetime
import secrets
import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_zerotrust.cluster.api import ApiFailure, ApiUnreachable, clock
from pytest_zerotrust.cluster.discovery import LivePod, LiveWorkload, own_pods_of
from pytest_zerotrust.core.intent import Flow, Intent, Port
from pytest_zerotrust.core.mesh import Plain, PodMesh, Refuser, read_plain, read_refuser
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet
from pytest_zerotrust.fleet.plan import PodSpec, Role, twin_labels
from pytest_zerotrust.mesh.checks import (
    DECLARED,
    PLAINTEXT,
    CallCheck,
    Check,
    HeaderCheck,
    ImpostorCheck,
    PortCheck,
    SweepCheck,
    calls_to,
)
from pytest_zerotrust.mesh.forgery import forge
from pytest_zerotrust.mesh.policies import Policies, read_policies
from pytest_zerotrust.mesh.probes import (
    CALL_TIMEOUT,
    CONNECT_TIMEOUT,
    IDENTITIES,
    forged_request,
    nonce,
    port_probes,
    refuser_probe,
    sweep_probe,
    swept_ports,
)
from pytest_zerotrust.mesh.rounds import ROUNDS, Probe, Seen, in_waves, insisting, until_settled
from pytest_zerotrust.mesh.snapshot import Attack, Snapshot, Target
from pytest_zerotrust.mesh.specs import mesh_of_each

__all__ = ["ROUNDS", "MeshEngine", "Snapshot", "Target"]

_Call = CallCheck | ImpostorCheck | HeaderCheck


@dataclass(slots=True)
class MeshEngine:
    """Makes snapshots for checks; a check that a snapshot covers costs nothing more."""

    fleet: Fleet
    intent: Intent
    live: Mapping[str, LiveWorkload]
    _snapshot: Snapshot | None = None
    _failed: dict[str, ZeroTrustError] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

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
        checks = list(checks)
        specs = [caller for call in self._calls(checks) for caller in self._caller(call)]
        if self.intent.mesh is not None and self.intent.mesh.node_vantage:
            for check in checks:
                if isinstance(check, (PortCheck, SweepCheck)):
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

    def impostor(self, key: str) -> PodSpec | None:
        """The same with another service account; None if the namespace has no other."""
        twin = self.meshed_twin(key)
        known = [
            live.service_account
            for other, live in sorted(self.live.items())
            if self.intent.workloads[other].namespace == twin.namespace
        ]
        others = [name for name in ("default", *known) if name != twin.service_account]
        if not others:
            return None
        name = self.fleet.run.name("impostor", twin.namespace, key)
        return replace(twin, name=name, subject=f"impostor of {key}", service_account=others[0])

    def identity(self, namespace: str, service_account: str) -> str:
        """The SPIFFE identity that a pod with this service account must have."""
        domain = self.intent.mesh.trust_domain if self.intent.mesh is not None else ""
        return f"spiffe://{domain}/ns/{namespace}/sa/{service_account}"

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

    def forged_identity(self, flow: Flow, token: str) -> str:
        """The identity that a caller claims to have; nobody has it."""
        return self.identity(self.intent.workloads[flow.source].namespace, f"zerotrust-{token}")

    def payload(self, key: str, port: Port) -> str:
        """What a client sends first: the declared bytes, or a small HTTP request."""
        if port.send:
            return port.send
        host = self._host(key, port)
        return f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"

    def _host(self, key: str, port: Port) -> str:
        service = self.live[key].service
        namespace = self.intent.workloads[key].namespace
        return f"{f'{service.name}.{namespace}' if service else key}:{port.number}"

    def other_ports(self, key: str, fact: PodMesh) -> list[int]:
        """The ports of a workload's pod that are attacked beside the declared ones."""
        ports = self.intent.workloads[key].ports
        return swept_ports(fact, frozenset(p.number for p in ports if p.protocol == "TCP"))

    def _calls(self, checks: Iterable[Check]) -> list[_Call]:
        """The calls that are demanded, and those that show an application behind a port, or that
        the caller whom an impostor imitates is answered."""
        calls: dict[str, _Call] = {}
        for check in checks:
            if isinstance(check, (CallCheck, HeaderCheck)):
                calls[check.id] = check
            elif isinstance(check, ImpostorCheck):
                allowed = CallCheck(flow=check.flow)
                calls |= {check.id: check, allowed.id: allowed}
            elif isinstance(check, PortCheck) and check.control == PLAINTEXT:
                for call in calls_to(self.intent, check.workload, check.port):
                    calls[call.id] = call
        return list(calls.values())

    def _caller(self, call: _Call) -> list[PodSpec]:
        """The pod that makes a call, if there can be one."""
        if not isinstance(call, ImpostorCheck):
            return [self.meshed_twin(call.flow.source)]
        impostor = self.impostor(call.flow.source)
        return [impostor] if impostor is not None else []

    def _observe(self, checks: Iterable[Check]) -> Snapshot:
        checks = list(checks)
        attacks = [c for c in checks if isinstance(c, (PortCheck, SweepCheck, HeaderCheck))]
        calls = self._calls(checks)
        keys = sorted({_attacked(check) for check in attacks})
        called = {call.flow.target for call in calls}
        pods = {key: self._pods(key) for key in sorted({*keys, *called})}
        policies = self._policies(keys)
        told = self._facts(keys, policies)
        facts = {fact.uid: fact for found in told.values() for fact in found}
        targets = [t for check in attacks for t in self._targets(check, pods[_attacked(check)])]
        specs = {t.vantage.name: t.vantage for t in targets}
        specs |= {spec.name: spec for call in calls for spec in self._caller(call)}
        members = self.fleet.members(specs.values())
        roots = self._roots(c.workload for c in attacks if not isinstance(c, HeaderCheck))
        usable = [t for t in targets if members[t.vantage.name].usable]
        token = secrets.token_hex(8)
        probes = [
            *self._port_probes(usable, roots, clock(self.fleet.api)),
            *self._header_probes(usable, token),
        ]
        probes += [p for p in self._call_probes(calls, token) if members[p.pod].usable]
        seen = until_settled(self.fleet, probes)
        swept = in_waves(self.fleet, self._sweep_probes(usable, facts))
        refusers = insisting(self.fleet, self._refuser_probes(usable, swept, roots), _is_told)
        declared = [c for c in attacks if isinstance(c, PortCheck) and c.control == DECLARED]
        return Snapshot(
            members=members,
            pods=pods,
            changed={key: self._change(key, before) for key, before in pods.items()},
            targets=tuple(targets),
            reports={**seen.reports, **swept.reports, **refusers.reports},
            failed={**seen.failed, **swept.failed, **refusers.failed},
            covered=frozenset(check.id for check in checks),
            facts=facts,
            on_node={
                key: tuple(fact.where for fact in found if fact.host_network)
                for key, found in told.items()
            },
            roots=roots,
            policies=policies,
            policies_changed=policies.difference(self._policies(keys)) if declared else "",
            token=token,
            moment=clock(self.fleet.api),
        )

    def _pods(self, key: str) -> tuple[LivePod, ...]:
        return tuple(own_pods_of(self.fleet.api, self.intent.workloads[key], self.intent))

    def _facts(self, keys: Iterable[str], policies: Policies) -> dict[str, list[PodMesh]]:
        """What the pods of these workloads say, with the ports that policies name for them."""
        workloads = [self.intent.workloads[key] for key in keys]
        found = mesh_of_each(self.fleet.api, workloads, self.intent)
        return {
            key: [
                replace(fact, ports=fact.ports | policies.ports_of(fact.namespace, fact.labels))
                for fact in facts
            ]
            for key, facts in found.items()
        }

    def _policies(self, keys: Iterable[str]) -> Policies:
        """What is declared for these workloads, in their namespaces and for the whole mesh."""
        root = self.intent.mesh.root_namespace if self.intent.mesh is not None else ""
        namespaces = sorted({self.intent.workloads[key].namespace for key in keys})
        if not namespaces:
            return Policies()
        return read_policies(self.fleet.api, [*namespaces, *filter(None, [root])])

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
        for uid in after.keys() - {pod.uid for pod in before}:
            return f"pod {after[uid].namespace}/{after[uid].name} came during the batch"
        return ""

    def _targets(self, check: Attack, pods: Iterable[LivePod]) -> list[Target]:
        """Every place from which a pod may be attacked: allowed sources, then the pod's node."""
        if isinstance(check, HeaderCheck):
            source = check.flow.source
            twin = topology.twin(self.fleet.run, self.intent.workloads[source], self.live[source])
            return [Target(check=check, pod=pod, vantage=twin) for pod in pods]
        declared = self.intent.workloads[check.workload].ports
        ports = (check.port,) if isinstance(check, PortCheck) else declared
        sources = [key for port in ports for key in self.intent.sources_of(check.workload, port)]
        vantages = [
            topology.twin(self.fleet.run, self.intent.workloads[key], self.live[key])
            for key in dict.fromkeys(sources)
        ]
        targets = []
        for pod in pods:
            here = list(vantages)
            if self.intent.mesh is not None and self.intent.mesh.node_vantage:
                here.append(self.node_probe(pod.node))
            targets += [Target(check=check, pod=pod, vantage=vantage) for vantage in here]
        return targets

    def _port_probes(
        self, targets: Iterable[Target], roots: Mapping[str, str], now: datetime.datetime
    ) -> Iterator[Probe]:
        mesh = self.intent.mesh
        forged = forge(mesh.trust_domain, now) if mesh is not None else {}
        done: set[Hashable] = set()
        for target in targets:
            check = target.check
            if not isinstance(check, PortCheck):
                continue
            kinds = port_probes(
                target.pod.ip,
                check.port.number,
                self.payload(check.workload, check.port),
                root=roots.get(target.pod.namespace, ""),
                forged=forged,
            )
            for kind, request in kinds:
                name = (kind, target.vantage.name, target.pod.ip, check.port)
                if name not in done:
                    done.add(name)
                    yield Probe(name=name, pod=target.vantage.name, request=request)

    def _header_probes(self, targets: Iterable[Target], token: str) -> Iterator[Probe]:
        """The forged header in plaintext, from those who may reach the port."""
        for target in targets:
            if isinstance(target.check, HeaderCheck):
                flow = target.check.flow
                base = {"ip": target.pod.ip, "port": flow.port.number, "timeout": CONNECT_TIMEOUT}
                request = {"kind": "tcp", **base, "send": self._forged(flow, token), "until": ""}
                name = ("header", target.vantage.name, target.pod.ip, flow.port)
                yield Probe(name=name, pod=target.vantage.name, request=request)

    def _forged(self, flow: Flow, token: str) -> str:
        host = self._host(flow.target, flow.port)
        identity = self.forged_identity(flow, token)
        return forged_request(host, flow.port.echo, identity=identity, nonce=nonce(token))

    def _sweep_probes(
        self, targets: Iterable[Target], facts: Mapping[str, PodMesh]
    ) -> Iterator[Probe]:
        for target in targets:
            fact = facts.get(target.pod.uid)
            if isinstance(target.check, SweepCheck) and fact is not None:
                for number in self.other_ports(target.check.workload, fact):
                    name = ("sweep", target.vantage.name, target.pod.ip, number)
                    request = sweep_probe(target.pod.ip, number)
                    yield Probe(name=name, pod=target.vantage.name, request=request)

    def _refuser_probes(
        self, targets: Iterable[Target], swept: Seen, roots: Mapping[str, str]
    ) -> Iterator[Probe]:
        """TLS to those ports that reset plaintext, to know who did it."""
        by_ip = {target.pod.ip: roots.get(target.pod.namespace, "") for target in targets}
        for name, reports in swept.reports.items():
            assert isinstance(name, tuple)
            _, vantage, ip, number = name
            if by_ip[ip] and any(read_plain(report) is Plain.RESET for report in reports):
                request = refuser_probe(ip, number, by_ip[ip])
                yield Probe(name=("refuser", vantage, ip, number), pod=vantage, request=request)

    def _roots(self, keys: Iterable[str]) -> dict[str, str]:
        """The mesh's root certificates (PEM), which istiod puts into every namespace."""
        roots = {}
        for namespace in sorted({self.intent.workloads[key].namespace for key in keys}):
            path = f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert"
            response = self.fleet.api.request("GET", path)
            data: Mapping[str, str] = response.body.get("data", {}) if response.ok else {}
            roots[namespace] = data.get("root-cert.pem", "")
        return roots

    def _call_probes(self, calls: Iterable[_Call], token: str) -> Iterator[Probe]:
        told: set[str] = set()
        for check in calls:
            service = self.live[check.flow.target].service
            number = service.ports.get(check.flow.port.number) if service else None
            if service is None or number is None:
                continue
            forged = isinstance(check, HeaderCheck)
            http = forged or self.is_http(check.flow.target, check.flow.port)
            payload = self.payload(check.flow.target, check.flow.port)
            request = {
                "kind": "tcp",
                "ip": service.ip,
                "port": number,
                "timeout": CALL_TIMEOUT,
                "send": self._forged(check.flow, token) if forged else payload,
                "until": "" if http else "\n",
            }
            for caller in self._caller(check):
                yield Probe(name=("call", check.id), pod=caller.name, request=request)
                if caller.name not in told:
                    told.add(caller.name)
                    name = ("identities", caller.name)
                    yield Probe(name=name, pod=caller.name, request=IDENTITIES)


def _attacked(check: Attack) -> str:
    """The workload that a check attacks."""
    return check.flow.target if isinstance(check, HeaderCheck) else check.workload


def _is_told(report: Mapping[str, Any]) -> bool:
    """True if it is known who refuses, or that somebody does not."""
    return bool(report.get("data")) or read_refuser(report) in (Refuser.DEMANDS, Refuser.ENDS)
