"""From a pretended network to verdicts: what is broken changes its own checks and no others."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_zerotrust.checks import checks_of
from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.core.intent import Flow, Intent
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.network import engine as engine_module
from pytest_zerotrust.network.checks import Check as NetworkCheck
from pytest_zerotrust.network.checks import FlowCheck, Via
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge import Judge
from pytest_zerotrust.network.settle import observe_until_settled
from tests.fakes.fleet import FakeFleet
from tests.fakes.world import DROPPED, REFUSED, Place, World, answer

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, ports: [8080]}
  payments: {namespace: web, labels: {app: payments}, ports: [8080]}
  store: {namespace: data, labels: {app: store}, ports: [5432]}
  batch: {namespace: data, labels: {app: batch}}
flows: [gateway -> payments:8080, payments -> store:5432]
"""
ALLOWED = frozenset({("gateway", "payments", 8080), ("payments", "store", 5432)})
KINDS = (
    "canaries",
    "denied-across-namespaces",
    "denied-within-namespace",
    "allowed",
    "dns",
)
MORE = ("side-ports", "newborn")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a second, so that nothing waits for what does not settle."""
    seconds = itertools.count()
    settle = functools.partial(observe_until_settled, clock=lambda: float(next(seconds)))
    monkeypatch.setattr(engine_module, "observe_until_settled", settle)


def everything(
    fleet: FakeFleet, text: str = TEXT, kinds: tuple[str, ...] = KINDS
) -> dict[str, Result]:
    """The results of all checks of an intent, by check id."""
    intent = intent_from_text(text, "zero.yaml")
    engine = NetworkEngine(fleet, intent.workloads, live_of(intent))
    checks = [check for kind in kinds for check in checks_of(kind, intent)]
    found = {}
    for check in checks:
        assert isinstance(check, NetworkCheck)
        found[check.id] = Judge(engine, engine.snapshot(check, checks)).of(check)
    return found


def live_of(intent: Intent) -> dict[str, LiveWorkload]:
    return {
        w.key: LiveWorkload(
            key=w.key,
            labels=dict(w.labels),
            service_account="default",
            annotations={},
            nodes=("node-1",),
            port_names={},
            adopter="",
            service=None,
        )
        for w in intent.workloads.values()
    }


def verdicts(results: Mapping[str, Result], part: str = "") -> set[Verdict]:
    return {result.verdict for id_, result in results.items() if part in id_}


def changed(results: Mapping[str, Result]) -> set[str]:
    return {id_ for id_, result in results.items() if result.verdict is not HOLDS}


def hardened(*rules: Any, **changes: Any) -> FakeFleet:
    return FakeFleet(World(allowed=ALLOWED, rules=list(rules), **changes))


def test_everything_holds_where_the_intent_is_enforced():
    results = everything(hardened())
    assert changed(results) == set()
    assert len(results) == 1 + 2 * (3 * 3 - 2) + 3 * 2 + 4


def test_one_batch_serves_all_checks():
    fleet = hardened()
    everything(fleet)
    # The second one is about what is reported without judgement, and goes to canaries alone.
    batch, around = fleet.execs
    assert len(batch) == len(fleet.specs)
    assert {fleet.specs[name].role.value for name in around} == {"canary"}


def test_without_enforcement_every_denied_flow_is_violated_and_every_allowed_one_works():
    results = everything(FakeFleet(World(allowed=ALLOWED, enforced=False)))
    assert verdicts(results, "ZT-NET-000") == {VIOLATED}
    assert verdicts(results, "ZT-NET-001") == {VIOLATED}
    assert verdicts(results, "ZT-NET-002") == {VIOLATED}
    assert verdicts(results, "ZT-NET-003") == {HOLDS}


@pytest.mark.parametrize("flow", sorted(ALLOWED))
def test_an_allowed_flow_that_is_cut_is_the_one_violation(flow):
    results = everything(FakeFleet(World(allowed=ALLOWED - {flow})))
    source, target, _ = flow
    assert {r.verdict for i, r in results.items() if i in changed(results)} == {VIOLATED}
    assert all(f"{source}->{target}" in id_ for id_ in changed(results))
    assert len(changed(results)) == 3


@pytest.mark.parametrize("leak", [("batch", "gateway", 8080), ("gateway", "store", 5432)])
def test_a_leak_is_the_one_violation_and_says_who_reached_whom(leak):
    results = everything(FakeFleet(World(allowed=ALLOWED | {leak})))
    source, target, _ = leak
    assert len(changed(results)) == 2
    for id_ in changed(results):
        assert results[id_].verdict is VIOLATED
        assert f"{source} -> " in results[id_].headline
        assert f"{target}:" in results[id_].headline
        assert "REACHED, expected DENIED" in results[id_].headline


@pytest.mark.parametrize("trouble", ["problems", "failing"])
@pytest.mark.parametrize("app", ["gateway", "payments", "store", "batch"])
def test_a_pod_that_cannot_be_asked_makes_its_own_checks_inconclusive(app, trouble):
    fleet = hardened()
    getattr(fleet, trouble)[app] = "the kubelet is away"
    results = everything(fleet)
    named = {id_ for id_ in results if f"{app}->" in id_ or f">{app}:" in id_ or f"-{app}" in id_}
    assert changed(results) == named
    for id_ in named:
        assert results[id_].verdict is INCONCLUSIVE
        assert "the kubelet is away" in results[id_].headline


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (None, "vanished during the batch"),
        ({"uid": "other"}, "replaced during the batch"),
        ({"ip": "10.9.9.9"}, "replaced during the batch"),
        ({"running": False, "problem": "the pod ended: OOMKilled"}, "OOMKilled"),
        ({"answers_kubelet": False}, "no longer answers the kubelet"),
    ],
)
def test_a_pod_that_changed_during_the_batch_takes_its_verdicts_with_it(after, words):
    fleet = hardened()
    fleet.after["store"] = after
    results = everything(fleet)
    assert {r.verdict for i, r in results.items() if "store" in i} == {INCONCLUSIVE}
    assert all(words in results[i].headline for i in changed(results))
    assert all("store" in i for i in changed(results))


def dead(source: Place, target: Place, port: int) -> Any:
    return None if source.name == target.name else DROPPED


def test_a_dead_network_is_never_a_denial():
    results = everything(hardened(dead, resolves=lambda place, protocol: False))
    assert verdicts(results) == {INCONCLUSIVE}


def test_a_network_that_not_even_the_kubelets_use_is_never_a_denial():
    fleet = hardened(dead, resolves=lambda place, protocol: False)
    fleet.deaf |= {"gateway", "payments", "store", "batch"}
    fleet.deaf |= {
        f"{word} on {node}" for word in ("canary", "sealed canary") for node in fleet.nodes
    }
    assert verdicts(everything(fleet)) == {INCONCLUSIVE}


def test_a_target_whose_listener_is_dead_is_no_denial():
    def deaf(source: Place, target: Place, port: int) -> Any:
        return REFUSED if target.app == "store" else None

    results = everything(hardened(deaf))
    assert changed(results) == {id_ for id_ in results if ">store:" in id_}
    assert {results[id_].verdict for id_ in changed(results)} == {INCONCLUSIVE}


def test_a_target_that_nobody_can_reach_and_the_kubelet_neither_is_no_denial():
    def lonely(source: Place, target: Place, port: int) -> Any:
        return DROPPED if target.app == "gateway" and source.name != target.name else None

    fleet = hardened(lonely)
    fleet.deaf.add("gateway")
    results = everything(fleet)
    assert {r.verdict for i, r in results.items() if ">gateway:" in i} == {INCONCLUSIVE}


def test_a_source_that_reaches_nothing_at_all_is_no_denial():
    def mute(source: Place, target: Place, port: int) -> Any:
        return DROPPED if source.app == "gateway" and source.name != target.name else None

    fleet = hardened(mute, resolves=lambda place, protocol: place.app != "gateway")
    fleet.deaf.add("gateway")
    results = everything(fleet)
    assert {r.verdict for i, r in results.items() if "gateway->" in i} == {INCONCLUSIVE}


def cut_between(one: str, other: str) -> Any:
    def rule(source: Place, target: Place, port: int) -> Any:
        crosses = (source.node, target.node) == (one, other)
        return DROPPED if crosses and source.name != target.name else None

    return rule


def test_a_broken_path_between_two_nodes_is_no_denial_between_them():
    fleet = hardened(cut_between("node-1", "node-2"))
    results = everything(fleet)
    assert VIOLATED not in verdicts(results)
    nodes = {s.subject: fleet.state(s).node for s in fleet.specs.values()}
    for id_, result in results.items():
        if "->" in id_:
            source, _, rest = id_.split("-", 3)[3].partition("->")
            crosses = (nodes[source], nodes[rest.partition(":")[0]]) == ("node-1", "node-2")
            assert (result.verdict is INCONCLUSIVE) is crosses, id_


def test_a_broken_path_within_a_node_is_no_denial_there():
    results = everything(
        FakeFleet(World(allowed=frozenset(), rules=[cut_between("n", "n")]), ["n"])
    )
    assert HOLDS not in verdicts(results, "ZT-NET-001") | verdicts(results, "ZT-NET-002")


def test_a_node_on_which_no_service_works_denies_nothing_by_service_ip():
    def stale(source: Place, target: Place, port: int) -> Any:
        return DROPPED if target.via == "service" and source.node == "node-2" else None

    fleet = hardened(stale)
    results = everything(fleet)
    nodes = {s.subject: fleet.state(s).node for s in fleet.specs.values()}
    for id_, result in results.items():
        if (
            id_.endswith("service-ip")
            and nodes[id_.split("-", 3)[3].partition("->")[0]] == "node-2"
        ):
            assert result.verdict is INCONCLUSIVE, id_


def test_where_no_service_works_at_all_nothing_holds_by_service_ip():
    def stale(source: Place, target: Place, port: int) -> Any:
        return DROPPED if target.via == "service" else None

    results = everything(hardened(stale))
    assert {r.verdict for i, r in results.items() if "service-ip" in i} == {INCONCLUSIVE}
    assert {r.verdict for i, r in results.items() if "pod-ip" in i} == {HOLDS}


def test_a_service_that_could_not_be_made_is_named():
    fleet = hardened()
    fleet.service_problem = "Service data/x: 403 exceeded quota"
    results = everything(fleet)
    for id_, result in results.items():
        if "service-ip" in id_:
            assert result.verdict is INCONCLUSIVE
            assert "exceeded quota" in result.headline


@pytest.mark.parametrize(
    "data", ["ZT1 {nonce}\n", "HTTP/1.1 200 OK\r\n", "ZT1 " + "0" * 64 + " pod\n", "x"]
)
def test_a_stranger_that_answers_in_the_targets_place_proves_nothing(data):
    def stranger(source: Place, target: Place, port: int) -> Any:
        if target.app == "store" and source.name != target.name:
            return {"stage": "exchange", "end": "complete", "data": data}
        return None

    results = everything(hardened(stranger))
    assert {r.verdict for i, r in results.items() if ">store:" in i} == {INCONCLUSIVE}


def test_a_sealed_canary_that_answers_an_older_nonce_is_neither_closed_nor_open():
    def stale(source: Place, target: Place, port: int) -> Any:
        if target.role == "sealed" and source.name != target.name:
            return answer(target, {"send": "ZT1 older"})
        return None

    assert everything(hardened(stale))["ZT-NET-000-canaries"].verdict is INCONCLUSIVE


@pytest.mark.parametrize("word", ["sealed", "canary"])
def test_a_canary_whose_listener_is_dead_shows_no_enforcement(word):
    def deaf(source: Place, target: Place, port: int) -> Any:
        return REFUSED if target.role == word else None

    assert everything(hardened(deaf))["ZT-NET-000-canaries"].verdict is INCONCLUSIVE


def test_a_canary_that_cannot_be_asked_shows_no_enforcement():
    fleet = hardened()
    fleet.failing["sealed canary on node-2"] = "the exec was cut"
    result = everything(fleet)["ZT-NET-000-canaries"]
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "canary-not-alive")


def test_a_source_lives_by_a_flow_of_it_that_was_answered():
    fleet = hardened(resolves=lambda place, protocol: place.app != "gateway")
    fleet.deaf.add("gateway")
    results = everything(fleet)
    assert results["ZT-NET-001-gateway->store:5432/tcp-pod-ip"].verdict is HOLDS
    assert "another flow of it was answered" in str(
        results["ZT-NET-001-gateway->store:5432/tcp-pod-ip"].controls
    )


def test_canaries_that_are_not_there_are_no_enforcement():
    fleet = hardened()
    for node in fleet.nodes:
        fleet.problems[f"sealed canary on {node}"] = "image not found"
    assert everything(fleet)["ZT-NET-000-canaries"].verdict is INCONCLUSIVE


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
def test_a_workload_that_cannot_resolve_over_one_protocol_is_the_one_violation(protocol):
    def resolves(place: Place, asked: str) -> bool:
        return (place.app, asked) != ("store", protocol)

    results = everything(hardened(resolves=resolves))
    assert changed(results) == {"ZT-NET-004-store"}
    assert results["ZT-NET-004-store"].verdict is VIOLATED
    assert f"over {protocol}" in results["ZT-NET-004-store"].headline


def test_when_nobody_resolves_the_dns_may_be_down():
    results = everything(hardened(resolves=lambda place, protocol: False))
    assert verdicts(results, "ZT-NET-004") == {INCONCLUSIVE}


@pytest.mark.parametrize(("target", "expected"), [("payments", HOLDS), ("store", HOLDS)])
def test_a_flow_of_a_users_own_test_is_judged_like_any_other(target, expected):
    intent = intent_from_text(TEXT, "zero.yaml")
    engine = NetworkEngine(hardened(), intent.workloads, live_of(intent))
    port = intent.workloads[target].ports[0]
    expects = Expected.ALLOWED if target == "payments" else Expected.DENIED
    flow = Flow("gateway", target, port)
    check = FlowCheck(control="custom", flow=flow, via=Via.POD_IP, expected=expects)
    assert Judge(engine, engine.snapshot(check, ())).flow(check).verdict is expected


def test_a_name_that_is_not_resolved_is_no_verdict_on_the_flow():
    results = everything(hardened(resolves=lambda place, protocol: place.app != "gateway"))
    by_name = results["ZT-NET-003-gateway->payments:8080/tcp-dns-name"]
    assert by_name.verdict is INCONCLUSIVE
    assert "name not resolved" in by_name.headline
    assert verdicts(results, "ZT-NET-003-payments") == {HOLDS}


# -- ports beside the declared ones


def opens(source: str, target: str, port: int, kind: str) -> Any:
    """A hole: one source reaches one more port of one target."""

    class Hole(World):
        def _through(self, here: Place, there: Place, probe: Mapping[str, Any]) -> bool:
            hole = (here.app, there.app, probe["port"], probe["kind"])
            return hole == (source, target, port, kind) or super()._through(here, there, probe)

    return FakeFleet(Hole(allowed=ALLOWED))


def test_side_ports_and_first_seconds_hold_where_the_intent_is_enforced():
    results = everything(hardened(), kinds=MORE)
    assert changed(results) == set()
    # Every source to each of the three workloads that listen, and one newborn a namespace.
    assert len(results) == 3 * 3 + 2


@pytest.mark.parametrize(
    ("port", "kind"), [(8080, "udp"), (8081, "tcp")], ids=["another-protocol", "another-port"]
)
@pytest.mark.parametrize("source", ["gateway", "batch"])
def test_one_port_too_many_is_the_one_violation_and_is_named(source, port, kind):
    results = everything(opens(source, "payments", port, kind), kinds=(*KINDS, *MORE))
    assert changed(results) == {f"ZT-NET-010-{source}->payments"}
    headline = results[f"ZT-NET-010-{source}->payments"].headline
    assert f"payments:{port}/{kind}, a port that nothing allows, REACHED" in headline


def test_a_side_port_that_does_not_answer_itself_is_no_denial():
    def deaf(source: Place, target: Place, port: int) -> Any:
        return REFUSED if target.app == "payments" and port == 8081 else None

    results = everything(hardened(deaf), kinds=MORE)
    assert changed(results) == {id_ for id_ in results if id_.endswith("->payments")}
    assert {results[id_].verdict for id_ in changed(results)} == {INCONCLUSIVE}


# -- the first seconds


def test_a_new_pod_that_reaches_what_is_denied_is_a_violation():
    def window(source: Place, target: Place, port: int) -> Any:
        early = source.role == "newborn" and target.app == "store" and port == 5432
        return answer(target, {"send": f"ZT1 {window.nonces[target.name]}"}) if early else None

    window.nonces = {}
    fleet = hardened(window)
    plan = engine_module.newborn.plan

    def remember(*arguments: Any) -> Any:
        targets = plan(*arguments)
        for target in targets:
            twin = arguments[2][target.flow.target]
            window.nonces[twin.name] = str(target.probe["send"]).split()[1]
        return targets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module.newborn, "plan", remember)
        results = everything(fleet, kinds=(*KINDS, *MORE))
    assert changed(results) == {"ZT-NET-011-gateway"}
    assert "a new pod of web/gateway REACHED data/store:5432/tcp 0 ms after its start" in (
        results["ZT-NET-011-gateway"].headline
    )


def test_a_new_pod_that_is_dead_denies_nothing():
    fleet = hardened(dead, resolves=lambda place, protocol: place.role != "newborn")
    fleet.deaf |= {"newborn gateway", "newborn store"}
    results = everything(fleet, kinds=MORE)
    assert verdicts(results, "ZT-NET-011") == {INCONCLUSIVE}


@pytest.mark.parametrize("trouble", ["problems", "failing"])
def test_a_new_pod_that_tells_nothing_is_inconclusive(trouble):
    fleet = hardened()
    getattr(fleet, trouble)["newborn gateway"] = "the kubelet is away"
    results = everything(fleet, kinds=MORE)
    assert changed(results) == {"ZT-NET-011-gateway"}
    assert "the kubelet is away" in results["ZT-NET-011-gateway"].headline


@pytest.mark.parametrize("gone", [True, False])
def test_canaries_whose_seal_was_deleted_say_nothing_when_they_are_reached(gone):
    class Opened(FakeFleet):
        def ask_all(self, requests):
            self.sealed = not gone
            return super().ask_all(requests)

    result = everything(Opened(World(allowed=ALLOWED, enforced=False)))["ZT-NET-000-canaries"]
    assert (result.verdict, result.reason) == (
        (INCONCLUSIVE, "canary-not-alive") if gone else (VIOLATED, "")
    )
    assert ("the policy that seals the canaries is gone" in result.headline) is gone


SCTP = """
version: 1
workloads:
  caller: {namespace: web, labels: {app: caller}}
  signal: {namespace: web, labels: {app: signal}, ports: [9000/sctp]}
"""
LACKS = {"stage": "connect", "end": "unsupported", "errno": "EPROTONOSUPPORT"}


def without_sctp(*roles: str) -> FakeFleet:
    """Nodes of which those with these pods have no SCTP in their kernel."""

    def rule(source: Place, target: Place, port: int) -> Any:
        return LACKS if port == 9000 and source.app in roles else None

    return FakeFleet(World(rules=[rule]))


def test_sctp_is_asked_over_sctp_and_denied():
    kinds: set[str] = set()
    fleet = FakeFleet(World())
    answers = fleet.world.attempt

    def attempt(source: Place, target: Place | None, probe: Mapping[str, Any]) -> Any:
        kinds.add(probe["kind"])
        return answers(source, target, probe)

    fleet.world.attempt = attempt  # type: ignore[method-assign]
    results = everything(fleet, SCTP, ("denied-within-namespace",))
    assert verdicts(results) == {HOLDS}
    assert "sctp" in kinds


def test_where_no_kernel_has_sctp_a_denial_is_not_applicable_and_an_allowed_flow_inconclusive():
    results = everything(without_sctp("caller", "signal"), SCTP, ("denied-within-namespace",))
    assert verdicts(results) == {Verdict.NOT_APPLICABLE}
    wanted = f"{SCTP}flows: [caller -> signal:9000/sctp]"
    assert verdicts(everything(without_sctp("caller", "signal"), wanted, ("allowed",))) == {
        INCONCLUSIVE
    }
    for one in ("caller", "signal"):
        # Only one of the two: the denial was not tried, or the target cannot be shown to live.
        results = everything(without_sctp(one), SCTP, ("denied-within-namespace",))
        assert verdicts(results) == {INCONCLUSIVE}
