"""Services that are reached at the address of a node or of a load balancer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One port of such a Service (``namespace/name``).

    It is ``number`` over ``protocol``, at each node's address or, with ``addresses``, at these.
    ``target`` is the container port that it leads to, or its name.
    ``local``: nodes without a pod of it pass nothing on, and the caller's address is kept
    (externalTrafficPolicy: Local).
    """

    service: str
    number: int
    protocol: str
    target: int | str
    selector: Mapping[str, str] = field(hash=False)
    local: bool = False
    addresses: tuple[str, ...] = ()

    @property
    def namespace(self) -> str:
        """The namespace of the Service."""
        return self.service.partition("/")[0]


def read_doors(api: Api, namespace: str) -> tuple[Door, ...] | str:
    """The doors of a namespace, Services of our own left out; or why they could not be read."""
    try:
        items = api.get(f"/api/v1/namespaces/{namespace}/services")["items"]
    except (ApiFailure, ApiUnreachable) as error:
        return str(error)
    return tuple(
        door
        for item in items
        if "zerotrust.dev/run" not in (item["metadata"].get("labels") or {})
        for door in doors_of(item)
    )


def doors_of(item: Mapping[str, Any]) -> list[Door]:
    """The doors of one Service: its node ports, and its ports at external addresses."""
    meta, spec = item["metadata"], item["spec"]
    selector = spec.get("selector") or {}
    if not selector or spec.get("type") == "ExternalName":
        return []
    ingress = ((item.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    addresses = [str(one["ip"]) for one in ingress if one.get("ip")]
    addresses += [str(ip) for ip in spec.get("externalIPs") or ()]
    found = []
    for port in spec.get("ports") or ():
        common: dict[str, Any] = {
            "service": f"{meta['namespace']}/{meta['name']}",
            "protocol": str(port.get("protocol", "TCP")),
            "target": port.get("targetPort", port["port"]),
            "selector": dict(selector),
            "local": spec.get("externalTrafficPolicy") == "Local",
        }
        if port.get("nodePort"):
            found.append(Door(number=int(port["nodePort"]), **common))
        if addresses:
            found.append(Door(number=int(port["port"]), addresses=tuple(addresses), **common))
    return found
