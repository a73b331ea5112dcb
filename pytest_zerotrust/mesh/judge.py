"""From a mesh snapshot to the verdict of one check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.mesh import (
    Call,
    Conclusion,
    PortEvidence,
    Tls,
    judge_identity,
    judge_plaintext,
    read_call,
    read_plain,
    read_tls,
)
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.certificates import spiffe_names
from pytest_zerotrust.mesh.checks import CallCheck, PortCheck
from pytest_zerotrust.mesh.engine import ROUNDS, MeshEngine, Snapshot, Target


def judge_port(engine: MeshEngine, snapshot: Snapshot, check: PortCheck) -> Result:
    """The verdict on one meshed port, over all pods of the workload and all rounds.

    One violated pod or round is a violation; otherwise everything must hold. Of several vantages
    of one pod those that a network policy masks are passed over, if another one is not masked.
    """
    workload = engine.intent.workloads[check.workload]
    name = f"{workload.name}:{check.port}"
    pods = snapshot.pods[check.workload]
    by_pod: list[tuple[str, Conclusion]] = []
    observed: list[str] = []
    for pod in pods:
        concluded = []
        for target in snapshot.targets:
            if target.check.id == check.id and target.pod.uid == pod.uid:
                conclusion, lines = _attack(engine, snapshot, target)
                concluded.append(conclusion)
                observed += lines
        by_pod.append((f"{pod.namespace}/{pod.name}", _best_vantage(concluded)))
    violated = [(p, c) for p, c in by_pod if c.verdict is Verdict.VIOLATED]
    open_ = [(p, c) for p, c in by_pod if c.verdict is not Verdict.HOLDS]
    changed = snapshot.changed[check.workload]
    if violated:
        pod_name, conclusion = violated[0]
    elif not pods:
        pod_name, conclusion = "", _unknown("no-pod", "the workload has no running pod")
    elif open_:
        pod_name, conclusion = open_[0]
    elif changed:
        pod_name, conclusion = "", _unknown("pods-changed", changed)
    else:
        pod_name, conclusion = by_pod[0]
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {name}: {conclusion.text}",
        observed=tuple(observed),
        controls=(f"pods: {changed or f'{len(pods)} ready before and after the batch'}",),
        objects=tuple(f"Pod {p.namespace}/{p.name}" for p in pods),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
        reproduce=_by_hand(snapshot, check),
        evidence={"pod": pod_name},
    )


def _unknown(reason: str, text: str) -> Conclusion:
    return Conclusion(Verdict.INCONCLUSIVE, reason, text)


def _best_vantage(concluded: list[Conclusion]) -> Conclusion:
    if not concluded:
        return _unknown(
            "masked",
            "no workload may reach this port, so it cannot be attacked from a pod; "
            "set mesh.nodeVantage: true in the intent file to attack it from its node",
        )
    for conclusion in concluded:
        if conclusion.verdict is Verdict.VIOLATED:
            return conclusion
    telling = [c for c in concluded if c.reason not in ("masked", "probe-not-available")]
    if not telling:
        return concluded[0]
    return next((c for c in telling if c.verdict is not Verdict.HOLDS), telling[0])


def _attack(engine: MeshEngine, snapshot: Snapshot, target: Target) -> tuple[Conclusion, list[str]]:
    """Judge one target from one vantage, over all rounds."""
    vantage = target.vantage
    where = f"from {vantage.role.value} {vantage.subject} to {target.pod.name}"
    member = snapshot.members[vantage.name]
    problem = "" if member.usable else member.problem
    problem = problem or snapshot.failed.get(vantage.name, "")
    if problem:
        return _unknown("probe-not-available", f"not tested {where}: {problem}"), []
    evidence = _evidence(snapshot, target)
    if len(evidence) < ROUNDS:
        return _unknown("not-observed", f"not every round was observed {where}"), []
    judge = _judge_of(engine, target)
    conclusions = [judge(item) for item in evidence]
    lines = [
        f"{where}: plaintext {e.plain.value}; TLS {e.tls.value}; with ALPN istio "
        f"{e.tls_istio.value}; identity {', '.join(e.spiffe) or 'none'} {e.version}".rstrip()
        for e in dict.fromkeys(evidence)
    ]
    for conclusion in conclusions:
        if conclusion.verdict is Verdict.VIOLATED:
            return conclusion, lines
    if len({c.verdict for c in conclusions}) > 1:
        return _unknown("unsettled", f"the answers {where} differ between rounds"), lines
    return conclusions[0], lines


def _judge_of(engine: MeshEngine, target: Target) -> Callable[[PortEvidence], Conclusion]:
    if target.check.control == "ZT-MSH-001":
        return judge_plaintext
    mesh = engine.intent.mesh
    domain = mesh.trust_domain if mesh is not None else ""
    pod = target.pod
    expected = f"spiffe://{domain}/ns/{pod.namespace}/sa/{pod.service_account}"
    return lambda evidence: judge_identity(evidence, expected)


def _evidence(snapshot: Snapshot, target: Target) -> list[PortEvidence]:
    def reports(kind: str) -> tuple[Mapping[str, Any], ...]:
        name = (kind, target.vantage.name, target.pod.ip, target.check.port)
        return snapshot.reports.get(name, ())

    verified = reports("tls-verified")
    rounds = zip(reports("plain"), reports("tls"), reports("tls-istio"), strict=False)
    return [
        PortEvidence(
            plain=read_plain(plain),
            tls=read_tls(tls),
            tls_istio=read_tls(tls_istio),
            tls_verified=read_tls(verified[i]) if i < len(verified) else Tls.FAILED,
            spiffe=spiffe_names(str(tls.get("certificate", ""))),
            version=str(tls.get("version", "")),
        )
        for i, (plain, tls, tls_istio) in enumerate(rounds)
    ]


def _by_hand(snapshot: Snapshot, check: PortCheck) -> str:
    for target in snapshot.targets:
        if target.check.id == check.id:
            return (
                f"kubectl -n {target.vantage.namespace} exec {target.vantage.name} -c probe -- "
                f"python3 -c 'import urllib.request as u; "
                f'print(u.urlopen("http://{target.pod.ip}:{check.port.number}").status)\''
            )
    return ""


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
    controls: tuple[str, ...] = ()
    # The first call may meet a proxy that has just got its configuration; later ones must agree.
    last, looked = calls[-1]
    reason = ""
    if last is Call.ANSWERED and calls[-2][0] is Call.ANSWERED:
        verdict, what = Verdict.HOLDS, "works, as allowed"
    elif last in (Call.DENIED, Call.NOT_DELIVERED, Call.CUT):
        control = network()
        controls = (f"network: {control.headline}",)
        if control.verdict is Verdict.HOLDS:
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
