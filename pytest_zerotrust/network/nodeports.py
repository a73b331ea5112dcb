"""Ways around: denied flows that are tried by the address of a node and the port of a Service.

A node that passes such a connection on may do so under its own address, and then policies at the
target no longer see who calls. Where a Service of the user's has a node port, one of ours with the
same traffic policy stands before the twin, so that the answer proves itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.cluster.nodeports import Door
from pytest_zerotrust.core.observation import Observation, Seen
from pytest_zerotrust.core.reachability import Expected, FlowFacts, Liveness, combine, judge_flow
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.network.attempts import AttemptList, usable_ip
from pytest_zerotrust.network.batch import Attempt, Name
from pytest_zerotrust.network.checks import NodePortCheck
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
    live: Mapping[str, LiveWorkload],
    read_doors: ReadDoors,
) -> WaysAround:
    """Ask every way around of these checks, and whether node ports work at all."""
    ways: dict[str, tuple[Way, ...]] = {}
    problems: dict[str, str] = {}
    for check in checks:
        twin = asked.twins[check.workload]
        doors = read_doors(twin.namespace)
        if isinstance(doors, str):
            problems[check.id] = f"the Services could not be read: {doors}"
            continue
        labels = live[check.workload].labels.items()
        leading = [door for door in doors if door.selector.items() <= labels]
        if not leading or not usable_ip(asked.members, twin):
            continue
        found: list[Way] = []
        for door in leading:
            numbers, problem = asked.fleet.node_ports(twin, local=door.local)
            if problem:
                problems[check.id] = problem
                break
            found += _ways(asked, check, door, live[check.workload], numbers)
        ways[check.id] = tuple(dict.fromkeys(found))
        for way in found:
            _ask(asked, check, way)
    if any(ways.values()):
        _add_barrier(asked)
    return WaysAround(ways=ways, problems=problems)


def _ways(
    asked: AttemptList,
    check: NodePortCheck,
    door: Door,
    live: LiveWorkload,
    numbers: Mapping[tuple[int, str], int],
) -> Iterator[Way]:
    target = live.port_names.get(door.target) if isinstance(door.target, str) else door.target
    state = asked.members[asked.twins[check.workload].name].state
    # With externalTrafficPolicy Local the other nodes pass nothing on, whoever calls.
    here = [state.node_ip] if state is not None and state.node_ip else []
    for flow in check.flows:
        number = numbers.get((flow.port.number, flow.port.protocol))
        if number and (flow.port.number, flow.port.protocol) == (target, door.protocol):
            for ip in here if door.local else sorted(set(asked.nodes.values())):
                yield Way(flow, door.service, ip, number)


def _ask(asked: AttemptList, check: NodePortCheck, way: Way) -> None:
    source, target = asked.twins[way.flow.source], asked.twins[way.flow.target]
    if usable_ip(asked.members, source):
        asked.attempts[_name(check, way)] = Attempt(
            pod=source.name,
            ip=way.ip,
            port=way.number,
            protocol=way.flow.port.protocol,
            key=asked.fleet.key_of(target),
        )
        asked.expected[_name(check, way)] = False


def _add_barrier(asked: AttemptList) -> None:
    """Ask an open canary by the address of every node, from every node.

    The sealed canaries ask, which are closed for those who come to them only: no pod may be its
    own way around.
    """
    fleet, nodes = asked.fleet, sorted(asked.nodes)
    run, own = fleet.run, fleet.own_namespace
    target = next(
        (c for c in (topology.canary(run, own, n) for n in nodes) if usable_ip(asked.members, c)),
        None,
    )
    if target is None:
        return
    number = fleet.node_ports(target, local=False)[0].get(
        (CANARY_PORT.number, CANARY_PORT.protocol)
    )
    for node in nodes:
        caller = topology.sealed(run, own, node)
        if not number or not usable_ip(asked.members, caller):
            continue
        for ip in sorted(set(asked.nodes.values())):
            name = _barrier(node, ip)
            asked.attempts[name] = Attempt(
                pod=caller.name,
                ip=ip,
                port=number,
                protocol=CANARY_PORT.protocol,
                key=fleet.key_of(target),
            )
            asked.expected[name] = True


def _name(check: NodePortCheck, way: Way) -> Name:
    where = f"{way.ip}:{way.number}"
    return ("flow", check.id, way.flow.source, str(way.flow.port), where)


def _barrier(node: str, ip: str) -> Name:
    return ("door", node, ip)


def judge_ways_around(judge: Judge, check: NodePortCheck) -> Result:
    """The verdict on all denied flows to a workload by the node ports that lead to it."""
    around = judge.snapshot.around
    head = f"{check.control} {judge.name_of(check.workload)} by node ports"
    problem = judge.unusable(judge.snapshot.twins[check.workload])
    if problem:
        return _said(check, Verdict.INCONCLUSIVE, "probe-not-available", f"{head}: {problem}")
    problem = around.problems.get(check.id, "")
    if problem:
        return _said(check, Verdict.INCONCLUSIVE, "not-readable", f"{head} not tested: {problem}")
    ways = around.ways.get(check.id, ())
    if not ways:
        what = "no Service leads a denied flow to it by a node port"
        return _said(check, Verdict.NOT_APPLICABLE, "no-node-port", f"{head}: {what}")
    parts = [_way(judge, check, way) for way in ways]
    sources = {way.flow.source for way in ways}
    services = ", ".join(sorted({way.service for way in ways}))
    headline = f"{head} denied to all {len(sources)} who may not reach it (like {services})"
    found = combine(check.control, check.subject, headline, parts)
    left_out = judge.snapshot.nodes_left_out
    notes = (f"note: {left_out}",) if left_out else ()
    return replace(found, objects=(*found.objects, *notes))


def _said(check: NodePortCheck, verdict: Verdict, reason: str, headline: str) -> Result:
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=headline,
    )


def _way(judge: Judge, check: NodePortCheck, way: Way) -> Result:
    snapshot, flow = judge.snapshot, way.flow
    source, target = snapshot.twins[flow.source], snapshot.twins[flow.target]
    held = snapshot.observations(_name(check, way))
    return judge_flow(
        FlowFacts(
            control=check.control,
            subject=f"{flow.source}->{flow.target}:{flow.port} at {way.ip}",
            source=judge.name_of(flow.source),
            target=f"{judge.name_of(flow.target)}:{flow.port} by node port at {way.ip}",
            expected=Expected.DENIED,
            held=held,
            rounds=len(snapshot.rounds),
            source_lives=judge.source_lives(source),
            target_lives=judge.target_lives(target, flow.port),
            path_lives=judge.path_lives(source, target),
            service_lives=_works(judge, source, way, held),
            objects=(f"Pod {source.where}", f"Pod {target.where}", f"Service {way.service}"),
            remedy=judge.remedy_of(check.control),
            reproduce=judge.by_hand(source, way.ip, way.number),
        )
    )


def _works(judge: Judge, source: PodSpec, way: Way, held: Iterable[Observation]) -> Liveness:
    node = judge.snapshot.node(source.name)
    if any(observation.seen in (Seen.REFUSED, Seen.UNREACHABLE) for observation in held):
        # So does the service proxy of a node where the Service has no endpoint, or not yet.
        return Liveness(False, "a node port that refuses may lead nowhere")
    if judge.snapshot.is_open(_barrier(node, way.ip)):
        return Liveness(True, f"from {node} a canary is reached by a node port at {way.ip}")
    return Liveness(False, f"from {node} not even a canary is reached by a node port at {way.ip}")
