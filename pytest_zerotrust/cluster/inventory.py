"""Lists what runs in a namespace, whether a workload stands for it or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.ours import is_probe_pod
from pytest_zerotrust.core.inventory import PodFacts


def items_in(api: Api, namespace: str) -> list[Mapping[str, Any]]:
    """The pods of a namespace as the server tells them: those that are there to stay.

    Probe pods of runs, finished pods and pods that are being deleted are left out. Raises
    ApiFailure or ApiUnreachable.
    """
    items = api.get(f"/api/v1/namespaces/{namespace}/pods")
    return [
        item
        for item in items["items"]
        if not is_probe_pod(item)
        and not item["metadata"].get("deletionTimestamp")
        and item.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


def pods_in(api: Api, namespace: str) -> list[PodFacts]:
    """The facts of ``items_in``. Raises ApiFailure or ApiUnreachable."""
    return [pod_facts(item) for item in items_in(api, namespace)]


def pod_facts(item: Mapping[str, Any]) -> PodFacts:
    """What policies and people know a pod by."""
    meta = item["metadata"]
    return PodFacts(
        name=meta["name"],
        namespace=meta["namespace"],
        labels=dict(meta.get("labels", {})),
        owner=owner_of(meta),
        host_network=bool(item["spec"].get("hostNetwork")),
        service_account=item["spec"].get("serviceAccountName") or "default",
    )


def owner_of(meta: Mapping[str, Any]) -> str:
    """``Kind name`` of the controller that made a pod, or ``Pod name``.

    A ReplicaSet whose name ends with the pod's template hash is a Deployment's, and a Job whose
    name ends with the minutes of a schedule is a CronJob's.
    """
    for owner in meta.get("ownerReferences", ()):
        if owner.get("controller"):
            kind, name = str(owner["kind"]), str(owner["name"])
            suffix = "-" + meta.get("labels", {}).get("pod-template-hash", "")
            if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
                return f"Deployment {name.removesuffix(suffix)}"
            if kind == "Job" and re.search(r"-\d{8}$", name):
                return f"CronJob {name[:-9]}"
            return f"{kind} {name}"
    return f"Pod {meta['name']}"
