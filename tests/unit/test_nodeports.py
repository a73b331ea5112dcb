"""Ways around by node ports: a leak is found, and silence counts only beside a live reference."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_zerotrust.checks import checks_of
from pytest_zerotrust.cluster.api import ApiUnreachable
from pytest_zerotrust.cluster.nodeports import Door, doors_of, read_doors
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.network import engine as engine_module
from pytest_zerotrust.network.checks import NodePortCheck
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge import Judge
from pytest_zerotrust.network.settle import observe_until_settled
from tests.fakes.fleet import FakeFleet
from tests.fakes.world import DROPPED, REFUSED, World
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
DOOR = Door(
    service="web/store", number=30432, protocol="TCP", target=5432, selector={"app": "store"}
)
ANSWER = {"stage": "exchange", "end": "complete", "ms": 1.0, "data": "hello"}
SILENT = {"stage": "exchange", "end": "silent", "ms": 1.0, "data": ""}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    settle = functools.partial(observe_until_settled, clock=lambda: float(next(seconds)))
    monkeypatch.setattr(engine_module, "observe_until_settled", settle)


def results(
    doors: tuple[Door, ...] | str = (DOOR,),
    *,
    workload: Mapping[str, Any] = DROPPED,
    reference: Mapping[str, Any] = ANSWER,
    at: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Result]:
    """All results, where twins and references see these at the door; ``at`` says what references
    see at some addresses."""
    intent = intent_from_text(TEXT, "zero.yaml")
    fleet = FakeFleet(World())
    normal = fleet.world.attempt

    def attempt(source: Any, target: Any, probe: Mapping[str, Any]) -> Any:
        if target is None and probe.get("port") == 30432:
            if source.role == "twin":
                return workload
            return (at or {}).get(probe["ip"], reference)
        return normal(source, target, probe)

    fleet.world.attempt = attempt  # type: ignore[method-assign]
    engine = NetworkEngine(
        fleet, intent.workloads, live_of(intent), read_doors=lambda namespace: doors
    )
    checks = checks_of("node-ports", intent)
    found = {}
    for check in checks:
        assert isinstance(check, NodePortCheck)
        found[check.id] = Judge(engine, engine.snapshot(check, checks)).of(check)
    return found


STORE = "ZT-NET-012-store-node-port"


def test_there_is_one_check_for_each_workload_with_a_port():
    assert {i: r.verdict for i, r in results(()).items()} == {
        "ZT-NET-012-gateway-node-port": NOT_APPLICABLE,
        STORE: NOT_APPLICABLE,
        "ZT-NET-012-cache-node-port": NOT_APPLICABLE,
    }


def test_it_holds_where_the_reference_gets_through_and_nobody_else():
    found = results()
    assert found[STORE].verdict is HOLDS
    assert "denied to all 2 who may not reach it" in found[STORE].headline
    # The one that may reach it was not asked.
    assert all(line.startswith(("batch->", "cache->")) for line in found[STORE].observed)
    assert found["ZT-NET-012-cache-node-port"].verdict is NOT_APPLICABLE


@pytest.mark.parametrize("seen", [ANSWER, SILENT])
def test_an_answer_is_a_leak_and_names_the_way(seen: Any):
    result = results(workload=seen, reference=seen)[STORE]
    assert result.verdict is VIOLATED
    assert "web/batch -> web/store:5432/tcp by web/store REACHED at 172.16.0.1:30432/tcp" in (
        result.headline
    )


def test_without_a_live_reference_nothing_holds():
    assert results(reference=DROPPED)[STORE].verdict is INCONCLUSIVE
    assert results(reference=REFUSED)[STORE].verdict is NOT_APPLICABLE


def test_a_local_service_that_lets_nobody_through_leaves_it_to_the_pod_ip():
    local = Door(
        service="web/store",
        number=30432,
        protocol="TCP",
        target=5432,
        selector={"app": "store"},
        local=True,
    )
    closed = results((local,), reference=DROPPED)[STORE]
    assert (closed.verdict, closed.reason) == (NOT_APPLICABLE, "closed-to-all")
    assert results((local,))[STORE].verdict is HOLDS
    assert results((local,), workload=ANSWER, reference=DROPPED)[STORE].verdict is VIOLATED


def test_an_address_that_is_closed_to_all_counts_for_nothing_if_the_service_works_elsewhere():
    two = Door(
        service="web/store",
        number=30432,
        protocol="TCP",
        target=5432,
        selector={"app": "store"},
        addresses=("203.0.113.4", "203.0.113.5"),
    )
    closed = {"203.0.113.5": DROPPED}
    assert results((two,), at=closed)[STORE].verdict is HOLDS
    assert results((two,), at={**closed, "203.0.113.4": DROPPED})[STORE].verdict is INCONCLUSIVE
    assert results((two,), at=closed, workload=ANSWER)[STORE].verdict is VIOLATED


def test_a_service_that_also_leads_to_what_the_source_may_reach_is_left_out():
    both = Door(
        service="web/db", number=30432, protocol="TCP", target=6379, selector={"tier": "db"}
    )
    result = results((both,))["ZT-NET-012-cache-node-port"]
    assert result.verdict is HOLDS
    # The gateway may reach the store behind the same door.
    assert all(line.startswith("batch->") for line in result.observed)


def test_services_that_cannot_be_read_are_told():
    result = results("403 forbidden")[STORE]
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "not-readable")
    assert "403 forbidden" in result.headline


SERVICE = {
    "metadata": {"namespace": "web", "name": "store"},
    "spec": {
        "type": "LoadBalancer",
        "selector": {"app": "store"},
        "externalTrafficPolicy": "Local",
        "externalIPs": ["203.0.113.5"],
        "ports": [{"port": 443, "targetPort": "tls", "nodePort": 30443, "protocol": "TCP"}],
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.4"}, {"hostname": "x.example"}]}},
}


def test_node_ports_and_external_addresses_are_doors():
    by_node, outside = doors_of(SERVICE)
    assert (by_node.number, by_node.addresses, by_node.local) == (30443, (), True)
    assert (outside.number, outside.addresses) == (443, ("203.0.113.4", "203.0.113.5"))
    assert by_node.target == outside.target == "tls"
    assert doors_of({"metadata": SERVICE["metadata"], "spec": {"ports": [{"port": 1}]}}) == []
    plain = {"selector": {"a": "b"}, "ports": [{"port": 80}]}
    assert doors_of({"metadata": SERVICE["metadata"], "spec": plain}) == []


def test_services_of_ours_are_no_doors():
    ours = {**SERVICE, "metadata": {**SERVICE["metadata"], "labels": {"zerotrust.dev/run": "x"}}}

    class Api:
        def get(self, path: str) -> Any:
            return {"items": [SERVICE, ours]}

    class Gone:
        def get(self, path: str) -> Any:
            raise ApiUnreachable("no answer")

    assert len(read_doors(Api(), "web")) == 2  # type: ignore[arg-type]
    assert "no answer" in read_doors(Gone(), "web")  # type: ignore[arg-type]
