"""The nodes of the cluster, where they may be listed."""

from __future__ import annotations

from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiUnreachable

MOST = 10
"""Nodes that are looked at; a cluster may have thousands."""


def usable_nodes(api: Api) -> tuple[str, ...]:
    """The names of the first nodes on which any pod may run; empty if they cannot be listed."""
    try:
        response = api.request("GET", "/api/v1/nodes")
    except (ApiUnreachable, OSError):
        return ()
    items = response.body.get("items") if response.ok else None
    if not isinstance(items, list):
        return ()
    return tuple(sorted(item["metadata"]["name"] for item in items if _takes_pods(item))[:MOST])


def _takes_pods(item: Any) -> bool:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    ready = {c["type"]: c["status"] for c in status.get("conditions") or ()}.get("Ready") == "True"
    barred = any(t.get("effect") in ("NoSchedule", "NoExecute") for t in spec.get("taints") or ())
    return ready and not barred and not spec.get("unschedulable")
