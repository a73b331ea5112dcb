"""The benchmark behind ``ci/bench-mesh``: every port of many meshed workloads classified, and what
the time is spent on."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ci.lab.settings import Lab, LabError, load
from pytest_zerotrust.checks import KINDS, NothingToCheck, checks_of
from pytest_zerotrust.cluster.api import Api, Response
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.cluster.discovery import discover
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.cleanup import delete_run
from pytest_zerotrust.fleet.manifests import own_pod_security
from pytest_zerotrust.fleet.run import new_run
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.mesh.checks import (
    Check,
    EnrolCheck,
    HeaderCheck,
    ImpostorCheck,
    PortCheck,
    SweepCheck,
)
from pytest_zerotrust.mesh.engine import MeshEngine, Snapshot
from pytest_zerotrust.mesh.judge import judge_port
from pytest_zerotrust.mesh.judge_call import judge_call
from pytest_zerotrust.mesh.judge_header import judge_header
from pytest_zerotrust.mesh.judge_impostor import judge_impostor
from pytest_zerotrust.mesh.judge_pods import judge_enrol, judge_other_ports

from .meshfield import MeshField, clear, lay_out
from .ours import TimedFleet


class TimedApi(Api):
    """A connection that remembers how many requests were sent, and how long they took (seconds,
    those at one time counted each)."""

    requests = 0
    seconds = 0.0

    def request(self, method: str, path: str, **more: Any) -> Response:
        """Send one request, and keep the time."""
        began = time.monotonic()
        try:
            return super().request(method, path, **more)
        finally:
            self.requests += 1
            self.seconds += time.monotonic() - began


@dataclass(slots=True, kw_only=True)
class Phase:
    """One part of a run: its name, and how long it took (seconds)."""

    name: str
    seconds: float = 0.0
    requests: int = 0
    waited: float = 0.0


@dataclass(slots=True, kw_only=True)
class Ground:
    """What a run needs: the fleet, the checks, and the phases of what was done so far."""

    api: TimedApi
    fleet: TimedFleet
    intent: Intent
    engine: MeshEngine
    checks: Sequence[Check]
    enrols: Sequence[EnrolCheck]
    phases: list[Phase] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Keep the time of what is done inside."""
        began, requests, waited = time.monotonic(), self.api.requests, self.api.seconds
        yield
        self.phases.append(
            Phase(
                name=name,
                seconds=time.monotonic() - began,
                requests=self.api.requests - requests,
                waited=self.api.seconds - waited,
            )
        )


def main(argv: Sequence[str]) -> int:
    """Measure and print; 1 if anything does not hold."""
    parser = argparse.ArgumentParser(prog="ci/bench-mesh", description=__doc__)
    parser.add_argument("--name", default="zt", help="a running lab with its mesh (default: zt)")
    parser.add_argument("--workloads", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--repeats", type=int, default=3, help="warm runs (default: 3)")
    options = parser.parse_args(argv)
    if options.workloads < 3:
        parser.error("--workloads must be 3 at least")
    lab, ground = load(options.name), MeshField(count=options.workloads)
    try:
        began = time.monotonic()
        lay_out(lab, ground)
        print(f"{ground.count} meshed workloads made in {time.monotonic() - began:.0f} s")
        return _measure(lab, ground, options.repeats)
    finally:
        clear(lab)


def _measure(lab: Lab, ground: MeshField, repeats: int) -> int:
    api = TimedApi(open_connection(ClusterOptions(kubeconfig=str(lab.kubeconfig))))
    intent = intent_from_text(ground.intent(), "the benchmark")
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
    every = [c for name in KINDS for c in checks_of(name, intent) if c.control.startswith("ZT-MSH")]
    found = [check for check in every if not isinstance(check, NothingToCheck)]
    try:
        made = Ground(
            api=api,
            fleet=fleet,
            intent=intent,
            engine=MeshEngine(fleet, intent, discover(api, intent)),
            checks=[check for check in found if isinstance(check, Check)],
            enrols=[check for check in found if isinstance(check, EnrolCheck)],
        )
        wrong = [_once("cold, with the probe pods made", made)]
        for number in range(1, repeats + 1):
            wrong.append(_once(f"warm, {number} of {repeats}", made))
    finally:
        delete_run(api, run, namespaces=intent.namespaces, own_namespaces=[intent.probe.namespace])
    return 1 if any(wrong) else 0


def _once(title: str, ground: Ground) -> int:
    """Observe and judge everything once, with an engine that has seen nothing yet, and print;
    returns how many checks do not hold."""
    old = ground.engine
    engine = MeshEngine(old.fleet, old.intent, old.live)
    ground.fleet.askings.clear()
    ground.phases.clear()
    began = time.monotonic()
    with ground.phase("observed"):
        snapshot = engine.snapshot(ground.checks[0], ground.checks)
    with ground.phase("judged"):
        results = [_judged(engine, snapshot, check) for check in ground.checks]
    with ground.phase("specifications judged"):
        results += [judge_enrol(ground.api, ground.intent, check) for check in ground.enrols]
    _show(title, ground, results, time.monotonic() - began)
    return sum(result.verdict is not Verdict.HOLDS for result in results)


def _judged(engine: MeshEngine, snapshot: Snapshot, check: Check) -> Result:
    if isinstance(check, PortCheck):
        return judge_port(engine, snapshot, check)
    if isinstance(check, SweepCheck):
        return judge_other_ports(engine, snapshot, check)
    if isinstance(check, ImpostorCheck):
        return judge_impostor(engine, snapshot, check)
    if isinstance(check, HeaderCheck):
        return judge_header(engine, snapshot, check)
    return judge_call(engine, snapshot, check, _no_network(check.id))


def _no_network(subject: str) -> Callable[[], Result]:
    return lambda: Result(
        control="none",
        subject=subject,
        verdict=Verdict.INCONCLUSIVE,
        reason="not-observed",
        headline="the benchmark does not look at the network",
    )


def _show(title: str, ground: Ground, results: Sequence[Result], total: float) -> None:
    modes: Counter[str] = Counter()
    for result in results:
        if result.control == "ZT-MSH-001":
            modes.update(dict(result.evidence.get("modes", {})).values())
    verdicts = Counter(result.verdict.value for result in results)
    print(
        f"{title}: {total:.2f} s, {len(results)} checks {dict(verdicts)}; ports {dict(modes)}; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    for phase in ground.phases:
        print(
            f"  {phase.name}: {phase.seconds:.2f} s; {phase.requests} requests to the API server, "
            f"{phase.waited:.2f} s of waiting for it"
        )
    for asking in ground.fleet.askings:
        print(
            f"  asked {asking.pods} pods, {asking.probes} probes: {asking.seconds:.2f} s, the "
            f"slowest agent {asking.slowest:.2f} s"
        )
    asked = sum(asking.seconds for asking in ground.fleet.askings)
    observed = ground.phases[0]
    print(f"  observed without asking pods: {observed.seconds - asked:.2f} s")
    for result in results:
        if result.verdict is not Verdict.HOLDS:
            print(f"  NOT AS EXPECTED: {result.headline}")


if __name__ == "__main__":
    import sys

    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as problem:
        sys.exit(f"ci/bench-mesh: {problem}")
