"""The network engine in this process, on probe pods that are there already, phase by phase."""

from __future__ import annotations

import functools
import resource
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ci.lab.settings import Lab
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.cluster.discovery import discover
from pytest_zerotrust.cluster.policies import read_policies
from pytest_zerotrust.core.intent import Flow, Intent
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result
from pytest_zerotrust.fleet.cleanup import delete_run
from pytest_zerotrust.fleet.fleet import Fleet
from pytest_zerotrust.fleet.manifests import own_pod_security
from pytest_zerotrust.fleet.run import new_run
from pytest_zerotrust.network.batch import CONNECT_TIMEOUT
from pytest_zerotrust.network.checks import Check, FlowCheck, Via, flow_check
from pytest_zerotrust.network.enforcement import LEAD
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge import Judge

Probes = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One time that pods were asked: how many, with how many probes, how long it took, and how
    long the slowest agent was at it. ``kind`` is the kind of the first probe."""

    kind: str
    pods: int
    probes: int
    seconds: float
    slowest: float


class TimedFleet(Fleet):
    """A fleet that remembers how long its pods took to answer."""

    askings: list[Asking]

    def ask_all(self, requests: Probes) -> dict[str, Mapping[str, Any] | str]:
        """Ask as a fleet does, and keep the time."""
        began = time.monotonic()
        replies = super().ask_all(requests)
        took = [float(r.get("took", 0.0)) for r in replies.values() if not isinstance(r, str)]
        kinds = [str(probes[0]["kind"]) for probes in requests.values() if probes]
        self.askings.append(
            Asking(
                kind=kinds[0] if kinds else "none",
                pods=len(requests),
                probes=sum(map(len, requests.values())),
                seconds=time.monotonic() - began,
                slowest=max(took, default=0.0),
            )
        )
        return replies


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """One matrix. All times in seconds; ``lead`` is the deliberate sleep that ``total`` leaves
    out. ``request`` is what one request without probes to every source pod takes."""

    flows: int
    denied: int
    verdicts: Mapping[str, int]
    unexpected: tuple[str, ...]
    prepared: float
    total: float
    observed: float
    judged: float
    lead: float
    request: float
    rounds: int
    askings: tuple[Asking, ...]
    own_cpu: float

    @property
    def rate(self) -> float:
        """Flows a second."""
        return self.flows / self.total

    @property
    def floor(self) -> float:
        """One time-out and one request to each source pod."""
        return CONNECT_TIMEOUT + self.request


@dataclass(slots=True, kw_only=True)
class Ground:
    """A prepared fleet, and the checks that it is for."""

    intent: Intent
    fleet: TimedFleet
    engine: NetworkEngine
    checks: Sequence[Check]
    prepared: float = 0.0
    requests: dict[str, list[Any]] = field(default_factory=dict)

    def again(self) -> NetworkEngine:
        """An engine that has seen nothing yet, on the same pods."""
        old = self.engine
        return NetworkEngine(old.fleet, old.workloads, old.live, old.read_policies)


def connect(lab: Lab) -> Api:
    """A connection to the lab as its administrator."""
    return Api(open_connection(ClusterOptions(kubeconfig=str(lab.kubeconfig))))


def all_flows(intent: Intent) -> list[FlowCheck]:
    """One check for each pair of workloads and each port, by pod IP."""
    return [
        flow_check(intent, Flow(source, target, port), Via.POD_IP)
        for source in intent.workloads
        for target, workload in intent.workloads.items()
        if source != target
        for port in workload.ports
    ]


@contextmanager
def prepared(api: Api, intent: Intent, checks: Sequence[Check]) -> Iterator[Ground]:
    """Make all probe pods that the checks need and wait for them; delete them in the end."""
    run = new_run("bench")
    fleet = TimedFleet(
        api,
        run,
        intent.probe,
        intent.probe.image,
        allowed_namespaces=intent.namespaces,
        pod_security=own_pod_security(intent),
    )
    fleet.askings = []
    began = time.monotonic()
    engine = NetworkEngine(
        fleet, intent.workloads, discover(api, intent), functools.partial(read_policies, api)
    )
    try:
        members = fleet.members(engine.plan(checks))
        bad = [member.problem for member in members.values() if not member.usable]
        assert not bad, bad
        twins = [name for name, member in members.items() if member.spec.role.value == "twin"]
        yield Ground(
            intent=intent,
            fleet=fleet,
            engine=engine,
            checks=checks,
            prepared=time.monotonic() - began,
            requests={name: [] for name in twins},
        )
    finally:
        delete_run(
            api,
            run,
            namespaces=intent.namespaces,
            own_namespaces=[intent.probe.namespace],
        )


def measure(ground: Ground) -> EngineRun:
    """Observe and judge the whole matrix once."""
    fleet, checks = ground.fleet, ground.checks
    began = time.monotonic()
    fleet.ask_all(ground.requests)
    request = time.monotonic() - began
    fleet.askings.clear()
    sealed = fleet.seal_note() is not None
    cpu = _cpu()
    began = time.monotonic()
    engine = ground.again()
    snapshot = engine.snapshot(checks[0], checks)
    seen = time.monotonic()
    judge = Judge(engine, snapshot)
    results = [judge.of(check) for check in checks]
    ended = time.monotonic()
    lead = 0.0 if sealed else LEAD
    return EngineRun(
        flows=len(checks),
        denied=sum(getattr(check, "expected", None) is Expected.DENIED for check in checks),
        verdicts=Counter(result.verdict.value for result in results),
        unexpected=tuple(_unexpected(results)),
        prepared=ground.prepared,
        total=ended - began - lead,
        observed=seen - began - lead,
        judged=ended - seen,
        lead=lead,
        request=request,
        rounds=len(snapshot.rounds),
        askings=tuple(fleet.askings),
        own_cpu=_cpu() - cpu,
    )


def _unexpected(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        if result.verdict.value != "holds":
            yield result.headline


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
