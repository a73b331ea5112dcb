"""The verdict of one call from inside the mesh."""

from __future__ import annotations

import json
from collections.abc import Callable

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.mesh import Alive, Call, read_call, read_identities
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.checks import CallCheck, PortCheck, calls_to
from pytest_zerotrust.mesh.engine import ROUNDS, MeshEngine, Snapshot


def application(engine: MeshEngine, snapshot: Snapshot, check: PortCheck) -> Alive:
    """Whether the application behind a port was shown to answer, and by what.

    By an allowed caller inside the mesh; else by the kubelet, if the readiness probe of each pod
    asks this very port and the pods are ready.
    """
    failed = []
    for call in calls_to(engine.intent, check.workload, check.port):
        http = engine.is_http(call.flow.target, call.flow.port)
        reports = snapshot.reports.get(("call", call.id), ())
        last = [read_call(report, http=http)[0] for report in reports[-2:]]
        if len(last) == 2 and all(found is Call.ANSWERED for found in last):
            return Alive(shown=True, text=f"{call.flow.source} inside the mesh was answered")
        failed.append(f"{call.flow.source} inside the mesh was not answered")
    pods = snapshot.pods[check.workload]
    facts = [snapshot.facts.get(pod.uid) for pod in pods]
    number = check.port.number
    asked = [fact is not None and number in fact.probed for fact in facts]
    if pods and all(asked) and all(pod.ready for pod in pods):
        return Alive(shown=True, text=f"the kubelet's readiness probe of port {number} passes")
    failed.append(f"no readiness probe of its pods asks port {number}")
    return Alive(shown=False, text=", and ".join(failed))


def replicas_met(snapshot: Snapshot, key: str, calls: int) -> list[str]:
    """Tells that not every replica is known to have been called, where there are several: a Service
    chooses one each time, and a proxy knows no way to a pod's own address."""
    count = len(snapshot.pods.get(key, ()))
    if count < 2:
        return []
    return [f"replicas: the Service chose among {count} for each of {calls} calls"]


def judge_call(
    engine: MeshEngine, snapshot: Snapshot, check: CallCheck, network: Callable[[], Result]
) -> Result:
    """The verdict on one call from inside the mesh.

    ``network`` returns the verdict on the same flow without the mesh; it is asked only when the
    call fails, because a call that the network cuts says nothing about the mesh.
    """
    flow = check.flow
    source, target = engine.intent.workloads[flow.source], engine.intent.workloads[flow.target]
    title = f"{check.control} {source.name} -> {target.name}:{flow.port} inside the mesh"
    twin = engine.meshed_twin(flow.source)
    member = snapshot.members.get(twin.name)
    problem = member.problem if member is not None and not member.usable else ""
    problem = problem or snapshot.failed.get(twin.name, "")
    reports = snapshot.reports.get(("call", check.id), ())
    if not problem and len(reports) < ROUNDS:
        problem = f"no Service leads to port {flow.port} of {target.name}"
    if problem:
        return Result(
            control=check.control,
            subject=check.subject,
            verdict=Verdict.INCONCLUSIVE,
            reason="probe-not-available",
            headline=f"{title} not tested: {problem}",
        )
    http = engine.is_http(flow.target, flow.port)
    calls = [read_call(report, http=http) for report in reports]
    told = snapshot.reports.get(("identities", twin.name), ())
    named = ", ".join(read_identities(told[-1])) if told else ""
    controls: tuple[str, ...] = (
        f"caller: its proxy calls as {named or 'nobody known'}",
        *replicas_met(snapshot, flow.target, len(calls)),
    )
    # The first call may meet a proxy that has just got its configuration; later ones must agree.
    last, looked = calls[-1]
    reason = ""
    if last is Call.ANSWERED and calls[-2][0] is Call.ANSWERED:
        verdict, what = Verdict.HOLDS, "works, as allowed"
    elif last in (Call.DENIED, Call.NOT_DELIVERED, Call.CUT):
        control = network()
        controls = (*controls, f"network: {control.headline}")
        changed = snapshot.changed.get(flow.target, "")
        if changed:
            # What went away or is not ready could not be reached, whoever asked.
            verdict, reason, what = Verdict.INCONCLUSIVE, "pods-changed", f"{last.value}; {changed}"
        elif control.verdict is Verdict.HOLDS:
            verdict, what = Verdict.VIOLATED, f"REFUSED ({last.value}), expected to be ALLOWED"
        else:
            verdict, reason = Verdict.INCONCLUSIVE, "masked"
            what = f"{last.value}, but the network alone does not let it through either"
    else:
        verdict, reason = Verdict.INCONCLUSIVE, "no-clear-answer"
        what = f"{last.value} ({looked})"
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{title} {what}",
        observed=tuple(f"{call.value}: {text}" for call, text in calls),
        controls=controls,
        objects=(f"Pod {twin.where}",),
        remedy=CONTROLS[check.control].remedy if verdict is Verdict.VIOLATED else "",
        evidence={"calls": json.dumps([text for _, text in calls])},
    )
