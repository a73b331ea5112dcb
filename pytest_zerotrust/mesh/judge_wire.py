"""From what the captures saw to the verdicts on the wire between nodes."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.mesh import Call as Said
from pytest_zerotrust.core.mesh import Conclusion, read_call
from pytest_zerotrust.core.mesh.wire import (
    Between,
    Capture,
    Exchange,
    Sighting,
    judge_meshed,
    judge_plain,
    over_all,
)
from pytest_zerotrust.core.observation import Seen, expected_answer, read_proof
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.mesh.wire import Call, Way, WireEngine, WireSnapshot, pair_name
from pytest_zerotrust.mesh.wire_checks import BETWEEN_NODES, Check, MeshWireCheck, WireCheck

NOT_ALLOWED = (
    "not tested: the intent file does not consent to pods that see what leaves a node; set "
    "probe.capture: true"
)


def judge_wire(engine: WireEngine, check: Check, snapshot: WireSnapshot | None) -> Result:
    """The verdict on one check. ``snapshot`` is None where the intent allows no capture."""
    if snapshot is None:
        conclusion = Conclusion(Verdict.INCONCLUSIVE, "capture-not-allowed", NOT_ALLOWED)
        return _result(check, conclusion)
    if len(snapshot.nodes) < 2:
        text = (
            "not tested: only one node is known on which pods may run, so there is no wire to see"
        )
        conclusion = Conclusion(Verdict.INCONCLUSIVE, "single-node", text)
        return _result(check, conclusion, snapshot=snapshot)
    if isinstance(check, WireCheck):
        exchanges = [_plain(engine, snapshot, check, way) for way in snapshot.ways]
        return _result(check, over_all(list(map(judge_plain, exchanges))), exchanges, snapshot)
    call = snapshot.calls.get(check.id)
    if call is None:
        text = f"not tested: {snapshot.untold.get(check.id, 'it was not called')}"
        conclusion = Conclusion(Verdict.INCONCLUSIVE, "probe-not-available", text)
        return _result(check, conclusion, snapshot=snapshot)
    exchange = _meshed(engine, snapshot, check, call)
    conclusion = judge_meshed(exchange)
    if conclusion.reason == "not-seen" and _encrypted_below(engine, snapshot, call):
        text = "what the proxies say is encrypted once more below the mesh, so it cannot be seen"
        conclusion = Conclusion(Verdict.NOT_APPLICABLE, "encrypted-below", text)
    return _result(check, conclusion, [exchange], snapshot)


def _plain(engine: WireEngine, snapshot: WireSnapshot, check: WireCheck, way: Way) -> Exchange:
    kind = check.protocol.lower()
    listener = snapshot.members[way.listener.name]
    node_ip = listener.state.node_ip if listener.state is not None else ""
    capture = snapshot.captures[str(way.capture.node)]
    proof = expected_answer(engine.fleet.key_of(way.listener), snapshot.nonces[(kind, way.name)])
    reports = snapshot.reports.get((kind, way.name), ())
    return Exchange(
        what=f"{check.protocol} between pods, {way.name}",
        needles=(kind,),
        capture=capture,
        answered=any(read_proof(report, proof).seen is Seen.OPEN for report in reports),
        trouble=_trouble(snapshot, way.talker.name) or _trouble(snapshot, way.listener.name),
        carrier=capture.carrier_of(node_ip, snapshot.sizes),
    )


def _meshed(
    engine: WireEngine, snapshot: WireSnapshot, check: MeshWireCheck, call: Call
) -> Exchange:
    flow = check.flow
    names = tuple(pair_name(call, pod) for pod in call.targets)
    http = engine.mesh.is_http(flow.target, flow.port)
    reports = snapshot.reports.get(("call", check.id), ())
    return Exchange(
        what=f"a call within the mesh, from node {call.caller.node}",
        needles=names,
        capture=snapshot.captures.get(
            str(call.caller.node), Capture(problem=f"node {call.caller.node} has no capture")
        ),
        answered=any(read_call(report, http=http)[0] is Said.ANSWERED for report in reports),
        trouble=_trouble(snapshot, call.caller.name),
        ends=names,
    )


def _encrypted_below(engine: WireEngine, snapshot: WireSnapshot, call: Call) -> bool:
    """True if what pods say on the caller's node was shown to leave it encrypted."""
    here = [way for way in snapshot.ways if way.talker.node == call.caller.node]
    plain = WireCheck(protocol="TCP")
    judged = [judge_plain(_plain(engine, snapshot, plain, way)) for way in here]
    return bool(judged) and all(found.verdict is Verdict.HOLDS for found in judged)


def _trouble(snapshot: WireSnapshot, name: str) -> str:
    member = snapshot.members.get(name)
    problem = member.problem if member is not None and not member.usable else ""
    return problem or snapshot.failed.get(name, "")


def _result(
    check: Check,
    conclusion: Conclusion,
    exchanges: Sequence[Exchange] = (),
    snapshot: WireSnapshot | None = None,
) -> Result:
    sightings = [seen for exchange in exchanges for seen in _sightings(exchange)]
    nodes = snapshot.nodes if snapshot is not None else ()
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{check.control} {_title(check)}: {conclusion.text}",
        observed=(*map(str, sightings), *(_in_words(exchange) for exchange in exchanges)),
        controls=_controls(snapshot) if snapshot is not None else (),
        objects=tuple(f"Node {node}" for node in nodes),
        remedy=CONTROLS[check.control].remedy if conclusion.verdict is Verdict.VIOLATED else "",
        reproduce=_by_hand(sightings),
        evidence={
            "captured": [
                {"interface": s.interface, "from": s.source, "to": s.target, "bytes": s.excerpt}
                for s in sightings
            ],
            "configured": list(snapshot.configured) if snapshot is not None else [],
        },
    )


def _title(check: Check) -> str:
    if check.control == BETWEEN_NODES:
        return "the wire between nodes"
    return check.subject.replace("->", " -> ")


def _sightings(exchange: Exchange) -> list[Sighting]:
    return [s for name in exchange.needles for s in exchange.capture.sightings.get(name, ())]


def _in_words(exchange: Exchange) -> str:
    capture = exchange.capture
    if capture.problem:
        return f"{exchange.what}: no capture ({capture.problem})"
    found = sum(len(capture.sightings.get(name, ())) for name in exchange.needles)
    seen = [capture.between.get(name, Between()) for name in exchange.ends]
    ends = (
        f", {sum(s.packets for s in seen)} packets to its target, of which "
        f"{sum(s.tls for s in seen)} begin a TLS record and {sum(s.other for s in seen)} carry "
        f"something else"
        if exchange.ends
        else ""
    )
    return (
        f"{exchange.what}: {'answered' if exchange.answered else 'not answered'}; its nonce was "
        f"seen {f'{found} times' if found else 'nowhere'} in {capture.packets} packets on "
        f"{', '.join(capture.interfaces)} ({capture.lost} lost){ends}"
        f"{f', carried by {exchange.carrier}' if exchange.carrier else ''}"
    )


def _controls(snapshot: WireSnapshot) -> tuple[str, ...]:
    """What shows that the captures work, and what the cluster says of itself."""
    seen = []
    for way in snapshot.ways:
        capture = snapshot.captures[str(way.capture.node)]
        if capture.problem:
            continue
        word = "seen" if capture.sightings.get("control") else "not seen"
        seen.append(f"{way.name} {word}")
    said = f"a nonce from node to node, outside of the pods' network: {', '.join(seen)}"
    return (
        *((said,) if seen else ()),
        *(f"by configuration, which shows nothing: {text}" for text in snapshot.configured),
    )


def _by_hand(sightings: Sequence[Sighting]) -> str:
    if not sightings:
        return ""
    seen = sightings[0]
    return f"tcpdump -A -n -Q out -i {seen.interface} host {seen.target}, on the sending node"
