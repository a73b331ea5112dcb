"""Which labels a twin takes over, and which Services would take it in although it is not ready."""

from __future__ import annotations

import pytest

from pytest_zerotrust.fleet.plan import PodSpec, Role, twin_labels, unready_conflicts

KEPT = {
    "app": "api",
    "app.kubernetes.io/name": "api",
    "version": "v1",
    "security": "high",
    "istio": "ingressgateway",
    "security.istio.io/tlsMode": "istio",
    "service.istio.io/canonical-name": "api",
    "istio.io/rev": "default",
}
ADOPTED_BY = {
    "ReplicaSet": "pod-template-hash",
    "DaemonSet": "controller-revision-hash",
    "DaemonSet, old": "pod-template-generation",
    "StatefulSet": "statefulset.kubernetes.io/pod-name",
    "StatefulSet, index": "apps.kubernetes.io/pod-index",
    "Job": "controller-uid",
    "Job, name": "job-name",
    "Job, new": "batch.kubernetes.io/controller-uid",
    "Job, new name": "batch.kubernetes.io/job-name",
    "Job, index": "batch.kubernetes.io/job-completion-index",
}


def test_a_twin_keeps_the_labels_by_which_policies_select():
    assert twin_labels(KEPT) == KEPT


@pytest.mark.parametrize("controller", ADOPTED_BY)
def test_a_twin_leaves_out_the_label_by_which_a_controller_knows_its_pods(controller):
    assert twin_labels({**KEPT, ADOPTED_BY[controller]: "x"}) == KEPT


def test_whether_a_twin_is_injected_is_not_taken_over():
    assert twin_labels({**KEPT, "sidecar.istio.io/inject": "true"}) == KEPT


def test_the_labels_of_the_workload_itself_are_not_changed():
    labels = {**KEPT, "pod-template-hash": "x"}
    twin_labels(labels)["app"] = "changed"
    assert labels == {**KEPT, "pod-template-hash": "x"}


def spec(name: str, namespace: str = "ns", **labels: str) -> PodSpec:
    return PodSpec(name=name, namespace=namespace, role=Role.TWIN, subject=name, labels=labels)


CONFLICTS = [
    ({"app": "api"}, {"app": "api"}, True),
    ({"app": "api", "v": "1"}, {"app": "api"}, True),
    ({"app": "api"}, {"app": "api", "v": "1"}, False),
    ({"app": "api"}, {"app": "web"}, False),
    ({}, {"app": "api"}, False),
]


@pytest.mark.parametrize(("labels", "selector", "conflict"), CONFLICTS)
def test_a_twin_conflicts_with_a_service_whose_whole_selector_it_matches(
    labels, selector, conflict
):
    found = unready_conflicts([spec("p", **labels)], {"ns": [("svc", selector)]})
    assert set(found) == ({"p"} if conflict else set())


def test_a_conflict_names_the_service_and_the_cause():
    found = unready_conflicts([spec("p", app="api")], {"ns": [("svc", {"app": "api"})]})
    assert "ns/svc" in found["p"]
    assert "publishNotReadyAddresses" in found["p"]


def test_a_service_of_another_namespace_takes_no_twin_in():
    assert unready_conflicts([spec("p", app="api")], {"other": [("svc", {"app": "api"})]}) == {}


def test_each_of_many_twins_is_judged_alone():
    specs = [spec("p", app="api"), spec("q", app="web"), spec("r", "other", app="api")]
    services = {"ns": [("one", {"app": "api"}), ("two", {"app": "store"})]}
    assert set(unready_conflicts(specs, services)) == {"p"}


@pytest.mark.parametrize("role", Role)
def test_a_client_inside_the_mesh_and_one_on_a_node_serve_nobody(role):
    made = PodSpec(name="p", namespace="ns", role=role, subject="p")
    assert made.listens is not (role is Role.MESHED or role.on_node)
    assert made.where == "ns/p"
