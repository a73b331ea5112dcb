"""The verdict on one allowed flow whose caller writes another identity into its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.mesh import Conclusion, Forgery, Told, judge_forwarded, told_by
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.checks import HeaderCheck
from pytest_zerotrust.mesh.engine import ROUNDS, MeshEngine, Snapshot
from pytest_zerotrust.mesh.judge import trouble_of, unknown
from pytest_zerotrust.mesh.judge_call import replicas_met
from pytest_zerotrust.mesh.probes import nonce

_SHOWN = 600
"""Characters of an answer that are kept as evidence."""

Reports = tuple[Mapping[str, Any], ...]


def judge_header(engine: MeshEngine, snapshot: Snapshot, check: HeaderCheck) -> Result:
    """The verdict on one flow: calls through the mesh, and plaintext to each pod of the target."""
    flow = check.flow
    source, target = engine.intent.workloads[flow.source], engine.intent.workloads[flow.target]
    caller = engine.meshed_twin(flow.source)
    genuine = engine.identity(caller.namespace, caller.service_account)
    forged = engine.forged_identity(flow, snapshot.token)

    def told(reports: Reports) -> list[Told]:
        words = {"nonce": nonce(snapshot.token), "forged": forged, "genuine": genuine}
        return [told_by(report, **words) for report in reports]

    calls: Reports = snapshot.reports.get(("call", check.id), ())
    inside = told(calls)
    outside = {pod: told(reports) for pod, reports in _in_plaintext(snapshot, check).items()}
    conclusion = judge_forwarded(
        Forgery(
            inside=inside,
            outside=[item for found in outside.values() for item in found],
            genuine=genuine,
            forged=forged,
        )
    )
    if conclusion.verdict is not Verdict.VIOLATED:
        conclusion = _trouble(engine, snapshot, check) or conclusion
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {source.name} -> {target.name}:{flow.port}: {conclusion.text}",
        observed=(
            *(f"inside the mesh: {item.value}" for item in inside),
            *(f"in plaintext to {p}: {i.value}" for p, found in outside.items() for i in found),
        ),
        controls=tuple(replicas_met(snapshot, flow.target, len(calls))),
        objects=(f"Pod {caller.where}",),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
        evidence={
            "forged": forged,
            "genuine": genuine,
            "answer": str(calls[-1].get("data", ""))[:_SHOWN] if calls else "",
        },
    )


def _in_plaintext(snapshot: Snapshot, check: HeaderCheck) -> dict[str, Reports]:
    """What each pod of the target answered to plaintext."""
    return {
        target.pod.name: snapshot.reports.get(
            ("header", target.vantage.name, target.pod.ip, check.flow.port), ()
        )
        for target in snapshot.targets
        if target.check.id == check.id
    }


def _trouble(engine: MeshEngine, snapshot: Snapshot, check: HeaderCheck) -> Conclusion | None:
    """What keeps an answer from counting, if anything does."""
    flow = check.flow
    targets = [target for target in snapshot.targets if target.check.id == check.id]
    caller = engine.meshed_twin(flow.source)
    member = snapshot.members.get(caller.name)
    problem = member.problem if member is not None else f"{caller.where} was not made"
    problem = problem or snapshot.failed.get(caller.name, "")
    problem = problem or next(filter(None, (trouble_of(snapshot, t) for t in targets)), "")
    if not problem and len(snapshot.reports.get(("call", check.id), ())) < ROUNDS:
        problem = f"no Service leads to port {flow.port} of {flow.target}"
    if problem:
        return unknown("probe-not-available", f"not tested: {problem}")
    changed = snapshot.changed.get(flow.target, "")
    if changed or not targets:
        return unknown("pods-changed", changed or f"{flow.target} has no running pod")
    if any(len(reports) < ROUNDS for reports in _in_plaintext(snapshot, check).values()):
        return unknown("not-observed", "not every attempt in plaintext was observed")
    return None
