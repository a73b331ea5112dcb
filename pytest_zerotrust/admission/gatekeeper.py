"""Reads Gatekeeper's constraints and its Config. Reading only; raises ApiUnreachable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.constraints import Constraint, left_out_by_config

CONSTRAINTS = "constraints.gatekeeper.sh"
CONFIG = "config.gatekeeper.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The constraints with some names; several kinds may have one of the same name.

    ``gap`` says why it is not known which there are, and is empty if it is.
    """

    found: tuple[Constraint, ...] = ()
    gap: str = ""


def read_constraints(api: Api, names: Iterable[str]) -> Constraints:
    """Look for constraints with these names in every kind of constraint."""
    wanted = tuple(names)
    group = api.request("GET", f"/apis/{CONSTRAINTS}")
    version = (group.body.get("preferredVersion") or {}).get("groupVersion")
    if not group.ok or not version:
        return Constraints(gap=f"the kinds of constraints: {group.status} {group.message}")
    kinds = api.request("GET", f"/apis/{version}")
    resources = kinds.body.get("resources")
    if not kinds.ok or not isinstance(resources, list):
        return Constraints(gap=f"the kinds of constraints: {kinds.status} {kinds.message}")
    found = []
    for resource in resources:
        plural, kind = str(resource["name"]), str(resource["kind"])
        for name in wanted if "/" not in plural else ():
            response = api.request("GET", f"/apis/{version}/{plural}/{name}")
            if response.status == 404:
                continue
            if not response.ok:
                return Constraints(gap=f"constraint {kind} {name}: {response.message}")
            spec = response.body.get("spec") or {}
            found.append(Constraint(name=name, kind=kind, plural=plural, spec=spec))
    missing = [name for name in wanted if name not in {item.name for item in found}]
    if missing:
        return Constraints(gap=f"constraint {', '.join(missing)}: none of any kind has this name")
    return Constraints(found=tuple(found))


def ambiguous(constraints: Iterable[Constraint]) -> Iterator[str]:
    """Names that several kinds have, of which some are narrowed: which one rejected is not told."""
    by_name: dict[str, list[Constraint]] = {}
    for item in constraints:
        by_name.setdefault(item.name, []).append(item)
    for name, items in by_name.items():
        if len({item.is_narrow for item in items}) > 1:
            kinds = ", ".join(item.kind for item in items)
            yield f"constraints of several kinds are named {name} ({kinds}), and some see less"


def config_exemptions(api: Api, namespace: str) -> tuple[str, ...]:
    """What Gatekeeper's Config leaves out, in words; or that it could not be read."""
    response = api.request("GET", f"/apis/{CONFIG}/v1alpha1/namespaces/{namespace}/configs/config")
    if response.status == 404:
        return ()
    spec: Mapping[str, Any] = response.body.get("spec") or {}
    if not response.ok:
        return (f"Gatekeeper's Config could not be read: {response.status} {response.message}",)
    return left_out_by_config(spec)
