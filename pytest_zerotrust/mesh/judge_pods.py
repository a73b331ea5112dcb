"""The verdicts on whole pods of a workload: their other ports, and their place in the mesh."""

from __future__ import annotations

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.mesh import (
    OWN_PORTS,
    Conclusion,
    PortSeen,
    judge_enrolment,
    judge_sweep,
    not_supported,
    read_plain,
    read_refuser,
)
from pytest_zerotrust.core.mesh.enrolment import holes
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.checks import EnrolCheck, SweepCheck
from pytest_zerotrust.mesh.engine import ROUNDS, MeshEngine, Snapshot
from pytest_zerotrust.mesh.judge import for_all_replicas, trouble_of, unknown
from pytest_zerotrust.mesh.specs import mesh_of


def judge_other_ports(engine: MeshEngine, snapshot: Snapshot, check: SweepCheck) -> Result:
    """The verdict on all ports of a workload's pods beside the declared ones."""
    workload = engine.intent.workloads[check.workload]
    pods = snapshot.pods[check.workload]
    seen, problems = _seen(engine, snapshot, check)
    other = [f for p in pods if (f := snapshot.facts.get(p.uid)) is not None and f.other_mesh]
    conclusion = not_supported(other[0]) if other else judge_sweep(seen)
    changed = snapshot.changed[check.workload]
    if conclusion.verdict is not Verdict.VIOLATED:
        if not pods:
            conclusion = unknown("no-pod", "the workload has no running pod")
        elif problems and conclusion.verdict is not Verdict.HOLDS:
            conclusion = unknown("probe-not-available", problems[0])
        elif changed:
            conclusion = unknown("pods-changed", changed)
        elif {pod.name for pod in pods} - {port.pod for port in seen}:
            conclusion = unknown("masked", judge_sweep(()).text)
    telling = [p for p in seen if not p.clear and not p.dropped]
    conclusion = for_all_replicas(conclusion, snapshot, check.workload)
    gap = snapshot.policies.gaps.get(workload.namespace, "")
    own = [p for p in telling if p.number in OWN_PORTS]
    return Result(
        control=check.control,
        subject=check.workload,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {workload.name}: {conclusion.text}",
        observed=(
            *(str(port) for port in telling if port not in own),
            *(f"{port} (the proxy's own: {OWN_PORTS[port.number]})" for port in own),
        ),
        controls=(
            f"pods: {changed or f'{len(pods)} ready before and after the batch'}",
            *([f"ports that only policies name were not asked: {gap}"] if gap else ()),
        ),
        objects=tuple(f"Pod {p.namespace}/{p.name}" for p in pods),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
        evidence={"ports": sorted({port.number for port in seen})},
    )


def _seen(
    engine: MeshEngine, snapshot: Snapshot, check: SweepCheck
) -> tuple[list[PortSeen], list[str]]:
    """What each port answered from each place, and what was wrong with the other places."""
    seen: list[PortSeen] = []
    problems: list[str] = []
    for target in snapshot.targets:
        if target.check.id != check.id:
            continue
        trouble = trouble_of(snapshot, target)
        if trouble:
            problems.append(f"not tested from {target.vantage.subject}: {trouble}")
            continue
        fact = snapshot.facts.get(target.pod.uid)
        for number in engine.other_ports(check.workload, fact) if fact is not None else ():
            name = ("sweep", target.vantage.name, target.pod.ip, number)
            reports = snapshot.reports.get(name, ())
            whole = reports if len(reports) == ROUNDS else ()
            refuser = snapshot.reports.get(("refuser", *name[1:]), ())
            seen.append(
                PortSeen(
                    pod=target.pod.name,
                    vantage=f"{target.vantage.role.value} {target.vantage.subject}",
                    number=number,
                    plains=tuple(read_plain(report) for report in whole),
                    refuser=read_refuser(refuser[-1]) if refuser else None,
                )
            )
    return seen, problems


def judge_enrol(api: Api, intent: Intent, check: EnrolCheck) -> Result:
    """List the pods of a workload now, and judge. Raises ApiFailure or ApiUnreachable."""
    workload = intent.workloads[check.workload]
    pods = mesh_of(api, workload, intent)
    conclusion: Conclusion = judge_enrolment(pods)
    return Result(
        control=check.control,
        subject=check.workload,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {workload.name}: {conclusion.text}",
        observed=tuple(f"{pod.where}: {hole}" for pod in pods for hole in holes(pod)),
        objects=tuple(f"Pod {pod.where}" for pod in pods),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
        reproduce=f"kubectl -n {workload.namespace} get pods -o yaml -l "
        + ",".join(f"{k}={v}" for k, v in sorted(workload.labels.items())),
    )
