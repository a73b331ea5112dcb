"""Reads what a draft is made of: pods, Services, policies, and whether there is a mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.inventory import items_in
from pytest_zerotrust.errors import ClusterProblem, UsageProblem

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Objects as the server tells them. Mappings are by namespace; ``labels`` are those of the
    namespaces themselves. ``unread`` says which kinds could not be listed, and why."""

    labels: Mapping[str, Mapping[str, str]]
    pods: Mapping[str, Sequence[Item]]
    services: Mapping[str, Sequence[Item]]
    policies: Sequence[Item]
    mesh: bool
    unread: tuple[str, ...] = ()


def collect(api: Api, namespaces: Iterable[str]) -> Material:
    """Read the named namespaces, or all that are not the system's if none is named.

    Raises UsageProblem for a namespace that is not there, ClusterProblem if pods or Services
    cannot be listed.
    """
    unread: list[str] = []
    try:
        labels = _namespaces(api, list(namespaces))
        pods = {name: items_in(api, name) for name in labels}
        services = {
            name: list(api.get(f"/api/v1/namespaces/{name}/services")["items"]) for name in labels
        }
    except (ApiFailure, ApiUnreachable) as error:
        raise ClusterProblem(f"reading what runs in the cluster: {error}.") from error
    policies = [
        {**item, "kind": kind}
        for name in labels
        for kind, group in (
            ("NetworkPolicy", "networking.k8s.io/v1"),
            ("CiliumNetworkPolicy", "cilium.io/v2"),
        )
        for item in _optional(api, f"/apis/{group}/namespaces/{name}/{_plural(kind)}", kind, unread)
    ]
    mesh = bool(
        _optional(
            api,
            "/apis/security.istio.io/v1/peerauthentications",
            "PeerAuthentication",
            unread,
        )
    )
    return Material(
        labels=labels,
        pods=pods,
        services=services,
        policies=policies,
        mesh=mesh,
        unread=tuple(dict.fromkeys(unread)),
    )


def _plural(kind: str) -> str:
    return kind.lower().removesuffix("y") + "ies"


def _namespaces(api: Api, named: Sequence[str]) -> dict[str, Mapping[str, str]]:
    if not named:
        items = api.get("/api/v1/namespaces")["items"]
        return {
            item["metadata"]["name"]: item["metadata"].get("labels", {})
            for item in items
            if not _system(item) and not item["metadata"].get("deletionTimestamp")
        }
    found = {}
    for name in dict.fromkeys(named):
        response = api.request("GET", f"/api/v1/namespaces/{name}")
        if response.status == 404:
            raise UsageProblem(f"--zt-namespace {name}: the cluster has no such namespace.")
        if not response.ok:
            raise ApiFailure(response, f"GET namespace {name}")
        found[name] = response.body["metadata"].get("labels", {})
    return found


def _system(item: Item) -> bool:
    """Namespaces of the cluster's own machinery, and those of probe pods."""
    name = str(item["metadata"]["name"])
    ours = "zerotrust.dev/run" in item["metadata"].get("labels", {})
    return ours or name.startswith("kube-") or name.endswith("-system")


def _optional(api: Api, path: str, kind: str, unread: list[str]) -> list[Item]:
    """The items under a path whose kind the cluster may not have."""
    try:
        response = api.request("GET", path)
    except ApiUnreachable as error:
        unread.append(f"{kind}: {error}")
        return []
    if response.status != 404 and not response.ok:
        unread.append(f"{kind}: {response.status} {response.message}")
    return list(response.body.get("items") or ()) if response.ok else []
