"""A fleet without a cluster: probe pods that run at once and see a pretended network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.fleet.run import Run
from pytest_zerotrust.fleet.state import PodState
from pytest_zerotrust.network.enforcement import note_of
from tests.fakes.world import KUBERNETES, Place, World

RUN = Run(id="abcdefgh", secret="s" * 64, owner="me@here", expires="2030-01-01T00:00:00Z")


class FakeFleet:
    """As much of a Fleet as the engines use.

    ``problems`` and ``failing`` (by a pod's subject) are pods that cannot be had, and pods whose
    exec fails; ``after`` changes what is seen of a pod after the batch (None: it is gone).
    """

    run = RUN
    own_namespace = "probes"

    def __init__(self, world: World, nodes: Sequence[str] = ("node-1", "node-2")) -> None:
        self.world = world
        self.nodes = nodes
        self.problems: dict[str, str] = {}
        self.failing: dict[str, str] = {}
        self.after: dict[str, Mapping[str, Any] | None] = {}
        self.deaf: set[str] = set()
        self.service_problem = ""
        self.sealed = True
        self.note = note_of((a, b) for a in nodes for b in nodes)
        self.execs: list[list[str]] = []
        self.declared: list[Mapping[str, Any]] = []
        self.specs: dict[str, PodSpec] = {}

    def members(self, specs: Iterable[PodSpec]) -> dict[str, Member]:
        members = {}
        for spec in specs:
            self.specs.setdefault(spec.name, spec)
            problem = self.problems.get(spec.subject, "")
            state = None if problem else self.state(spec)
            members[spec.name] = Member(spec=spec, state=state, problem=problem)
        return members

    def begin(self, specs: Iterable[PodSpec]) -> None:
        self.members(specs)

    def state(self, spec: PodSpec, **changes: Any) -> PodState:
        index = list(self.specs).index(spec.name)
        node = spec.node or self.nodes[index % len(self.nodes)]
        number = list(self.nodes).index(node) + 1 if node in self.nodes else 1
        values: dict[str, Any] = {
            "name": spec.name,
            "namespace": spec.namespace,
            "uid": f"uid-{index}",
            "ip": f"10.0.0.{index}",
            "node": node,
            "running": True,
            "node_ip": f"172.16.0.{number}",
            "answers_kubelet": spec.subject not in self.deaf,
            "sidecar": False,
            "sidecar_ready": True,
            "hopeless": False,
            "problem": "",
        }
        return PodState(**{**values, **changes})

    def look(self, names: Iterable[str]) -> dict[str, PodState]:
        states = {}
        for name in names:
            changes = self.after.get(self.specs[name].subject, {})
            if changes is not None:
                states[name] = self.state(self.specs[name], **changes)
        return states

    def key_of(self, spec: PodSpec) -> bytes:
        return self.run.pod_key(spec.namespace, spec.name)

    def service_ip(self, target: PodSpec) -> tuple[str, str]:
        if self.service_problem:
            return "", self.service_problem
        return f"10.96.1.{list(self.specs).index(target.name)}", ""

    def node_ports(self, target: PodSpec, *, local: bool) -> tuple[dict[tuple[int, str], int], str]:
        if self.service_problem:
            return {}, self.service_problem
        base = 30000 + 10 * list(self.specs).index(target.name)
        return {(p.number, p.protocol): base + i for i, p in enumerate(target.ports)}, ""

    def service_host(self, target: PodSpec) -> str:
        return f"{list(self.specs).index(target.name)}.svc"

    def declare(self, policy: Mapping[str, Any]) -> None:
        self.declared.append(policy)

    def seal_note(self) -> str | None:
        return self.note if self.sealed else None

    def seal(self, note: str) -> bool:
        self.sealed = True
        self.note = note
        return True

    def ask_all(self, requests: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        self.execs.append(sorted(requests))
        return {name: self._reply(name, probes) for name, probes in requests.items()}

    def _reply(self, name: str, probes: Sequence[Mapping[str, Any]]) -> Any:
        source = self._place(self.specs[name])
        failed = self.failing.get(self.specs[name].subject)
        if failed:
            return failed
        spec = self.specs[name]
        results = [self._report(spec, source, probe) for probe in probes]
        return {"results": results, "kubernetes": KUBERNETES}

    def _report(self, spec: PodSpec, source: Place, probe: Mapping[str, Any]) -> Any:
        if probe["kind"] == "birth":
            return self._birth(spec, source)
        ip = probe.get("ip", "")
        if "host" in probe:
            if not self.world.resolves(source, "UDP"):
                return {"stage": "resolve", "end": "unresolved"}
            ip = f"10.96.1.{probe['host'].partition('.')[0]}"
        if ip.startswith("172.16.") and probe.get("port", 0) >= 30000:
            index, port = divmod(probe["port"] - 30000, 10)
            found = list(self.specs.values())[index]
            probe = {**probe, "port": found.ports[port].number}
            return self.world.attempt(source, self._place(found, f"node {ip}"), probe)
        return self.world.attempt(source, self._at(ip), probe)

    def _birth(self, spec: PodSpec, source: Place) -> Any:
        targets = []
        for probe in spec.birth:
            report = self.world.attempt(source, self._at(str(probe["ip"])), probe)
            entry = [report["stage"], report["end"], report.get("data", "")]
            targets.append([[50.0 * i, *entry] for i in range(30)])
        return {"stage": "birth", "end": "complete", "targets": targets}

    def _at(self, ip: str) -> Place | None:
        network, _, index = ip.rpartition(".")
        via = {"10.0.0": "pod", "10.96.1": "service"}.get(network)
        if via is None or int(index) >= len(self.specs):
            return None
        return self._place(list(self.specs.values())[int(index)], via)

    def _place(self, spec: PodSpec, via: str = "pod") -> Place:
        return Place(
            name=spec.name,
            namespace=spec.namespace,
            role=spec.role.value,
            app=spec.labels.get("app", ""),
            node=self.state(spec).node,
            key=self.key_of(spec),
            via=via,
        )
