"""Ways around: denied flows that are tried by a node's address and the port of a Service.

A node passes such a connection on under its own address, so policies at the target no longer see
who calls. The server is the user's, so the references of ways out serve here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.cluster.nodeports import Door
from pytest_zerotrust.core.egress import (
    CONNECTED,
    AddressFacts,
    EgressFacts,
    join,
    judge_address,
)
from pytest_zerotrust.core.intent import Flow, Workload
from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.reachability import REFUSALS, Expected, combine
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.network.attempts import AttemptList, usable_ip
from pytest_zerotrust.network.batch import Attempt, Name
from pytest_zerotrust.network.checks import NodePortCheck
from pytest_zerotrust.network.egress import GREETING, node_addresses, reference_of
from pytest_zerotrust.network.ways import Way, WaysAround

if TYPE_CHECKING:
    from pytest_zerotrust.network.judge import Judge

ReadDoors = Callable[[str], tuple[Door, ...] | str]
"""The doors of a namespace, or why they could not be read."""


def no_doors(namespace: str) -> tuple[Door, ...]:
    """None, for networks that have no Services of the user's."""
    return ()


def add_ways_around(
    asked: AttemptList,
    checks: Iterable[NodePortCheck],
    lives: Iterable[tuple[Workload, LiveWorkload]],
    read_doors: ReadDoors,
) -> WaysAround:
    """Ask every way around of these checks, from the twins and from the references beside them."""
    ways: dict[str, tuple[Way, ...]] = {}
    problems: dict[str, str] = {}
    lives = list(lives)
    nodes = tuple(sorted(set(node_addresses(asked.members).values())))
    for check in checks:
        doors = read_doors(asked.twins[check.workload].namespace)
        if isinstance(doors, str):
            problems[check.id] = f"the Services could not be read: {doors}"
            continue
        found = list(_ways(check, doors, lives, nodes))
        ways[check.id] = tuple(found)
        for way in found:
            _ask(asked, check, way)
    return WaysAround(ways=ways, problems=problems)


def _ways(
    check: NodePortCheck,
    doors: Iterable[Door],
    lives: Iterable[tuple[Workload, LiveWorkload]],
    nodes: Iterable[str],
) -> Iterator[Way]:
    for door in doors:
        behind = {
            workload.key: live
            for workload, live in lives
            if workload.namespace == door.namespace and door.selector.items() <= live.labels.items()
        }
        target = behind.get(check.workload)
        if target is None:
            continue
        number = target.port_names.get(door.target) if isinstance(door.target, str) else door.target
        for flow in check.flows:
            if (flow.port.number, flow.port.protocol) != (number, door.protocol):
                continue
            # Behind one door there may be pods of others, whom the source may reach.
            if not any((flow.source, key) in check.allowed for key in behind):
                for ip in door.addresses or nodes:
                    yield Way(flow, door, ip)


def _ask(asked: AttemptList, check: NodePortCheck, way: Way) -> None:
    twin = asked.twins[way.flow.source]
    if not usable_ip(asked.members, twin):
        return
    name = _name(check, way)
    asked.attempts[name] = _attempt(way, twin)
    asked.expected[name] = False
    reference = reference_of(asked, twin)
    state = asked.members[twin.name].state
    if reference is not None and state is not None:
        asked.attempts[_reference(way, state.node)] = _attempt(way, reference)


def _name(check: NodePortCheck, way: Way) -> Name:
    return ("flow", check.id, way.flow.source, str(way.flow.port), way.address)


def _reference(way: Way, node: str) -> Name:
    return ("reference", "node-port", way.address, node)


def _attempt(way: Way, source: PodSpec) -> Attempt:
    default = GREETING if way.door.protocol == "TCP" else "\n"
    return Attempt(
        pod=source.name,
        ip=way.ip,
        port=way.door.number,
        protocol=way.door.protocol,
        key=None,
        send=way.flow.port.send or default,
    )


def judge_ways_around(judge: Judge, check: NodePortCheck) -> Result:
    """The verdict on all denied flows to a workload by the doors that lead to it."""
    around = judge.snapshot.around
    name = judge.name_of(check.workload)
    head = f"{check.control} {name} by node ports"
    problem = around.problems.get(check.id, "")
    if problem:
        return _said(check, Verdict.INCONCLUSIVE, "not-readable", f"{head} not tested: {problem}")
    ways = around.ways.get(check.id, ())
    if not ways:
        what = "no Service with a node port or an external address leads a denied flow to it"
        return _said(check, Verdict.NOT_APPLICABLE, "no-node-port", f"{head}: {what}")
    flows: dict[Flow, list[Way]] = {}
    for way in ways:
        flows.setdefault(way.flow, []).append(way)
    parts = [_flow(judge, check, flow, found) for flow, found in flows.items()]
    shown = [part for part in parts if part.verdict is not Verdict.NOT_APPLICABLE]
    if not shown:
        return _nobody(check, parts)
    services = ", ".join(sorted({way.door.service for way in ways}))
    headline = f"{head} denied to all {len(shown)} who may not reach it (Service {services})"
    return combine(check.control, check.subject, headline, shown)


def _nobody(check: NodePortCheck, parts: list[Result]) -> Result:
    """The result where nobody gets through any door."""
    first = parts[0]
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=Verdict.NOT_APPLICABLE,
        reason=first.reason,
        headline=first.headline,
        observed=tuple(f"{p.subject}: {line}" for p in parts for line in p.observed),
    )


def _said(check: NodePortCheck, verdict: Verdict, reason: str, headline: str) -> Result:
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=headline,
    )


def _flow(judge: Judge, check: NodePortCheck, flow: Flow, ways: list[Way]) -> Result:
    snapshot = judge.snapshot
    source = snapshot.twins[flow.source]
    subject = f"{flow.source}->{flow.target}:{flow.port}"
    goal = f"{judge.name_of(flow.target)}:{flow.port} by {ways[0].door.service}"
    problem = judge.unusable(source)
    if problem:
        headline = f"{check.control} {judge.name_of(flow.source)} -> {goal} not tested: {problem}"
        return Result(
            control=check.control,
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            reason="probe-not-available",
            headline=headline,
        )
    node = snapshot.node(source.name)
    facts = EgressFacts(
        control=check.control,
        subject=subject,
        source=judge.name_of(flow.source),
        target=goal,
        expected=Expected.DENIED,
        addresses=tuple(
            AddressFacts(
                address=way.address,
                held=snapshot.observations(_name(check, way)),
                reference=snapshot.observations(_reference(way, node)),
                ip=way.ip,
            )
            for way in ways
        ),
        source_lives=judge.source_lives(source),
        objects=(f"Pod {source.where}", f"Service {ways[0].door.service}"),
        remedy=judge.remedy_of(check.control),
        reproduce=judge.by_hand(source, ways[0].ip, ways[0].door.number),
    )
    alive = {
        way.door
        for way, address in zip(ways, facts.addresses, strict=True)
        if address.reference and all(o.seen in _THROUGH for o in address.reference)
    }
    parts = [
        _closed_to_all(judge_address(facts, address), address, way, lives=way.door in alive)
        for way, address in zip(ways, facts.addresses, strict=True)
    ]
    return join(facts, parts)


_THROUGH = (Seen.OPEN, *CONNECTED)


def _closed_to_all(result: Result, address: AddressFacts, way: Way, *, lives: bool) -> Result:
    """Where not even the reference gets through, the target's policies (which see a node) or a
    Service that keeps the caller's address (externalTrafficPolicy Local) close this address to
    all. That is no answer about the source, unless nothing shows that the Service works at all.
    """
    refused = {o.seen for o in (*address.held, *address.reference)} <= {*REFUSALS}
    if not (refused and address.held and address.reference and (lives or way.door.local)):
        return result
    what = (
        f"{way.door.service} lets nobody through at {way.address}, so the check by pod IP decides"
    )
    return Result(
        control=result.control,
        subject=result.subject,
        verdict=Verdict.NOT_APPLICABLE,
        reason="closed-to-all",
        headline=f"{result.control} {what}",
    )
