"""The nodes of the cluster, where they may be listed."""

from __future__ import annotations

from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.core.nodes import NodeList

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
    spec = item.get("spec") or {}
    barred = any(t.get("effect") in ("NoSchedule", "NoExecute") for t in spec.get("taints") or ())
    return _is_ready(item) and not barred and not spec.get("unschedulable")


def _is_ready(item: Any) -> bool:
    conditions = (item.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


_NO_RIGHT = (401, 403)

MOST_ADDRESSES = 50
"""Nodes at whose address destinations are asked."""


def node_addresses(api: Api) -> NodeList:
    """The internal addresses of the first nodes that are ready; those of the control plane come
    first. None, and a word about it, without the right to list nodes.

    Raises ApiFailure or ApiUnreachable: what is asked must not depend on a server in trouble.
    """
    response = api.request("GET", "/api/v1/nodes")
    if response.status in _NO_RIGHT:
        return NodeList(
            left_out="nodes on which no probe pod runs were not asked: they may not be listed"
        )
    items = response.body.get("items")
    if not response.ok or not isinstance(items, list):
        raise ApiFailure(response, "GET /api/v1/nodes")
    items.sort(key=lambda item: (_CONTROL_PLANE not in _labels(item), item["metadata"]["name"]))
    found: dict[str, str] = {}
    ready = 0
    for item in items:
        addresses = (item.get("status") or {}).get("addresses") or ()
        inner = [a.get("address") for a in addresses if a.get("type") == "InternalIP"]
        if inner and inner[0] and _is_ready(item):
            ready += 1
            if ready <= MOST_ADDRESSES:
                found[str(item["metadata"]["name"])] = str(inner[0])
    left_out = f"only the first {MOST_ADDRESSES} of {ready} nodes were asked"
    return NodeList(addresses=found, left_out=left_out if ready > MOST_ADDRESSES else "")


_CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


def _labels(item: Any) -> dict[str, str]:
    return dict(item["metadata"].get("labels") or {})
