"""What the cluster says about encryption between its nodes: evidence, and never a verdict.

By published names (docs.cilium.io, "WireGuard Transparent Encryption" and "IPsec Transparent
Encryption"; docs.tigera.io, "Encrypt in-cluster pod traffic"). Signature only, not proven live: the
lab's kernel has neither WireGuard nor ESP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiUnreachable

_CONFIG = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
_SWITCHES = ("enable-wireguard", "enable-ipsec", "encrypt-node")
_KEYS = {
    "network.cilium.io/wg-pub-key": "Cilium announces a WireGuard key",
    "projectcalico.org/WireguardPublicKey": "Calico announces a WireGuard key",
}


def configured(api: Api) -> tuple[str, ...]:
    """One sentence for each thing that is told, or for what could not be read. Never raises."""
    found = [*_switches(api), *_announced(api)]
    return tuple(found) or ("nothing tells of WireGuard or IPsec",)


def _switches(api: Api) -> Iterator[str]:
    body = _read(api, _CONFIG)
    if isinstance(body, str):
        yield f"ConfigMap kube-system/cilium-config: {body}"
        return
    data: Mapping[str, str] = body.get("data") or {}
    for name in _SWITCHES:
        if name in data:
            yield f"ConfigMap kube-system/cilium-config: {name} is {data[name]}"


def _announced(api: Api) -> Iterator[str]:
    for kind, path in (
        ("CiliumNode", "/apis/cilium.io/v2/ciliumnodes"),
        ("Node", "/api/v1/nodes"),
    ):
        body = _read(api, path)
        if isinstance(body, str):
            yield f"{kind} objects: {body}"
            continue
        for item in body.get("items") or ():
            yield from _of_node(kind, item)


def _of_node(kind: str, item: Mapping[str, Any]) -> Iterator[str]:
    name = f"{kind} {item['metadata']['name']}"
    annotations = item["metadata"].get("annotations") or {}
    yield from (f"{name}: {text}" for key, text in _KEYS.items() if annotations.get(key))
    if ((item.get("spec") or {}).get("encryption") or {}).get("key"):
        yield f"{name}: Cilium announces an IPsec key"


def _read(api: Api, path: str) -> Mapping[str, Any] | str:
    try:
        response = api.request("GET", path)
    except ApiUnreachable as error:
        return f"could not be read: {error}"
    if response.status == 404:
        return "not there"
    return response.body if response.ok else f"could not be read: {response.status}"
