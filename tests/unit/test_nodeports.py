"""Ways around by node ports: a leak is found, and silence counts only beside a live reference."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_zerotrust.checks import checks_of
from pytest_zerotrust.cluster.api import ApiUnreachable
from pytest_zerotrust.cluster.nodeports import Door, doors_of, read_doors
from pytest_zerotrust.core.nodes import NodeList
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.network import engine as engine_module
from pytest_zerotrust.network.checks import NodePortCheck
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge import Judge
from pytest_zerotrust.network.settle import observe_until_settled
from tests.fakes.fleet import FakeFleet
from tests.fakes.world import DROPPED, Place, World
from tests.unit.test_network_judge import live_of

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
NOT_APPLICABLE = Verdict.NOT_APPLICABLE
TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, ports: [8080]}
  batch: {namespace: web, labels: {app: batch}}
  store: {namespace: web, labels: {app: store, tier: db}, ports: [5432]}
  cache: {namespace: web, labels: {app: cache, tier: db}, ports: [6379]}
flows: [gateway -> store:5432]
"""
DOOR = Door(service="web/store", protocol="TCP", target=5432, selector={"app": "store"})
NODES = {"node-1": "172.16.0.1", "node-2": "172.16.0.2"}
LEFT_OUT = "only the first 2 of 9 nodes were asked"
STORE = "ZT-NET-012-store-node-port"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    settle = functools.partial(observe_until_settled, clock=lambda: float(next(seconds)))
    monkeypatch.setattr(engine_module, "observe_until_settled", settle)


def results(
    doors: tuple[Door, ...] | str = (DOOR,),
    *rules: Any,
    problem: str = "",
    nodes: Mapping[str, str] = NODES,
) -> tuple[dict[str, Result], set[str]]:
    """All results, and by which node addresses twins were asked for."""
    intent = intent_from_text(TEXT, "zero.yaml")
    asked: set[str] = set()

    def by_node(source: Place, target: Place, port: int) -> Any:
        if target.via.startswith("node") and target.role == "twin":
            asked.add(target.via)
        return None

    fleet = FakeFleet(World(allowed=frozenset({("gateway", "store", 5432)}),
                            rules=[by_node, *rules]))  # fmt: skip
    fleet.service_problem = problem
    engine = NetworkEngine(
        fleet,  # type: ignore[arg-type]
        intent.workloads,
        live_of(intent),
        read_doors=lambda namespace: doors,
        read_nodes=lambda: NodeList(addresses=nodes),
    )
    checks = checks_of("node-ports", intent)
    found = {}
    for check in checks:
        assert isinstance(check, NodePortCheck)
        found[check.id] = Judge(engine, engine.snapshot(check, checks)).of(check)
    return found, asked


def test_there_is_one_check_for_each_workload_with_a_port():
    found, asked = results(())
    assert {i: r.verdict for i, r in found.items()} == {
        "ZT-NET-012-gateway-node-port": NOT_APPLICABLE,
        STORE: NOT_APPLICABLE,
        "ZT-NET-012-cache-node-port": NOT_APPLICABLE,
    }
    assert asked == set()


def test_it_holds_where_nobody_gets_through_and_a_canary_does():
    found, asked = results()
    assert found[STORE].verdict is HOLDS
    assert "denied to all 2 who may not reach it" in found[STORE].headline
    # The one that may reach it is not asked, and all others at every node.
    assert {line.partition("->")[0] for line in found[STORE].observed} == {"batch", "cache"}
    assert asked == {"node 172.16.0.1", "node 172.16.0.2"}
    assert found["ZT-NET-012-cache-node-port"].verdict is NOT_APPLICABLE


def test_a_node_port_that_refuses_may_lead_nowhere():
    def refuses(source: Place, target: Place, port: int) -> Any:
        if target.via.startswith("node") and target.role == "twin":
            return {"stage": "connect", "end": "refused", "errno": "ECONNREFUSED"}
        return None

    result = results((DOOR,), refuses)[0][STORE]
    assert result.verdict is INCONCLUSIVE
    assert "may lead nowhere" in result.headline + " ".join(result.controls)


def test_an_answer_without_the_proof_is_none():
    def somebody(source: Place, target: Place, port: int) -> Any:
        if source.app == "batch" and target.via == "node 172.16.0.2":
            return {"stage": "exchange", "end": "complete", "ms": 1.0, "data": "hello"}
        return None

    assert results((DOOR,), somebody)[0][STORE].verdict is INCONCLUSIVE


def test_an_answer_with_the_proof_is_a_violation():
    # The pretended network lets batch through wherever it comes from but by pod IP.
    def denied_by_pod_ip(source: Place, target: Place, port: int) -> Any:
        return DROPPED if source.app == "batch" and not target.via.startswith("node") else None

    intent_allowed = frozenset({("gateway", "store", 5432), ("batch", "store", 5432)})
    fleet = FakeFleet(World(allowed=intent_allowed, rules=[denied_by_pod_ip]))
    intent = intent_from_text(TEXT, "zero.yaml")
    engine = NetworkEngine(
        fleet,  # type: ignore[arg-type]
        intent.workloads,
        live_of(intent),
        read_doors=lambda namespace: (DOOR,),
        read_nodes=lambda: NodeList(addresses=NODES, left_out=LEFT_OUT),
    )
    checks = checks_of("node-ports", intent)
    (check,) = [c for c in checks if c.id == STORE]
    assert isinstance(check, NodePortCheck)
    result = Judge(engine, engine.snapshot(check, checks)).of(check)
    assert result.verdict is VIOLATED
    assert "web/batch -> web/store:5432/tcp by node port at 172.16.0.1 REACHED" in result.headline
    assert result.objects[-1] == f"note: {LEFT_OUT}"


def test_without_a_canary_by_a_node_port_nothing_holds():
    def broken(source: Place, target: Place, port: int) -> Any:
        return DROPPED if target.via == "node 172.16.0.2" else None

    result = results((DOOR,), broken)[0][STORE]
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "service-not-alive")
    assert "not even a canary is reached by a node port at 172.16.0.2" in result.headline


def test_a_local_service_is_asked_at_the_node_of_its_pod_alone():
    local = Door(
        service="web/store", protocol="TCP", target=5432, selector={"app": "store"}, local=True
    )
    found, asked = results((local,))
    assert found[STORE].verdict is HOLDS
    assert len(asked) == 1


def test_what_cannot_be_read_or_made_is_told():
    for doors, problem in (("403 forbidden", ""), ((DOOR,), "403 exceeded quota")):
        result = results(doors, problem=problem)[0][STORE]
        assert (result.verdict, result.reason) == (INCONCLUSIVE, "not-readable")
        assert "403" in result.headline


SERVICE = {
    "metadata": {"namespace": "web", "name": "store"},
    "spec": {
        "type": "LoadBalancer",
        "selector": {"app": "store"},
        "externalTrafficPolicy": "Local",
        "ports": [{"port": 443, "targetPort": "tls", "nodePort": 30443, "protocol": "TCP"}],
    },
}


def test_node_ports_are_doors():
    (door,) = doors_of(SERVICE)
    assert (door.target, door.local, door.selector) == ("tls", True, {"app": "store"})
    meta = SERVICE["metadata"]
    assert doors_of({"metadata": meta, "spec": {"ports": [{"port": 1, "nodePort": 2}]}}) == []
    plain = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    assert doors_of({"metadata": meta, "spec": plain}) == []


def test_services_of_ours_are_no_doors():
    ours = copy.deepcopy(SERVICE)
    ours["spec"]["selector"] = {"zerotrust.dev/run": "x", "zerotrust.dev/twin": "y"}
    # Anybody may set a label; such a Service leads to pods of theirs all the same.
    hidden = {**SERVICE, "metadata": {**SERVICE["metadata"], "labels": {"zerotrust.dev/run": "x"}}}

    class Api:
        def get(self, path: str) -> Any:
            return {"items": [hidden, ours]}

    class Gone:
        def get(self, path: str) -> Any:
            raise ApiUnreachable("no answer")

    assert len(read_doors(Api(), "web")) == 1  # type: ignore[arg-type]
    assert "no answer" in read_doors(Gone(), "web")  # type: ignore[arg-type]
