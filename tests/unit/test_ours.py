"""A pod is left out of the inventory only if it is a probe pod, not if it merely says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pytest_zerotrust.admission.gated import gated_pod
from pytest_zerotrust.cluster.inventory import items_in
from pytest_zerotrust.cluster.ours import LIFETIME, is_probe_pod
from pytest_zerotrust.cluster.subjects import read_subjects
from pytest_zerotrust.core.intent import Port, ProbeIntent
from pytest_zerotrust.fleet import manifests
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.run import Run, new_run
from tests.fakes.fleet import RUN

Object = dict[str, Any]


def probe(role: Role = Role.TWIN, run: Run = RUN) -> Object:
    spec = PodSpec(
        name=run.name("twin", "web", "store"),
        namespace="web",
        role=role,
        subject="store",
        labels={"app": "store"},
        ports=(Port(5432),),
    )
    return manifests.pod(spec, run, "image", ProbeIntent())


@pytest.mark.parametrize("run", [RUN, new_run("another")], ids=["this run", "another run"])
@pytest.mark.parametrize("role", list(Role))
def test_the_probe_pods_of_every_run_are_known(role: Role, run: Run):
    assert is_probe_pod(probe(role, run))


def test_a_gated_pod_is_known_until_it_may_start():
    pod = gated_pod(RUN, "web", "registry.example.com/")
    assert is_probe_pod(pod)
    del pod["spec"]["schedulingGates"]
    assert not is_probe_pod(pod)


def without(*path: str) -> Callable[[Object], None]:
    def change(pod: Object) -> None:
        for word in path[:-1]:
            pod = pod[word]
        del pod[path[-1]]

    return change


def owned(pod: Object) -> None:
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "x", "controller": True}]


def living(seconds: Any) -> Callable[[Object], None]:
    return lambda pod: pod["spec"].update(activeDeadlineSeconds=seconds)


IMPOSTORS: dict[str, Callable[[Object], None]] = {
    "no label": without("metadata", "labels"),
    "a name of its own": lambda pod: pod["metadata"].update(name="backdoor"),
    "the name of another run": lambda pod: pod["metadata"].update(name="zt-zzzzzzzz-twin-x"),
    "no owner": without("metadata", "annotations", "zerotrust.dev/owner"),
    "no expiry": without("metadata", "annotations", "zerotrust.dev/expires"),
    "a controller's": owned,
    "no end": without("spec", "activeDeadlineSeconds"),
    "a late end": living(LIFETIME + 1),
    "an end that is no number": living("60"),
    "ready for traffic": without("spec", "readinessGates"),
}


@pytest.mark.parametrize("slip", IMPOSTORS)
def test_an_impostor_is_a_pod_like_any_other(slip: str):
    genuine, impostor = probe(), copy.deepcopy(probe())
    IMPOSTORS[slip](impostor)
    assert not is_probe_pod(impostor)
    for item in (genuine, impostor):
        item["metadata"].setdefault("labels", {})
        item["status"] = {"phase": "Running"}
    name = impostor["metadata"]["name"]

    class Api:
        def get(self, path: str, **query: str) -> Any:
            return {"items": [genuine, impostor]}

        def request(self, method: str, path: str) -> Any:
            listed = [genuine, impostor] if path.endswith("/pods") else []

            class Response:
                ok = True
                body = {"items": listed}  # noqa: RUF012

            return Response()

    assert [item["metadata"]["name"] for item in items_in(Api(), "web")] == [name]  # type: ignore[arg-type]
    subjects = read_subjects(Api(), "web", None)  # type: ignore[arg-type]
    assert [pod.name for pod in subjects.pods] == [name]
