"""From a mesh snapshot to the verdicts on the ports of a workload."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

from pytest_zerotrust.cluster.discovery import LivePod
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.mesh import (
    Conclusion,
    Declaration,
    PortEvidence,
    classify,
    judge_certificate,
    judge_declared,
    judge_foreign,
    judge_identity,
    judge_plaintext,
    judge_roots,
    not_supported,
    shown_mode,
    with_application,
)
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.certificates import fingerprints
from pytest_zerotrust.mesh.checks import (
    CERTIFICATE,
    DECLARED,
    FOREIGN,
    IDENTITY,
    PLAINTEXT,
    PortCheck,
)
from pytest_zerotrust.mesh.engine import ROUNDS, MeshEngine, Snapshot, Target
from pytest_zerotrust.mesh.evidence import in_words, port_evidence
from pytest_zerotrust.mesh.judge_call import application

Judge = Callable[[PortEvidence], Conclusion]


def judge_port(engine: MeshEngine, snapshot: Snapshot, check: PortCheck) -> Result:
    """The verdict on one meshed port, over all pods of the workload and all rounds.

    One violated pod or round is a violation; otherwise everything must hold. Of several vantages
    of one pod those that a network policy masks are passed over, if another one is not masked.
    """
    workload = engine.intent.workloads[check.workload]
    pods = snapshot.pods[check.workload]
    by_pod: list[tuple[str, Conclusion]] = []
    observed: list[str] = []
    modes: dict[str, str] = {}
    identities: set[str] = set()
    declared: dict[str, str] = {}
    for pod in pods:
        concluded = []
        for target in snapshot.of(check, pod):
            conclusion, evidence = _attack(engine, snapshot, target, check)
            concluded.append(conclusion)
            observed += dict.fromkeys(f"{_way(target)}: {in_words(e)}" for e in evidence)
            modes |= {_way(target): classify(e).value for e in evidence[-1:]}
            identities |= {n for e in evidence for n in e.verified_names}
        declaration = _declared(engine, snapshot, pod, check)
        if isinstance(declaration, Declaration):
            declared[pod.name] = str(declaration)
        fact = snapshot.facts.get(pod.uid)
        foreign = fact is not None and fact.other_mesh
        best = not_supported(fact) if fact is not None and foreign else _best_vantage(concluded)
        by_pod.append((f"{pod.namespace}/{pod.name}", best))
    changed = snapshot.changed[check.workload]
    pod_name, conclusion = _over_all_pods(by_pod, changed)
    if check.control == DECLARED and changed and conclusion.verdict is Verdict.VIOLATED:
        # A difference is no leak by itself, and a real one is still there in the next run.
        conclusion = unknown("pods-changed", changed)
    conclusion = for_all_replicas(conclusion, snapshot, check.workload)
    alive = application(engine, snapshot, check)
    if check.control == PLAINTEXT:
        conclusion = with_application(conclusion, alive)
    if check.control == CERTIFICATE and conclusion.verdict is Verdict.HOLDS:
        conclusion = _with_roots(conclusion, snapshot)
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {workload.name}:{check.port}: {conclusion.text}",
        observed=tuple(observed),
        controls=(
            f"pods: {changed or f'{len(pods)} ready before and after the batch'}",
            f"application: {alive.text}",
            *dict.fromkeys(f"declared: {text}" for text in declared.values()),
        ),
        objects=tuple(f"Pod {p.namespace}/{p.name}" for p in pods),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
        reproduce=_by_hand(snapshot, check),
        evidence={
            "pod": pod_name,
            "modes": modes,
            "identities": sorted(identities),
            "declared": declared,
        },
    )


def _over_all_pods(
    by_pod: Sequence[tuple[str, Conclusion]], changed: str
) -> tuple[str, Conclusion]:
    """The conclusion on a workload, and the pod that it rests on."""
    violated = [item for item in by_pod if item[1].verdict is Verdict.VIOLATED]
    if violated:
        return violated[0]
    if not by_pod:
        return "", unknown("no-pod", "the workload has no running pod")
    open_ = [item for item in by_pod if item[1].verdict is not Verdict.HOLDS]
    if open_:
        return open_[0]
    return ("", unknown("pods-changed", changed)) if changed else by_pod[0]


def _with_roots(conclusion: Conclusion, snapshot: Snapshot) -> Conclusion:
    problem = judge_roots(fingerprints(pem) for pem in snapshot.roots.values())
    if not problem:
        return conclusion
    if "different" in problem:
        return Conclusion(Verdict.VIOLATED, "", problem)
    return unknown("root-not-read", problem)


def for_all_replicas(conclusion: Conclusion, snapshot: Snapshot, key: str) -> Conclusion:
    """A workload of which a replica is in the network of its node does not hold: that one has no
    address of its own at which it could be attacked, and no proxy."""
    left = snapshot.on_node.get(key, ())
    if conclusion.verdict is not Verdict.HOLDS or not left:
        return conclusion
    text = f"pod {left[0]} is in the network of its node, and was not attacked (see ZT-MSH-006)"
    return unknown("replica-not-attacked", text)


def unknown(reason: str, text: str) -> Conclusion:
    """Nothing can be concluded, for this reason."""
    return Conclusion(Verdict.INCONCLUSIVE, reason, text)


def _best_vantage(concluded: list[Conclusion]) -> Conclusion:
    if not concluded:
        return unknown(
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


def _way(target: Target) -> str:
    return f"from {target.vantage.role.value} {target.vantage.subject} to {target.pod.name}"


def trouble_of(snapshot: Snapshot, target: Target) -> str:
    """Why a vantage could not be used, if so."""
    member = snapshot.members[target.vantage.name]
    problem = "" if member.usable else member.problem
    return problem or snapshot.failed.get(target.vantage.name, "")


def _attack(
    engine: MeshEngine, snapshot: Snapshot, target: Target, check: PortCheck
) -> tuple[Conclusion, list[PortEvidence]]:
    """Judge one target from one vantage, over all rounds."""
    where = _way(target)
    problem = trouble_of(snapshot, target)
    if problem:
        return unknown("probe-not-available", f"not tested {where}: {problem}"), []
    evidence = port_evidence(snapshot, target, check.port)
    if len(evidence) < ROUNDS:
        return unknown("not-observed", f"not every round was observed {where}"), []
    if check.control == DECLARED:
        declared = _declared(engine, snapshot, target.pod, check)
        if isinstance(declared, Conclusion):
            return declared, evidence
        return judge_declared(declared, [shown_mode(item) for item in evidence]), evidence
    judge = _judge_of(engine, snapshot, target, check.control)
    conclusions = [judge(item) for item in evidence]
    for conclusion in conclusions:
        if conclusion.verdict is Verdict.VIOLATED:
            return conclusion, evidence
    if len({c.verdict for c in conclusions}) > 1:
        return unknown("unsettled", f"the answers {where} differ between rounds"), evidence
    return conclusions[0], evidence


def _declared(
    engine: MeshEngine, snapshot: Snapshot, pod: LivePod, check: PortCheck
) -> Declaration | Conclusion:
    """What is declared for one port of a pod, or why that is not known."""
    mesh = engine.intent.mesh
    root = mesh.root_namespace if mesh is not None else ""
    gaps = [snapshot.policies.gaps.get(name, "") for name in (root, pod.namespace)]
    if any(gaps):
        return unknown("not-readable", f"what is declared is not known: {next(filter(None, gaps))}")
    if snapshot.policies_changed:
        return unknown("unsettled", snapshot.policies_changed)
    fact = snapshot.facts.get(pod.uid)
    if fact is None:
        return unknown("pods-changed", f"pod {pod.namespace}/{pod.name} was not there any more")
    return snapshot.policies.declared(pod.namespace, fact.labels, check.port.number, root)


def _judge_of(engine: MeshEngine, snapshot: Snapshot, target: Target, control: str) -> Judge:
    mesh = engine.intent.mesh
    longest = datetime.timedelta(hours=mesh.certificate_hours if mesh is not None else 0)
    expected = engine.identity(target.pod.namespace, target.pod.service_account)
    judges: dict[str, Judge] = {
        PLAINTEXT: judge_plaintext,
        IDENTITY: lambda evidence: judge_identity(evidence, expected),
        FOREIGN: judge_foreign,
        CERTIFICATE: lambda evidence: judge_certificate(evidence, snapshot.moment, longest),
    }
    return judges[control]


def _by_hand(snapshot: Snapshot, check: PortCheck) -> str:
    for target in snapshot.targets:
        if target.check.id == check.id:
            return (
                f"kubectl -n {target.vantage.namespace} exec {target.vantage.name} -c probe -- "
                f"python3 -c 'import urllib.request as u; "
                f'print(u.urlopen("http://{target.pod.ip}:{check.port.number}").status)\''
            )
    return ""
