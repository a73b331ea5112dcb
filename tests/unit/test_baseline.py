"""The baseline: pods and policies of our own that show what a network does with policies."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_zerotrust.checks import checks_of
from pytest_zerotrust.cluster.api import ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.nodes import MOST, MOST_ADDRESSES, node_addresses, usable_nodes
from pytest_zerotrust.core.policy import Dialect, Endpoint, Kind, Outcome, PolicySet, parse_policy
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.run import LABEL_RUN
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.network import baseline
from pytest_zerotrust.network import engine as engine_module
from pytest_zerotrust.network.checks import CanaryCheck, FlowCheck
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge import Judge
from pytest_zerotrust.network.settle import observe_until_settled
from tests.fakes.fleet import RUN, FakeFleet
from tests.fakes.world import DROPPED, World, answer

OURS = ("probes-a", "probes-b")
HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    settle = functools.partial(observe_until_settled, clock=lambda: float(next(seconds)))
    monkeypatch.setattr(engine_module, "observe_until_settled", settle)


def allowed() -> set[tuple[str, str, int]]:
    return {
        (c.flow.source, c.flow.target, c.flow.port.number)
        for c in baseline.checks()
        if c.expected is Expected.ALLOWED
    }


def results(reached: set[tuple[str, str, int]] | None) -> tuple[dict[str, Result], FakeFleet]:
    """The results in a network in which these flows get through (None: all)."""
    fleet = FakeFleet(World(enforced=reached is not None))
    subjects = {key: f"-{key}-" for key in baseline.workloads(OURS)}
    normal = fleet.world.attempt

    def end(name: str) -> str:
        return next((key for key, part in subjects.items() if part in name), "")

    def attempt(source: Any, target: Any, probe: Mapping[str, Any]) -> Any:
        if target is None or "port" not in probe or not (end(source.name) and end(target.name)):
            return normal(source, target, probe)
        flow = (end(source.name), end(target.name), probe["port"])
        through = reached is None or flow in reached or source.name == target.name
        return answer(target, probe) if through else DROPPED

    fleet.world.attempt = attempt  # type: ignore[method-assign]
    engine = NetworkEngine(
        fleet,  # type: ignore[arg-type]
        baseline.workloads(OURS),
        baseline.live(OURS, ("node-1", "node-2")),
        baseline_namespaces=OURS,
    )
    checks = [CanaryCheck(), *baseline.checks()]
    return {c.id: Judge(engine, engine.snapshot(c, checks)).of(c) for c in checks}, fleet


def test_an_enforcing_network_holds_and_gets_policies_for_pods_of_this_run_only():
    found, fleet = results(allowed())
    assert {r.verdict for r in found.values()} == {HOLDS}
    assert len(found) == 9
    assert fleet.declared
    for policy in fleet.declared:
        assert policy["metadata"]["namespace"] == OURS[0]
        assert policy["spec"]["podSelector"]["matchLabels"][LABEL_RUN] == RUN.id


def test_without_enforcement_every_denial_is_violated():
    found, _ = results(None)
    for check in baseline.checks():
        denied = check.expected is Expected.DENIED
        assert found[check.id].verdict is (VIOLATED if denied else HOLDS)
    assert found["ZT-NET-000-canaries"].verdict is VIOLATED


def test_a_network_that_drops_everything_is_violated_and_never_a_pass_for_allowed_flows():
    found, _ = results(set())
    for check in baseline.checks():
        wanted = HOLDS if check.expected is Expected.DENIED else VIOLATED
        assert found[check.id].verdict is wanted


@pytest.mark.parametrize("dialect", list(Dialect))
def test_the_policies_imply_exactly_what_is_expected(dialect: Dialect):
    fleet = FakeFleet(World())
    baseline.declare(fleet, OURS)  # type: ignore[arg-type]
    rules = PolicySet(map(parse_policy, fleet.declared), dialect=dialect)
    ends = {
        key: Endpoint(
            kind=Kind.POD,
            name=key,
            namespace=workload.namespace,
            labels={**workload.labels, LABEL_RUN: RUN.id},
            namespace_labels={"kubernetes.io/metadata.name": workload.namespace},
        )
        for key, workload in baseline.workloads(OURS).items()
    }
    for check in baseline.checks():
        flow = check.flow
        decision = rules.decide(ends[flow.source], ends[flow.target], flow.port.number)
        assert decision.outcome is Outcome(check.expected.value), check.id


def test_it_is_asked_for_in_the_intent_and_counts_for_enforcement_alone():
    for text, count in (("version: 1\n", 1), ("version: 1\nbaseline: true\n", 9)):
        intent = intent_from_text(text, "z")
        checks = checks_of("canaries", intent)
        assert len(checks) == count
        assert {check.control for check in checks} == {"ZT-NET-000"}
        assert len({check.id for check in checks}) == count
    assert intent.baseline_namespaces == ("zerotrust-probes-a", "zerotrust-probes-b")
    assert all(baseline.is_baseline(c) for c in checks if isinstance(c, FlowCheck))


def node(name: str, **changes: Any) -> dict[str, Any]:
    ready = {"conditions": [{"type": "Ready", "status": changes.get("ready", "True")}]}
    return {"metadata": {"name": name}, "spec": changes.get("spec", {}), "status": ready}


def test_nodes_that_take_no_pods_are_left_out():
    items = [
        node("n2"),
        node("n1"),
        node("down", ready="False"),
        node("cordoned", spec={"unschedulable": True}),
        node("tainted", spec={"taints": [{"key": "gpu", "effect": "NoSchedule"}]}),
    ]

    class Response:
        ok = True
        body: Mapping[str, Any] = {"items": items}

    class Api:
        def request(self, method: str, path: str) -> Any:
            return Response()

    class Gone:
        def request(self, method: str, path: str) -> Any:
            raise ApiUnreachable("no answer")

    assert usable_nodes(Api()) == ("n1", "n2")  # type: ignore[arg-type]
    assert usable_nodes(Gone()) == ()  # type: ignore[arg-type]
    Response.body = {"items": [node(f"n{i:03}") for i in range(50)]}
    assert len(usable_nodes(Api())) == MOST  # type: ignore[arg-type]
    Response.ok = False
    assert usable_nodes(Api()) == ()  # type: ignore[arg-type]


def test_addresses_of_ready_nodes_are_read_the_control_plane_first():
    def at(name: str, ip: str, **labels: str) -> dict[str, Any]:
        item = node(name)
        item["metadata"]["labels"] = labels
        item["status"]["addresses"] = [
            {"type": "Hostname", "address": name},
            {"type": "InternalIP", "address": ip},
        ]
        return item

    control = {"node-role.kubernetes.io/control-plane": ""}
    items = [at("a", "10.0.0.1"), at("z", "10.0.0.9", **control), node("no-address")]
    items[1]["spec"] = {"taints": [{"key": "control-plane", "effect": "NoSchedule"}]}

    class Response:
        ok = True
        status = 200
        message = "out of order"
        body: Mapping[str, Any] = {"items": items}

    class Api:
        def request(self, method: str, path: str) -> Any:
            return Response()

    found = node_addresses(Api())  # type: ignore[arg-type]
    assert list(found.addresses.items()) == [("z", "10.0.0.9"), ("a", "10.0.0.1")]
    assert found.left_out == ""
    Response.body = {"items": [at(f"n{i:02}", f"10.0.1.{i}") for i in range(MOST_ADDRESSES + 2)]}
    found = node_addresses(Api())  # type: ignore[arg-type]
    assert len(found.addresses) == MOST_ADDRESSES
    assert found.left_out == "only the first 50 of 52 nodes were asked"
    Response.ok, Response.status = False, 403
    found = node_addresses(Api())  # type: ignore[arg-type]
    assert (found.addresses, "may not be listed" in found.left_out) == ({}, True)
    # With a server in trouble nobody knows which nodes there are.
    Response.status = 500
    with pytest.raises(ApiFailure):
        node_addresses(Api())  # type: ignore[arg-type]
