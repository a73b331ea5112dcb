"""Questions and sentences of a user's own tests about the mesh, also about workloads that the
intent file does not name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pytest_zerotrust.cluster.discovery import discover
from pytest_zerotrust.core.intent import Flow, Intent, MeshIntent, Port, Workload
from pytest_zerotrust.core.mesh import (
    Call,
    Conclusion,
    Pair,
    PortMode,
    judge_pair,
    read_call,
    read_identities,
)
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.mesh.checks import CallCheck, PortCheck, calls_to
from pytest_zerotrust.mesh.engine import MeshEngine, Snapshot
from pytest_zerotrust.mesh.judge import judge_port
from pytest_zerotrust.mesh.judge_call import judge_call

_UNCLEAR = {m.value for m in (PortMode.MASKED, PortMode.APPLICATION_DOWN, PortMode.UNKNOWN)}

CUSTOM = "custom"
"""The control of what a user's own test says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortAnswer:
    """What is known about one port of a workload from outside the mesh. Look at ``mode`` or
    ``identity``; both raise ``Inconclusive`` where nothing clear was seen."""

    result: Result
    on_read: Callable[[PortAnswer], None]

    @property
    def mode(self) -> str:
        """The mode of mutual TLS in one word, like 'strict', 'permissive' or 'disabled'."""
        seen = set(dict(self.result.evidence.get("modes", {})).values())
        unshown = PortMode.STRICT.value in seen and self.result.verdict is not Verdict.HOLDS
        if seen & _UNCLEAR or unshown:
            raise Inconclusive(f"the mode of this port is not clear. {self.result.headline}")
        return self._only("mode", seen)

    @property
    def identity(self) -> str:
        """The SPIFFE identity that its proxy shows."""
        return self._only("identity", set(self.result.evidence.get("identities", ())))

    def _only(self, what: str, found: set[str]) -> str:
        if len(found) != 1:
            seen = ", ".join(sorted(found)) or "none was seen"
            raise Inconclusive(f"no single {what} of this port: {seen}. {self.result.headline}")
        self.on_read(self)
        return found.pop()


def engine_about(engine: MeshEngine, workloads: Iterable[Workload]) -> MeshEngine:
    """An engine that knows these workloads, too. The batches of the first one stay its own.

    Raises IntentProblem if a workload has no running pod.
    """
    intent, live = engine.intent, dict(engine.live)
    known = dict(intent.workloads)
    for workload in workloads:
        if workload.key not in known:
            known[workload.key] = workload
            alone = Intent(source="this test", workloads={workload.key: workload})
            live |= discover(engine.fleet.api, alone)
    mesh = intent.mesh if intent.mesh is not None else MeshIntent()
    return MeshEngine(engine.fleet, replace(intent, workloads=known, mesh=mesh), live)


def about_port(engine: MeshEngine, target: Workload, port: Port, control: str) -> Result:
    """The verdict of one control on a port, as a user's own."""
    here = engine_about(engine, [target])
    check = PortCheck(control=control, workload=target.key, port=port)
    return _own(judge_port(here, here.snapshot(check, ()), check), check.control)


def answered(
    engine: MeshEngine,
    ends: tuple[Workload, Workload],
    port: Port,
    network: Callable[[], Result],
) -> Result:
    """The verdict on a caller (the first end) that must be answered at a port of the second."""
    caller, target = ends
    here = engine_about(engine, ends)
    asked = CallCheck(flow=Flow(caller.key, target.key, port))
    result = judge_call(here, here.snapshot(asked, ()), asked, network)
    return _own(result, asked.control)


def refused(
    engine: MeshEngine,
    ends: tuple[Workload, Workload],
    port: Port,
    network: Callable[[], Result],
) -> Result:
    """The verdict on a caller (the first end) that the mesh must refuse at a port of the second.

    ``network`` is the verdict on the same flow without the mesh.
    """
    caller, target = ends
    here = engine_about(engine, ends)
    asked = CallCheck(flow=Flow(caller.key, target.key, port))
    others = [c for c in calls_to(here.intent, target.key, port) if c.flow.source != caller.key]
    snapshot = here.snapshot(asked, others)
    conclusion = _refusal(here, snapshot, asked, others)
    controls: tuple[str, ...] = ()
    http = here.is_http(target.key, port)
    if conclusion.verdict is Verdict.HOLDS and not http:
        # A connection that is cut has no words; a network that cuts it as well would look alike.
        plain = network()
        controls = (f"network: {plain.headline}",)
        if plain.verdict is not Verdict.HOLDS:
            text = "the network alone does not let it through either"
            conclusion = Conclusion(Verdict.INCONCLUSIVE, "masked", text)
    reports = snapshot.reports.get(("call", asked.id), ())
    return Result(
        control=CUSTOM,
        subject=asked.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{CUSTOM} {caller.name} -> {target.name}:{port}: {conclusion.text}",
        observed=tuple(
            f"{call.value}: {text}"
            for call, text in (read_call(report, http=http) for report in reports)
        ),
        controls=controls,
    )


def _refusal(
    engine: MeshEngine, snapshot: Snapshot, asked: CallCheck, others: Iterable[CallCheck]
) -> Conclusion:
    twin = engine.meshed_twin(asked.flow.source)
    member = snapshot.members.get(twin.name)
    problem = member.problem if member is not None and not member.usable else ""
    problem = problem or snapshot.failed.get(twin.name, "")
    if problem:
        return Conclusion(Verdict.INCONCLUSIVE, "probe-not-available", f"not tested: {problem}")
    http = engine.is_http(asked.flow.target, asked.flow.port)
    told = snapshot.reports.get(("identities", twin.name), ())

    def calls(check: CallCheck) -> list[Call]:
        reports = snapshot.reports.get(("call", check.id), ())
        return [read_call(report, http=http)[0] for report in reports]

    answered = [found[1:] for other in others if (found := calls(other))]
    return judge_pair(
        Pair(
            allowed=answered[0] if answered else (),
            impostor=calls(asked),
            shown=read_identities(told[-1]) if told else (),
            expected=engine.identity(twin.namespace, twin.service_account),
            http=http,
        )
    )


def _own(result: Result, control: str) -> Result:
    return replace(
        result,
        control=CUSTOM,
        headline=result.headline.replace(control, CUSTOM, 1),
    )
