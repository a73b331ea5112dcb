"""Whether a subject holds a lever, and by which grants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_zerotrust.core.levers import Lever, Need
from pytest_zerotrust.core.rbac import Grant, Subject
from pytest_zerotrust.core.rbac_defaults import is_default


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a subject may do, in words, and the grants by which it may."""

    subject: Subject
    text: str
    grants: tuple[Grant, ...]

    @property
    def is_default(self) -> bool:
        """True if Kubernetes gives it to its own components."""
        return all(map(is_default, self.grants))

    def __str__(self) -> str:
        by = dict.fromkeys(f"{grant.binding} to {grant.role}" for grant in self.grants)
        return f"may {self.text}, by {' and '.join(by)}"


class Holder:
    """A subject with its grants, and those of them that are about a resource at all."""

    def __init__(self, subject: Subject, grants: Sequence[Grant]) -> None:
        self.subject = subject
        self.namespaces = {grant.namespace for grant in grants}
        self._grants = grants
        self._about: dict[tuple[str, str], list[Grant]] = {}

    def about(self, need: Need) -> list[Grant]:
        """The grants that may meet a need."""
        key = need.group, need.resource
        if key not in self._about:
            self._about[key] = [grant for grant in self._grants if grant.is_about(*key)]
        return self._about[key]


def first_held(holder: Holder, way: Way) -> Power | None:
    """The first of these levers that is held; one of somebody's own before Kubernetes' own."""
    default = None
    for item in way.within(holder.namespaces):
        power = held(holder, item)
        if power is not None and not power.is_default:
            return power
        default = default or power
    return default


class Way:
    """Levers of one kind, of which one is enough, by the namespace in which they are.

    Clusters have thousands of subjects, most of them with rights in one namespace.
    """

    def __init__(self, levers: Iterable[Lever]) -> None:
        self._all = tuple(levers)
        self._by_namespace: dict[str, list[Lever]] = {}
        for item in self._all:
            self._by_namespace.setdefault(item.needs[0].namespace, []).append(item)

    def within(self, namespaces: set[str]) -> Iterable[Lever]:
        """Those that grants in these namespaces may give ("" for grants everywhere)."""
        if "" in namespaces:
            return self._all
        return (item for name in sorted(namespaces) for item in self._by_namespace.get(name, ()))


def held(holder: Holder, item: Lever) -> Power | None:
    """The power that a lever is for a subject, if all of its needs are met."""
    verbs: list[str] = []
    used: list[Grant] = []
    for number, need in enumerate(item.needs):
        allowing = _allowing(holder, need)
        if not allowing:
            return None
        if number == 0:
            verbs = [verb for verb in need.verbs if verb in allowing]
        used += allowing.values()
    text = item.text.replace("{verbs}", "/".join(verbs))
    return Power(subject=holder.subject, text=text, grants=tuple(dict.fromkeys(used)))


def _allowing(holder: Holder, need: Need) -> dict[str, Grant]:
    """A grant for each verb that is held. One of Kubernetes' own does not stand for another."""
    found: dict[str, Grant] = {}
    for grant in holder.about(need):
        for act in need.acts():
            better = act.verb not in found or is_default(found[act.verb])
            if better and grant.allows(act, whatever_name=need.whatever_name):
                found[act.verb] = grant
    return found
