"""What the API server says about a probe pod, in a few words: usable, waiting, or hopeless."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.fleet.state import PodState, read_state

RUNNING: dict[str, Any] = {"state": {"running": {"startedAt": "x"}}, "ready": True}
NOT_READY: dict[str, Any] = {"state": {"running": {}}, "ready": False}


def waiting(reason: str, message: str = "because") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}, "ready": False}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"state": {"terminated": {"exitCode": code, "reason": reason}}, "ready": False}


def state(
    probe: dict[str, Any] | None = None,
    *,
    phase: str = "Running",
    ip: str = "10.0.0.1",
    proxy: dict[str, Any] | None = None,
    native: bool = False,
    deleted: bool = False,
    **status: Any,
) -> PodState:
    containers = [{"name": "probe", **probe}] if probe else []
    sidecars = [{"name": "istio-proxy", **proxy}] if proxy else []
    meta = {"name": "p", "namespace": "ns", "uid": "u"}
    if deleted:
        meta["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    return read_state(
        {
            "metadata": meta,
            "spec": {"nodeName": "node-1"},
            "status": {
                "phase": phase,
                "podIP": ip,
                "containerStatuses": containers + ([] if native else sidecars),
                "initContainerStatuses": sidecars if native else [],
                **status,
            },
        }
    )


def test_a_running_pod_with_an_address_can_be_asked():
    found = state(RUNNING)
    assert found.usable
    assert found.answers_kubelet
    assert not found.hopeless
    assert (found.name, found.namespace, found.uid) == ("p", "ns", "u")
    assert (found.ip, found.node) == ("10.0.0.1", "node-1")


@pytest.mark.parametrize(
    "found",
    [
        state(RUNNING, ip=""),
        state(RUNNING, deleted=True),
        state(RUNNING, phase="Pending"),
        state(RUNNING, phase="Failed"),
        state(RUNNING, phase="Succeeded"),
        state(RUNNING, phase="Unknown"),
        state(waiting("ContainerCreating")),
        state(ended(1)),
        state(None),
        read_state({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {}}),
    ],
    ids=lambda s: s.problem or "no address",
)
def test_a_pod_that_does_not_run_with_an_address_cannot_be_asked(found):
    assert not found.usable


def test_a_pod_whose_listener_does_not_answer_can_be_asked_but_does_not_answer_the_kubelet():
    found = state(NOT_READY)
    assert found.usable
    assert not found.answers_kubelet


@pytest.mark.parametrize(
    "reason",
    [
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    ],
)
def test_a_container_that_will_not_start_is_hopeless_and_says_why(reason):
    found = state(waiting(reason, "no such image"), phase="Pending")
    assert found.hopeless
    assert found.problem == f"container probe: {reason}: no such image"


@pytest.mark.parametrize(
    ("reason", "again"),
    [("ErrImagePull", True), ("ImagePullBackOff", True), ("InvalidImageName", False), ("", False)],
)
def test_a_pull_that_failed_is_tried_again_by_the_kubelet(reason, again):
    assert state(waiting(reason), phase="Pending").pulling is again
    assert state(RUNNING, proxy=waiting(reason)).pulling is again


def test_a_proxy_that_will_not_start_is_hopeless_too():
    found = state(RUNNING, proxy=waiting("ImagePullBackOff"))
    assert found.hopeless
    assert "istio-proxy" in found.problem


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", ""])
def test_a_container_that_may_still_start_is_not_hopeless(reason):
    found = state(waiting(reason), phase="Pending")
    assert not found.hopeless
    assert found.problem == "not running yet (Pending)"


@pytest.mark.parametrize(
    ("probe", "status", "words"),
    [
        (ended(137, "OOMKilled"), {}, "OOMKilled"),
        (ended(1), {}, "exit code 1"),
        (RUNNING, {"reason": "DeadlineExceeded"}, "DeadlineExceeded"),
        (RUNNING, {"reason": "Evicted"}, "Evicted"),
        (None, {}, "Failed"),
    ],
)
def test_a_pod_that_ended_is_hopeless_and_says_how(probe, status, words):
    found = state(probe, phase="Failed", **status)
    assert found.hopeless
    assert words in found.problem


def test_a_probe_that_ended_beside_a_living_proxy_is_hopeless():
    found = state(ended(1), proxy=RUNNING)
    assert found.hopeless
    assert "probe container ended" in found.problem


def test_a_pod_that_is_being_deleted_is_hopeless_whatever_its_containers_do():
    found = state(RUNNING, deleted=True)
    assert (found.hopeless, found.problem) == (True, "the pod is being deleted")


def test_a_pod_that_fits_on_no_node_says_what_the_scheduler_says():
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes available"}
    found = state(None, phase="Pending", conditions=[condition])
    assert found.problem == "not scheduled: 0/2 nodes available"
    assert not found.hopeless


@pytest.mark.parametrize("native", [True, False])
def test_a_sidecar_is_found_as_a_container_and_as_an_init_container(native):
    ready = state(RUNNING, proxy=RUNNING, native=native)
    assert (ready.sidecar, ready.sidecar_ready) == (True, True)
    late = state(RUNNING, proxy=NOT_READY, native=native)
    assert (late.sidecar, late.sidecar_ready) == (True, False)
    assert "istio-proxy" in late.problem


def test_a_pod_without_a_sidecar_waits_for_none():
    found = state(RUNNING)
    assert (found.sidecar, found.sidecar_ready) == (False, True)


def test_another_container_that_ended_does_not_make_a_pod_hopeless():
    done = {"name": "istio-validation", **ended(0, "Completed")}
    found = state(waiting("PodInitializing"), phase="Pending", initContainerStatuses=[done])
    assert not found.hopeless
    running = state(RUNNING, initContainerStatuses=[done])
    assert running.usable
    assert not running.hopeless


def test_a_pod_that_is_scheduled_waits_for_something_else():
    condition = {"type": "PodScheduled", "status": "True", "message": "m"}
    other = {"type": "Ready", "status": "False", "message": "n"}
    found = state(None, phase="Pending", conditions=[condition, other])
    assert found.problem == "not running yet (Pending)"
