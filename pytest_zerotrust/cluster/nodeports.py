"""Services that are reached at the address of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.ours import LABEL_RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One node port of a Service (``namespace/name``), over ``protocol``.

    ``target`` is the container port that it leads to, or its name. ``local``: nodes without a pod
    of it pass nothing on, and the caller's address is kept (externalTrafficPolicy: Local).
    """

    service: str
    protocol: str
    target: int | str
    selector: Mapping[str, str]
    local: bool = False


def read_doors(api: Api, namespace: str) -> tuple[Door, ...] | str:
    """The doors of a namespace, Services of our own left out; or why they could not be read."""
    try:
        items = api.get(f"/api/v1/namespaces/{namespace}/services")["items"]
    except (ApiFailure, ApiUnreachable) as error:
        return str(error)
    return tuple(
        door for item in items if not _leads_to_probe_pods(item) for door in doors_of(item)
    )


def _leads_to_probe_pods(item: Mapping[str, Any]) -> bool:
    """True for a Service of a run. Its label alone would hide a Service of anybody else's."""
    return LABEL_RUN in (item["spec"].get("selector") or {})


def doors_of(item: Mapping[str, Any]) -> list[Door]:
    """The doors of one Service (type NodePort, and LoadBalancer unless it does without them)."""
    meta, spec = item["metadata"], item["spec"]
    selector = spec.get("selector") or {}
    return [
        Door(
            service=f"{meta['namespace']}/{meta['name']}",
            protocol=str(port.get("protocol", "TCP")),
            target=port.get("targetPort", port["port"]),
            selector=dict(selector),
            local=spec.get("externalTrafficPolicy") == "Local",
        )
        for port in spec.get("ports") or ()
        if selector and port.get("nodePort")
    ]
