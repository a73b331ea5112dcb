"""Whether the cluster's nodes and pods are what their last reports say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from . import kube
from .settings import Lab, LabError

NUDGE_EVERY = 1.5


def wait_nodes(
    lab: Lab,
    restarted: Collection[str],
    since: float,
    nudge: Callable[[], None],
    timeout: float = 90,
) -> None:
    """Return when every node says that it is ready, the restarted ones after the given time."""
    deadline = time.monotonic() + timeout
    nudged = 0.0
    while True:
        if time.monotonic() > nudged + NUDGE_EVERY:
            nudge()
            nudged = time.monotonic()
        listed = kube.kubectl(lab, "get", "nodes", "-o", "json", check=False)
        states = _node_states(json.loads(listed.stdout)) if listed.returncode == 0 else {}
        late = []
        for node in lab.nodes:
            state, reported = states.get(node.name, ("unknown", 0.0))
            # Reports carry whole seconds.
            if state != "True" or (node.name in restarted and reported < int(since)):
                late.append(f"{node.name} (ready: {state})")
        if not late:
            return
        if time.monotonic() > deadline:
            raise LabError(f"not ready after {timeout:.0f} s: {', '.join(late)}")
        time.sleep(0.25)


def wait_renewed(lab: Lab, names: Collection[str], since: float, timeout: float = 60) -> None:
    """Return when no pod of a restarted node still looks ready from before the restart."""
    deadline = time.monotonic() + timeout
    while True:
        pods = json.loads(kube.kubectl(lab, "get", "pods", "-A", "-o", "json").stdout)["items"]
        stale = [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in pods
            if pod["spec"].get("nodeName") in names and _is_stale(pod, since)
        ]
        if not stale:
            return
        if time.monotonic() > deadline:
            raise LabError(f"not restarted after {timeout:.0f} s: {', '.join(stale)}")
        time.sleep(0.5)


def unready_pods(lab: Lab) -> list[str]:
    """The pods that should be ready and are not; those without an owner are somebody's tests."""
    pods = json.loads(kube.kubectl(lab, "get", "pods", "-A", "-o", "json").stdout)["items"]
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']} ({pod['status'].get('phase')})"
        for pod in pods
        if pod["metadata"].get("ownerReferences")
        and pod["status"].get("phase") not in ("Succeeded", "Failed")
        and not _is_ready(pod)
    ]


def node_states(lab: Lab) -> dict[str, str]:
    """What each node's Ready condition is."""
    listed = json.loads(kube.kubectl(lab, "get", "nodes", "-o", "json").stdout)
    return {name: state for name, (state, _) in _node_states(listed).items()}


def _node_states(listed: dict[str, Any]) -> dict[str, tuple[str, float]]:
    states = {}
    for node in listed["items"]:
        for condition in node["status"].get("conditions", []):
            if condition["type"] == "Ready":
                reported = _seconds(condition["lastHeartbeatTime"])
                states[node["metadata"]["name"]] = (condition["status"], reported)
    return states


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _is_stale(pod: dict[str, Any], since: float) -> bool:
    return _is_ready(pod) and any(
        _seconds(container["state"]["running"]["startedAt"]) < int(since)
        for container in pod["status"].get("containerStatuses", [])
        if "running" in container["state"]
    )


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
