"""What is reported without judgement: told as it was seen, with the reason where it was not."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.network.surroundings import (
    NOT_ALLOWED,
    READY_IS_OLD,
    WORTH_WAITING,
    Surroundings,
    look_around,
    waiting_for_the_kubelet,
)
from tests.fakes.fleet import RUN, FakeFleet
from tests.fakes.world import World

TWIN = PodSpec(
    name="twin", namespace="web", role=Role.TWIN, subject="store", ports=(Port(5432),),
    labels={"app": "store"},
)  # fmt: skip


def seen(
    fleet: FakeFleet | None = None, *, host: bool = False, sealed_for: float | None = READY_IS_OLD
) -> Surroundings:
    fleet = fleet or FakeFleet(World())
    specs = [*topology.canaries(RUN, "probes", ["node-1"]), TWIN]
    members = fleet.members(specs)
    node = topology.node_probe(RUN, "probes", "node-1")
    found = {"node-1": fleet.members([node])[node.name]} if host else None
    return look_around(
        fleet,  # type: ignore[arg-type]
        members,
        [TWIN],
        ["node-1"],
        now=fleet.look(members),
        sealed_for=sealed_for,
        host_network=found,
    )


def line(found: Surroundings, beginning: str) -> str:
    (said,) = [text for text in found.said if text.startswith(beginning)]
    return said


def test_what_is_not_allowed_is_not_asked_and_says_so():
    found = seen()
    assert line(found, "host network") == f"host network: {NOT_ALLOWED}"
    assert found.data["host_network"] == NOT_ALLOWED


def test_a_pod_in_the_nodes_network_tells_what_it_reaches():
    said = line(seen(host=True), "host network")
    assert said == (
        "host network of node-1: reaches sealed canary on node-1:8080/tcp; "
        "does not reach store:5432/tcp"
    )


def test_a_pod_that_admission_turns_away_is_told():
    fleet = FakeFleet(World())
    fleet.problems["node-1"] = "probe pod probes/x was turned away: 403 violates PodSecurity"
    said = line(seen(fleet, host=True), "host network")
    assert "not asked, because probe pod probes/x was turned away: 403" in said


def test_the_kubelets_word_counts_only_when_it_is_newer_than_the_policy():
    assert "passes, although" in line(seen(), "node -> its own pod")
    fleet = FakeFleet(World())
    fleet.after["sealed canary on node-1"] = {"answers_kubelet": False}
    assert "does not pass" in line(seen(fleet), "node -> its own pod")
    for too_soon in (None, READY_IS_OLD - 0.1):
        said = line(seen(fleet, sealed_for=too_soon), "node -> its own pod")
        assert said.endswith("not looked at for long enough")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"addresses": [], "route": "ENETUNREACH"}, "no address; a way out: ENETUNREACH"),
        ({"addresses": [], "route": "yes"}, "a way out: there is one"),
        ({"addresses": ["fd00::7"], "route": "yes"}, "an address (fd00::7), and nothing is tested"),
    ],
)
def test_ipv6_is_told_as_the_pod_saw_it(report: dict[str, Any], said: str):
    fleet = FakeFleet(World())
    normal = fleet.world.attempt

    def attempt(source: Any, target: Any, probe: Any) -> Any:
        if probe["kind"] == "ipv6":
            return {"stage": "ipv6", "end": "complete", **report}
        return normal(source, target, probe)

    fleet.world.attempt = attempt  # type: ignore[method-assign]
    assert said in line(seen(fleet), "IPv6")


def test_nothing_of_it_changes_a_verdict():
    from tests.unit.test_network_judge import everything

    fleet = FakeFleet(World())
    calm = everything(fleet, kinds=("canaries",))["ZT-NET-000-canaries"]
    assert calm.verdict is Verdict.HOLDS
    assert any(text.startswith("host network") for text in calm.observed)
    deaf = FakeFleet(World())
    deaf.after["sealed canary on node-1"] = {"answers_kubelet": False}
    assert everything(deaf, kinds=("canaries",))["ZT-NET-000-canaries"].verdict is Verdict.HOLDS


def test_a_batch_is_held_up_for_the_kubelet_only_for_a_moment():
    assert waiting_for_the_kubelet(READY_IS_OLD) == 0
    assert waiting_for_the_kubelet(READY_IS_OLD + 1) == 0
    assert waiting_for_the_kubelet(READY_IS_OLD - 1) == pytest.approx(1)
    assert waiting_for_the_kubelet(READY_IS_OLD - WORTH_WAITING - 0.1) == 0
