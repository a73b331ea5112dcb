"""Where the cluster's own servers are, as policies see them: API servers and DNS servers.

Like policies they explain what was observed; no verdict needs them. So nothing here raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.core.policy import Endpoint, Kind

DNS_NAMESPACE = "kube-system"
"""Where the Service of the cluster's DNS is looked for."""

_KUBERNETES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServers:
    """The (address, port) of each API server behind the Service ``kubernetes``; ``gap`` says why
    they are not known, if so."""

    addresses: tuple[tuple[str, int], ...] = ()
    gap: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsServers:
    """The pods that answer at a name server's address, each with the port that they listen on,
    by protocol. ``gap`` says why they are not known, if so."""

    ends: Mapping[str, tuple[tuple[Endpoint, int], ...]]
    gap: str = ""


def read_api_servers(api: Api) -> ApiServers:
    """Read where the API servers are."""
    try:
        slices = _list(api, _KUBERNETES, labelSelector="kubernetes.io/service-name=kubernetes")
        found = {
            (str(address), int(port["port"]))
            for item in slices
            for port in item.get("ports") or ()
            for endpoint in item.get("endpoints") or ()
            for address in endpoint.get("addresses") or ()
        }
    except _Unread as error:
        return ApiServers(gap=f"where the API server is could not be read: {error}")
    if not found:
        return ApiServers(gap="the Service kubernetes has no endpoints")
    return ApiServers(addresses=tuple(sorted(found)))


def read_dns_servers(
    api: Api, server: str, namespace_labels: Mapping[str, str] | None
) -> DnsServers:
    """Read which pods answer at a name server's address, if that is the address of a Service.

    ``namespace_labels`` are those of ``DNS_NAMESPACE``, if known.
    """
    place = f"/api/v1/namespaces/{DNS_NAMESPACE}"
    try:
        service = next(
            (
                item
                for item in _list(api, f"{place}/services")
                if server in (item["spec"].get("clusterIPs") or [item["spec"].get("clusterIP")])
            ),
            None,
        )
        selector = (service or {}).get("spec", {}).get("selector")
        if service is None or not selector:
            why = f"the name server {server} is no Service of {DNS_NAMESPACE} that selects pods"
            return DnsServers(ends={}, gap=why)
        words = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
        pods = [
            item
            for item in _list(api, f"{place}/pods", labelSelector=words)
            if item.get("status", {}).get("podIP") and not item["metadata"].get("deletionTimestamp")
        ]
    except _Unread as error:
        return DnsServers(ends={}, gap=f"which pods answer for names could not be read: {error}")
    ends: dict[str, tuple[tuple[Endpoint, int], ...]] = {}
    for port in service["spec"].get("ports", ()):
        if port.get("port") == 53:
            ends[str(port.get("protocol", "TCP"))] = tuple(
                (end, number)
                for item in pods
                for end in [_endpoint(item, namespace_labels)]
                for number in [_number(port, end)]
                if number
            )
    if not ends or not all(ends.values()):
        return DnsServers(ends={}, gap=f"no pod is known that answers at {server}")
    return DnsServers(ends=ends)


class _Unread(Exception):
    """Something could not be read, for the reason that it says."""


def _list(api: Api, path: str, **query: str) -> list[Any]:
    try:
        response = api.request("GET", path, params=query)
    except (ApiUnreachable, OSError) as error:
        raise _Unread(str(error)) from error
    items = response.body.get("items")
    if not response.ok or not isinstance(items, list):
        raise _Unread(f"{response.status} {response.message}")
    return items


def _endpoint(item: Mapping[str, Any], namespace_labels: Mapping[str, str] | None) -> Endpoint:
    meta, spec, status = item["metadata"], item["spec"], item["status"]
    return Endpoint(
        kind=Kind.POD,
        name=str(meta["name"]),
        namespace=str(meta["namespace"]),
        labels=dict(meta.get("labels") or {}),
        namespace_labels=namespace_labels,
        service_account=str(spec.get("serviceAccountName") or "default"),
        ip=str(status["podIP"]),
        node=str(spec.get("nodeName") or ""),
        host_network=bool(spec.get("hostNetwork")),
        ports={
            str(port["name"]): (int(port["containerPort"]), str(port.get("protocol", "TCP")))
            for container in spec["containers"]
            for port in container.get("ports") or ()
            if "name" in port
        },
    )


def _number(port: Mapping[str, Any], end: Endpoint) -> int:
    """The port of the pod that a port of its Service leads to; 0 if it is not known."""
    target = port.get("targetPort", port["port"])
    return end.ports.get(target, (0, ""))[0] if isinstance(target, str) else int(target)


class ServerReader:
    """Reads both through one connection."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def api_servers(self) -> ApiServers:
        """The API servers of the cluster."""
        return read_api_servers(self._api)

    def dns_servers(self, server: str, labels: Mapping[str, str] | None) -> DnsServers:
        """The pods behind a name server's address; ``labels`` are those of their namespace."""
        return read_dns_servers(self._api, server, labels)
