"""Which pods belong to which workload, and what is said about those that belong to none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from pytest_zerotrust.cluster.inventory import owner_of
from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.core.inventory import PodFacts, claimants, judge_alike, judge_named
from pytest_zerotrust.core.labels import CONTROLLERS_OWN
from pytest_zerotrust.core.verdict import Result, Verdict

WEB = Workload(key="web", namespace="shop", labels={"app": "web"})
CANARY = Workload(key="canary", namespace="shop", labels={"app": "web", "track": "canary"})
STORE = Workload(key="store", namespace="shop", labels={"app": "store"})
ELSEWHERE = Workload(key="elsewhere", namespace="data", labels={"app": "web"})


def pod(name: str, owner: str = "Deployment web", *, host: bool = False, **labels: str) -> PodFacts:
    return PodFacts(name=name, namespace="shop", labels=labels, owner=owner, host_network=host)


def named(pods: Iterable[PodFacts], *workloads: Workload) -> Result:
    return judge_named(
        pods, workloads, control="ZT-NET-008", namespace="shop", remedy="name the workload"
    )


def alike(pods: Iterable[PodFacts], workload: Workload, *others: Workload) -> Result:
    return judge_alike(
        pods, (workload, *others), control="ZT-NET-009", workload=workload, remedy="same labels"
    )


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        ({"app": "web"}, ["web"]),
        ({"app": "web", "x": "y"}, ["web"]),
        ({"app": "web", "track": "canary"}, ["canary"]),
        ({"app": "store", "track": "canary"}, ["store"]),
        ({"app": "other"}, []),
        ({}, []),
    ],
)
def test_a_pod_belongs_to_the_most_specific_workload_that_selects_it(
    labels: Mapping[str, str], keys
):
    workloads = (WEB, CANARY, STORE, ELSEWHERE)
    assert [w.key for w in claimants("shop", labels, workloads)] == keys


def test_a_pod_may_belong_to_two_workloads_of_which_none_is_more_specific():
    other = Workload(key="canaries", namespace="shop", labels={"track": "canary"})
    labels = {"app": "web", "track": "canary"}
    assert [w.key for w in claimants("shop", labels, (WEB, other))] == ["web", "canaries"]


def test_a_namespace_whose_pods_are_all_named_holds():
    result = named([pod("web-1", app="web"), pod("web-2", app="web")], WEB, ELSEWHERE)
    assert result.verdict is Verdict.HOLDS
    assert "2 pods" in result.headline


def test_a_pod_that_no_workload_selects_is_violated_and_named_with_its_owner():
    pods = [
        pod("web-1", app="web"),
        pod("x-1", "Deployment intruder", app="intruder"),
        pod("x-2", "Deployment intruder", app="intruder"),
        pod("shell", "Pod shell", host=True),
    ]
    result = named(pods, WEB)
    assert result.verdict is Verdict.VIOLATED
    assert result.headline.endswith("does not name: Deployment intruder, Pod shell")
    assert result.observed == (
        "Deployment intruder: 2 pods, first x-1, labels app=intruder",
        "Pod shell: pod shell, labels none, in the node's network, where no policy for pods "
        "applies",
    )
    assert set(result.objects) == {"Deployment shop/intruder", "Pod shop/shell"}
    assert result.remedy
    assert result.evidence["unnamed"]["Deployment intruder"] == ["x-1", "x-2"]


def test_an_unnamed_pod_of_an_owner_whose_other_pods_are_named_is_found():
    result = named([pod("web-1", app="web"), pod("web-2", "Pod web-2", app="evil")], WEB)
    assert result.verdict is Verdict.VIOLATED
    assert "Pod web-2" in result.headline


@pytest.mark.parametrize("pods", [[], [pod("web-1", app="web")]])
def test_a_list_without_the_pods_of_a_declared_workload_is_not_believed(pods):
    result = named(pods, WEB, STORE)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "no-pod"
    assert "store" in result.headline


def test_an_unnamed_pod_is_a_violation_whatever_else_is_missing():
    assert named([pod("x", "Pod x")], WEB).verdict is Verdict.VIOLATED


def test_an_empty_namespace_that_should_be_empty_holds():
    assert named([]).verdict is Verdict.HOLDS


def test_hundreds_of_unnamed_owners_are_not_all_listed():
    result = named([pod(f"p{n}", f"Pod p{n}") for n in range(300)])
    assert len(result.observed) == 21
    assert result.observed[-1] == "and 280 more"
    assert len(result.headline) < 200


def test_pods_that_differ_only_in_their_controllers_own_labels_are_alike():
    pods = [pod(f"web-{n}", app="web", **dict.fromkeys(CONTROLLERS_OWN, str(n))) for n in range(3)]
    assert alike(pods, WEB).verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    ("odd", "by"),
    [
        (pod("web-2", app="web", tier="debug"), "tier"),
        (pod("web-2", app="web"), "tier"),
        (pod("web-2", app="web", tier="front", **{"sidecar.istio.io/inject": "false"}), "sidecar"),
    ],
)
def test_one_pod_with_other_labels_is_violated_and_named(odd: PodFacts, by):
    pods = [pod(f"web-{n}", app="web", tier="front") for n in (1, 3)]
    result = alike([*pods, odd], WEB)
    assert result.verdict is Verdict.VIOLATED
    assert f"by {by}" in result.headline
    assert "web-2: labels" in result.observed[1]
    assert "web-1, web-3: labels" in result.observed[0]


def test_one_pod_in_the_nodes_network_is_violated():
    result = alike([pod("web-1", app="web"), pod("web-2", app="web", host=True)], WEB)
    assert result.verdict is Verdict.VIOLATED
    assert "in the node's network" in " ".join(result.observed)


def test_kinds_that_are_workloads_of_their_own_are_alike():
    pods = [pod("web-1", app="web"), pod("web-2", app="web", track="canary")]
    assert alike(pods, WEB).verdict is Verdict.VIOLATED
    assert alike(pods, WEB, CANARY).verdict is Verdict.HOLDS
    assert alike(pods, CANARY, WEB).verdict is Verdict.HOLDS


def test_a_workload_without_a_pod_was_not_looked_at():
    result = alike([pod("store-1", app="store")], WEB)
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, "no-pod")


@pytest.mark.parametrize(
    ("kind", "name", "labels", "owner"),
    [
        ("ReplicaSet", "web-5d4f", {"pod-template-hash": "5d4f"}, "Deployment web"),
        ("ReplicaSet", "web-5d4f", {"pod-template-hash": "other"}, "ReplicaSet web-5d4f"),
        ("ReplicaSet", "web-", {}, "ReplicaSet web-"),
        ("StatefulSet", "db", {}, "StatefulSet db"),
        ("Job", "backup-29123456", {}, "CronJob backup"),
        ("Job", "backup", {}, "Job backup"),
        ("Rollout", "x", {}, "Rollout x"),
    ],
)
def test_pods_are_told_by_what_made_them(kind, name, labels, owner):
    meta = {
        "name": "p",
        "labels": labels,
        "ownerReferences": [
            {"kind": "Other", "name": "no"},
            {"kind": kind, "name": name, "controller": True},
        ],
    }
    assert owner_of(meta) == owner


def test_a_pod_that_nothing_made_is_its_own_owner():
    assert owner_of({"name": "p"}) == "Pod p"
    assert owner_of({"name": "p", "ownerReferences": [{"kind": "X", "name": "y"}]}) == "Pod p"
