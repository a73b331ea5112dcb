"""What a constraint of Gatekeeper does not look at, read from the object itself.

Source: Gatekeeper v3, pkg/mutation/match (``spec.match``) and pkg/util (enforcement actions). Only
what narrows a constraint that rejected a pod is of interest: its kinds and its scope have a pod in
them, and its namespaces the one of the pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.escapes import Switch, Weakness, switches

_WEBHOOK = "validation.gatekeeper.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A constraint. ``plural`` is the resource of its kind."""

    name: str
    kind: str
    plural: str
    spec: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def match(self) -> Mapping[str, Any]:
        """Its selectors; without any it looks at everything."""
        found = self.spec.get("match")
        return found if isinstance(found, Mapping) else {}

    @property
    def switches(self) -> tuple[Switch, ...]:
        """The labels of a namespace by which it looks away."""
        return switches(self.match.get("namespaceSelector"))

    @property
    def is_narrow(self) -> bool:
        """True if something lets a pod of the same namespace keep out of its sight."""
        return bool(self.switches or constraint_weaknesses(self) or unclear(self))


def constraint_weaknesses(constraint: Constraint) -> tuple[Weakness, ...]:
    """How whoever makes a pod keeps it from a constraint's sight."""
    return tuple(_weaknesses(constraint))


def _weaknesses(constraint: Constraint) -> Iterator[Weakness]:
    match, owner = constraint.match, f"constraint {constraint}"
    selector = match.get("labelSelector") or {}
    keys = list(selector.get("matchLabels") or ())
    keys += [str(term["key"]) for term in selector.get("matchExpressions") or ()]
    if keys:
        yield Weakness(
            f"{owner}: its labelSelector lets whoever makes a pod choose not to be seen, "
            f"by the label {', '.join(keys)}",
            "Remove the labelSelector from the constraint: labels of a pod are its maker's choice.",
        )
    if match.get("name") not in (None, "", "*"):
        yield Weakness(
            f"{owner}: it looks only at objects named {match['name']}, and whoever makes a pod "
            f"names it",
            "Remove name from spec.match of the constraint.",
        )


def unclear(constraint: Constraint) -> tuple[str, ...]:
    """What does not go with the rejection that was seen, so that it may not last."""
    spec = constraint.spec
    action = str(spec.get("enforcementAction") or "deny")
    if action == "deny":
        return ()
    if action != "scoped":
        return (f"constraint {constraint} rejected a pod, and its enforcementAction is {action}",)
    if any(_denies_here(entry) for entry in spec.get("scopedEnforcementActions") or ()):
        return ()
    return (
        f"constraint {constraint} rejected a pod, and its scopedEnforcementActions have no deny "
        f"for {_WEBHOOK}",
    )


def _denies_here(entry: Mapping[str, Any]) -> bool:
    points = {point.get("name") for point in entry.get("enforcementPoints") or ()}
    return entry.get("action") == "deny" and bool(points & {"*", _WEBHOOK})


def left_out(constraint: Constraint) -> tuple[str, ...]:
    """Whom it does not look at, in words, beside what its maker chooses."""
    match, found = constraint.match, []
    if match.get("namespaces"):
        found.append(f"only namespaces {', '.join(match['namespaces'])}")
    if match.get("excludedNamespaces"):
        found.append(f"no namespaces {', '.join(match['excludedNamespaces'])}")
    for term in (match.get("namespaceSelector") or {}).get("matchExpressions") or ():
        values = ", ".join(term.get("values") or ())
        found.append(f"only namespaces with {term['key']} {term['operator']} {values}".rstrip())
    for key, value in ((match.get("namespaceSelector") or {}).get("matchLabels") or {}).items():
        found.append(f"only namespaces with {key}={value}")
    if match.get("source") not in (None, "", "All"):
        found.append(f"only objects of source {match['source']}")
    return tuple(f"constraint {constraint} looks at {text}" for text in found)


def left_out_by_config(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Namespaces that Gatekeeper's Config keeps from its webhook."""
    found = []
    for entry in spec.get("match") or ():
        processes = set(entry.get("processes") or ())
        if processes & {"*", "webhook"} and entry.get("excludedNamespaces"):
            names = ", ".join(entry["excludedNamespaces"])
            found.append(f"Gatekeeper's Config looks at no namespaces {names}")
    return tuple(found)
