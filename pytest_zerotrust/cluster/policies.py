"""Reads network policies, as far as rights allow: what cannot be read becomes a gap, not an error.

Policies explain what was observed; no verdict needs them. So nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.core.policy import (
    Dialect,
    Policy,
    parse_cilium_policy,
    parse_network_policy,
)

CILIUM_GROUP = "cilium.io"

# Other APIs that can deny or allow traffic: the group, and the kinds in it that are policies.
# Recognised by their published names and not proven live: none of these can run in the lab.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "crd.projectcalico.org": (
        "networkpolicies",
        "globalnetworkpolicies",
        "stagednetworkpolicies",
        "stagedglobalnetworkpolicies",
    ),
    "projectcalico.org": ("networkpolicies", "globalnetworkpolicies"),
    "crd.antrea.io": ("networkpolicies", "clusternetworkpolicies"),
    "policy.networking.k8s.io": (
        "adminnetworkpolicies",
        "baselineadminnetworkpolicies",
        "clusternetworkpolicies",
    ),
    "k8s.ovn.org": ("egressfirewalls", "adminpolicybasedexternalroutes"),
    "networking.k8s.aws": ("applicationnetworkpolicies", "clusternetworkpolicies"),
    "networking.gke.io": ("fqdnnetworkpolicies",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReading:
    """The policies of some namespaces and of the whole cluster, at one moment.

    ``namespace_labels`` holds the namespaces whose labels could be read. ``dialects`` are the
    readings that may apply: one, or both if it could not be seen whether Cilium runs. ``gaps``
    say what is missing or is not evaluated; without any, the reading is complete.
    """

    policies: tuple[Policy, ...]
    namespace_labels: Mapping[str, Mapping[str, str]]
    dialects: tuple[Dialect, ...]
    gaps: tuple[str, ...]


def read_policies(api: Api, namespaces: Iterable[str]) -> PolicyReading:
    """Read the policies that can concern pods of these namespaces."""
    reader = _Reader(api)
    wanted = sorted(set(namespaces))
    groups = reader.groups()
    found: list[Policy] = []
    for namespace in wanted:
        found += reader.policies(
            f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
            f"the NetworkPolicies of namespace {namespace}",
            parse_network_policy,
        )
    dialects: tuple[Dialect, ...] = (Dialect.LETTER,)
    if groups is None:
        dialects = tuple(Dialect)
    elif CILIUM_GROUP in groups:
        dialects = reader.dialects()
        for namespace in wanted:
            found += reader.policies(
                f"/apis/cilium.io/v2/namespaces/{namespace}/ciliumnetworkpolicies",
                f"the CiliumNetworkPolicies of namespace {namespace}",
                parse_cilium_policy,
            )
        found += reader.policies(
            "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
            "the CiliumClusterwideNetworkPolicies",
            parse_cilium_policy,
        )
    for group in sorted(set(groups or ()) & set(_OTHERS)):
        reader.look_for(group, str((groups or {})[group]))
    labels = {namespace: reader.labels(namespace) for namespace in wanted}
    return PolicyReading(
        policies=tuple(sorted(found, key=str)),
        namespace_labels={n: found for n, found in labels.items() if found is not None},
        dialects=dialects,
        gaps=tuple(dict.fromkeys(reader.gaps)),
    )


class _Reader:
    """Reads, and keeps account of what could not be read."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.gaps: list[str] = []

    def _get(self, path: str, what: str) -> Mapping[str, Any] | None:
        try:
            response = self._api.request("GET", path)
        except (ApiUnreachable, OSError) as error:
            self.gaps.append(f"{what} could not be read: {error}")
            return None
        if not response.ok:
            self.gaps.append(f"{what} could not be read: {response.status} {response.message}")
            return None
        return response.body

    def _items(self, path: str, what: str) -> list[Mapping[str, Any]]:
        body = self._get(path, what)
        if body is None:
            return []
        items = body.get("items")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            self.gaps.append(f"{what} could not be read: the answer is no list of objects")
            return []
        return items

    def groups(self) -> dict[str, str] | None:
        """The API groups of the server and a version of each; None if they are not known."""
        body = self._get("/apis", "the API groups of the cluster")
        if body is None:
            return None
        try:
            return {
                str(group["name"]): str(group["preferredVersion"]["groupVersion"])
                for group in body["groups"]
            }
        except (KeyError, TypeError):
            self.gaps.append("the API groups of the cluster could not be read")
            return None

    def policies(
        self, path: str, what: str, parse: Callable[[Mapping[str, Any]], Policy]
    ) -> list[Policy]:
        """Read a list of policies."""
        return [parse(item) for item in self._items(path, what)]

    def dialects(self) -> tuple[Dialect, ...]:
        """Whether agents of Cilium run: each keeps a CiliumNode for its node."""
        before = len(self.gaps)
        nodes = self._items("/apis/cilium.io/v2/ciliumnodes", "whether Cilium runs (CiliumNodes)")
        if len(self.gaps) > before:
            # No gap of its own: where both readings agree, it does not matter which one applies.
            del self.gaps[before:]
            return tuple(Dialect)
        return (Dialect.CILIUM,) if nodes else (Dialect.LETTER,)

    def look_for(self, group: str, version: str) -> None:
        """Note policies of a kind that is not evaluated."""
        listed = self._get(f"/apis/{version}", f"the kinds of {group}")
        resources = listed.get("resources", ()) if listed is not None else ()
        names = {str(r.get("name")) for r in resources if isinstance(r, dict)}
        for kind in _OTHERS[group]:
            if kind not in names:
                continue
            if self._items(f"/apis/{version}/{kind}", f"{kind}.{group}, which are not evaluated,"):
                self.gaps.append(f"there are {kind}.{group}, which are not evaluated")

    def labels(self, namespace: str) -> Mapping[str, str] | None:
        """The labels of a namespace. Missing ones matter only to what selects by them."""
        before = len(self.gaps)
        body = self._get(f"/api/v1/namespaces/{namespace}", "a namespace")
        del self.gaps[before:]
        meta = body.get("metadata") if body is not None else None
        return dict(meta.get("labels") or {}) if isinstance(meta, dict) else None
