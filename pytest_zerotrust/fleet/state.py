"""What the API server says about a probe pod, read into a few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.fleet.manifests import CONTAINER

_PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})
_NEVER_STARTS = frozenset(
    {
        *_PULLING,
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """A probe pod as the API server sees it.

    ``running``: the probe container runs. ``answers_kubelet``: the kubelet reached its port.
    ``sidecar``: it has a mesh proxy. ``hopeless``: it will not start, and ``problem`` says why;
    for a pod that may still start, ``problem`` says what it is waiting for. ``pulling``: an image
    could not be pulled, and the kubelet tries again. ``labels`` are those that it really carries.
    """

    name: str
    namespace: str
    uid: str
    ip: str
    node: str
    node_ip: str
    running: bool
    answers_kubelet: bool
    sidecar: bool
    sidecar_ready: bool
    hopeless: bool
    problem: str
    labels: Mapping[str, str] = field(default_factory=dict)
    pulling: bool = False

    @property
    def usable(self) -> bool:
        """True if the pod can be asked."""
        return self.running and bool(self.ip)


def read_state(item: Mapping[str, Any]) -> PodState:
    """Read one Pod object."""
    meta, status = item["metadata"], item.get("status", {})
    containers = {
        c["name"]: c
        for c in (
            *status.get("initContainerStatuses", ()),
            *status.get("containerStatuses", ()),
        )
    }
    probe = containers.pop(CONTAINER, {})
    phase = status.get("phase", "Pending")
    hopeless, problem = _problem(status, phase, {CONTAINER: probe, **containers})
    deleted = bool(meta.get("deletionTimestamp"))
    return PodState(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        ip=status.get("podIP", ""),
        node=item["spec"].get("nodeName", ""),
        node_ip=status.get("hostIP", ""),
        running="running" in probe.get("state", {}) and phase == "Running" and not deleted,
        answers_kubelet=bool(probe.get("ready")),
        sidecar="istio-proxy" in containers,
        sidecar_ready=all(
            bool(c.get("ready")) for name, c in containers.items() if name == "istio-proxy"
        ),
        hopeless=hopeless or deleted,
        problem="the pod is being deleted" if deleted else problem,
        labels=dict(meta.get("labels") or {}),
        pulling=any(
            _waiting(one).get("reason") in _PULLING for one in (probe, *containers.values())
        ),
    )


def _problem(
    status: Mapping[str, Any], phase: str, containers: Mapping[str, Mapping[str, Any]]
) -> tuple[bool, str]:
    if phase in ("Failed", "Succeeded"):
        reason = status.get("reason") or _exit(containers) or phase
        return True, f"the pod ended: {reason}"
    for name, container in containers.items():
        waiting = _waiting(container)
        if waiting.get("reason") in _NEVER_STARTS:
            message = str(waiting.get("message", ""))[:300]
            return True, f"container {name}: {waiting['reason']}: {message}"
    for name, container in containers.items():
        if "terminated" in container.get("state", {}) and name == CONTAINER:
            return True, f"the probe container ended: {_exit(containers)}"
        if name == "istio-proxy" and not container.get("ready"):
            return False, "the mesh proxy (istio-proxy) is not ready"
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return False, f"not scheduled: {condition.get('message', condition.get('reason'))}"
    return False, f"not running yet ({phase})"


def _waiting(container: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = container.get("state", {}).get("waiting") or {}
    return found


def _exit(containers: Mapping[str, Mapping[str, Any]]) -> str:
    for name, container in containers.items():
        ended = container.get("state", {}).get("terminated")
        if ended:
            return f"{name} {ended.get('reason', '')} (exit code {ended.get('exitCode')})"
    return ""
