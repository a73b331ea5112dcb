"""Reads the PeerAuthentications of a namespace and of the mesh: which ports they make exceptions
for, so that each of them is asked, and what they declare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.core.mesh import Declaration, Declared, PeerAuthentication, declared_for

_VERSIONS = ("v1", "v1beta1")
"""Versions of the API, the newest first; Istio before 1.22 knows the second only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The PeerAuthentications of some namespaces; ``gaps`` says of which they could not be read,
    and why."""

    items: tuple[PeerAuthentication, ...] = ()
    gaps: Mapping[str, str] = field(default_factory=dict)

    def ports_of(self, namespace: str, labels: Mapping[str, str]) -> frozenset[int]:
        """The container ports that any policy names for a pod, the one in force or another."""
        chosen = (item for item in self.items if item.selects(namespace, labels))
        return frozenset(port for item in chosen for port in item.ports)

    def declared(
        self, namespace: str, labels: Mapping[str, str], port: int, root_namespace: str
    ) -> Declaration:
        """The mode in force for a port of a pod, as far as these policies tell."""
        return declared_for(self.items, namespace, labels, port, root_namespace=root_namespace)

    def difference(self, later: Policies) -> str:
        """What changed until a later look, in words, or nothing."""
        if self.items == later.items and self.gaps == later.gaps:
            return ""
        ours, theirs = ({item.where: item for item in p.items} for p in (self, later))
        changed = {n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n)}
        changed |= {text for text in later.gaps.values() if text not in self.gaps.values()}
        return f"PeerAuthentications changed during the batch: {', '.join(sorted(changed))}"


def read_policies(api: Api, namespaces: Iterable[str]) -> Policies:
    """Read them. Never raises: without the right, what needs them stays open, and nothing else."""
    items: list[PeerAuthentication] = []
    gaps: dict[str, str] = {}
    for namespace in dict.fromkeys(namespaces):
        try:
            items += map(_policy, _listed(api, namespace))
        except (ApiFailure, ApiUnreachable) as error:
            gaps[namespace] = str(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            gaps[namespace] = f"a PeerAuthentication of {namespace} is not understood: {error}"
    return Policies(items=tuple(items), gaps=gaps)


def _listed(api: Api, namespace: str) -> list[Mapping[str, Any]]:
    """The policies of a namespace; none where the cluster knows no such kind."""
    for version in _VERSIONS:
        path = f"/apis/security.istio.io/{version}/namespaces/{namespace}/peerauthentications"
        response = api.request("GET", path)
        if response.ok:
            return list(response.body.get("items") or ())
        if response.status != 404:
            raise ApiFailure(response, f"PeerAuthentications of {namespace}")
    return []


def _policy(item: Mapping[str, Any]) -> PeerAuthentication:
    meta, spec = item["metadata"], item.get("spec") or {}
    ports = spec.get("portLevelMtls") or {}
    return PeerAuthentication(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=dict((spec.get("selector") or {}).get("matchLabels") or {}),
        mode=_mode(spec.get("mtls")),
        ports={int(port): _mode(mtls) for port, mtls in ports.items()},
        created=str(meta.get("creationTimestamp", "")),
    )


def _mode(mtls: Mapping[str, Any] | None) -> Declared | None:
    """The mode of one part of a policy; None if it sets none."""
    word = str((mtls or {}).get("mode") or "UNSET")
    return None if word == "UNSET" else Declared(word)
