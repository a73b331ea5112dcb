"""Label selectors (meta/v1 LabelSelector): matchLabels and matchExpressions, all of which must fit.

Source of the rules: Kubernetes documentation, "Labels and Selectors"; NotIn and DoesNotExist fit
where the key is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.policy.truth import Truth, all_of, known, unknown

Lookup = Callable[[str], "str | Missing | None"]
"""Gives the value of a label's key, None if there is no such label, or Missing."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Stands for a label of which it is not known whether it exists (or ``exists``, then its value
    is not known)."""

    why: str
    exists: bool = False


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand on one key: In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    @property
    def negative(self) -> bool:
        """True if an endpoint without any label fits."""
        return self.operator in ("NotIn", "DoesNotExist")

    def fits(self, lookup: Lookup) -> Truth:
        """Whether the labels that ``lookup`` knows meet the demand."""
        value = lookup(self.key)
        if isinstance(value, Missing):
            if value.exists and self.operator in ("Exists", "DoesNotExist"):
                return known(self.operator == "Exists")
            return unknown(value.why)
        match self.operator:
            case "In":
                return known(value is not None and value in self.values)
            case "NotIn":
                return known(value is None or value not in self.values)
            case "Exists":
                return known(value is not None)
            case "DoesNotExist":
                return known(value is None)
        return unknown(f"the operator {self.operator!r} of a selector is not understood")

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "In" if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
        return f"{self.key} {self.operator} ({', '.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of these demands. Without any it selects everything. ``doubt`` says what of the original
    was not understood, and then nothing is certain that it would select."""

    requirements: tuple[Requirement, ...] = ()
    doubt: str = ""

    def fits(self, lookup: Lookup) -> Truth:
        """Whether the labels that ``lookup`` knows are selected."""
        answer = all_of(r.fits(lookup) for r in self.requirements)
        if self.doubt and answer.possible:
            return unknown(self.doubt)
        return answer

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that the selector speaks of."""
        return tuple(r.key for r in self.requirements)

    def also(self, *more: Requirement) -> Selector:
        """This selector with more demands."""
        return Selector((*self.requirements, *more), self.doubt)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements)) or "everything"


def plain(labels: Mapping[str, str]) -> Lookup:
    """Look labels up in a mapping that is complete."""
    return labels.get


def parse_selector(raw: Any) -> Selector:
    """Read a LabelSelector from plain data; None reads like ``{}``: it selects everything."""
    if raw is None:
        return Selector()
    if not isinstance(raw, Mapping):
        return Selector(doubt=f"a selector is not an object: {raw!r}")
    doubt = odd_fields(raw, ("matchLabels", "matchExpressions"), "a selector")
    labels = raw.get("matchLabels") or {}
    expressions = raw.get("matchExpressions") or ()
    found: list[Requirement] = []
    if isinstance(labels, Mapping):
        found += [Requirement(str(k), "In", (str(v),)) for k, v in labels.items()]
    else:
        doubt = doubt or "matchLabels of a selector is not an object"
    if not isinstance(expressions, (list, tuple)):
        return Selector(tuple(found), doubt or "matchExpressions of a selector is not a list")
    for expression in expressions:
        if not isinstance(expression, Mapping) or "key" not in expression:
            doubt = doubt or "an expression of a selector is not understood"
            continue
        doubt = doubt or odd_fields(expression, ("key", "operator", "values"), "an expression")
        values = expression.get("values") or ()
        operator = str(expression.get("operator", ""))
        found.append(Requirement(str(expression["key"]), operator, tuple(map(str, values))))
    return Selector(tuple(found), doubt)


def odd_fields(raw: Mapping[str, Any], understood: tuple[str, ...], where: str) -> str:
    """What to say about fields that are set and not understood, or nothing."""
    odd = sorted(key for key, value in raw.items() if key not in understood and value is not None)
    return f"{where} has fields that are not understood: {', '.join(odd)}" if odd else ""
