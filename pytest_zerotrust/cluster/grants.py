"""Reads all roles and bindings, as far as rights allow: what cannot be read becomes a gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.rbac import Rbac, read_rbac

GROUP = "rbac.authorization.k8s.io"
ROLES = ("clusterroles", "roles")
BINDINGS = ("clusterrolebindings", "rolebindings")


def read_grants(api: Api) -> Rbac:
    """What RBAC gives to whom in the whole cluster, at one moment. Raises ApiUnreachable."""
    gaps: list[str] = []

    def items(resources: tuple[str, ...]) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for resource in resources:
            response = api.request("GET", f"/apis/{GROUP}/v1/{resource}")
            listed = response.body.get("items")
            if response.ok and isinstance(listed, list):
                found += listed
            else:
                gaps.append(f"{resource} could not be read: {response.status} {response.message}")
        return found

    bindings, roles = items(BINDINGS), items(ROLES)
    return read_rbac(roles, bindings, gaps)
