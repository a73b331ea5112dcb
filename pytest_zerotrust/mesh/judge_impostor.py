"""The verdict on one allowed flow that is tried with another identity."""

from __future__ import annotations

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.mesh import Conclusion, Pair, judge_pair, read_call, read_identities
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.checks import CallCheck, ImpostorCheck
from pytest_zerotrust.mesh.engine import ROUNDS, MeshEngine, Snapshot
from pytest_zerotrust.mesh.judge_call import replicas_met

_NO_ACCOUNT = (
    "there is no other service account in its namespace to try it with; give its workload one of "
    "its own, beside 'default'"
)


def judge_impostor(engine: MeshEngine, snapshot: Snapshot, check: ImpostorCheck) -> Result:
    """The verdict on one flow, over all rounds of both callers."""
    flow = check.flow
    source, target = engine.intent.workloads[flow.source], engine.intent.workloads[flow.target]
    impostor, caller = engine.impostor(flow.source), engine.meshed_twin(flow.source)
    calls = snapshot.reports.get(("call", check.id), ())
    allowed = snapshot.reports.get(("call", CallCheck(flow=flow).id), ())
    http = engine.is_http(flow.target, flow.port)
    problem = _NO_ACCOUNT if impostor is None else ""
    for spec in filter(None, (impostor, caller)):
        member = snapshot.members.get(spec.name)
        if not problem and (member is None or not member.usable):
            problem = member.problem if member is not None else f"{spec.where} was not made"
        problem = problem or snapshot.failed.get(spec.name, "")
    if not problem and min(len(calls), len(allowed)) < ROUNDS:
        problem = f"no Service leads to port {flow.port} of {target.name}"
    if impostor is None or problem:
        conclusion = Conclusion(
            Verdict.INCONCLUSIVE, "probe-not-available", f"not tested: {problem}"
        )
    else:
        told = snapshot.reports.get(("identities", impostor.name), ())
        conclusion = judge_pair(
            Pair(
                # The first call may meet a proxy that has just got its configuration.
                allowed=[read_call(report, http=http)[0] for report in allowed[1:]],
                impostor=[read_call(report, http=http)[0] for report in calls],
                shown=read_identities(told[-1]) if told else (),
                expected=engine.identity(impostor.namespace, impostor.service_account),
                http=http,
            )
        )
    changed = snapshot.changed.get(flow.target, "")
    if changed and conclusion.verdict is Verdict.HOLDS:
        conclusion = Conclusion(Verdict.INCONCLUSIVE, "pods-changed", changed)
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {source.name} -> {target.name}:{flow.port}: {conclusion.text}",
        observed=tuple(
            f"{who}: {call.value}: {text}"
            for who, reports in (("allowed caller", allowed), ("impostor", calls))
            for call, text in (read_call(report, http=http) for report in reports)
        ),
        controls=tuple(replicas_met(snapshot, flow.target, len(calls))),
        objects=tuple(f"Pod {spec.where}" for spec in filter(None, (caller, impostor))),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
    )
