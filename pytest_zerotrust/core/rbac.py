"""What RBAC lets whom do, read from roles and bindings.

Source: kubernetes.io, "Using RBAC Authorization", and the rule resolver of the API server
(k8s.io/kubernetes, plugin/pkg/auth/authorizer/rbac). A ClusterRole that is aggregated from others
carries the rules that the API server put together, so its own rules are read like all others.
What other authorizers allow (Node, ABAC, a webhook, the group ``system:masters``) is not in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ACCOUNT = "system:serviceaccount:"
_ACCOUNTS = "system:serviceaccounts"
_NAMELESS = ("create", "deletecollection")


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A ``User``, a ``Group`` or a ``ServiceAccount``; only the last has a namespace."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"

    @property
    def groups(self) -> tuple[Subject, ...]:
        """The groups that a service account is in, whatever anybody says."""
        if self.kind != "ServiceAccount":
            return ()
        names = (_ACCOUNTS, f"{_ACCOUNTS}:{self.namespace}", "system:authenticated")
        return tuple(Subject("Group", name) for name in names)

    @staticmethod
    def parse(text: str) -> Subject:
        """Read what ``str`` writes. A user that is a service account becomes that."""
        kind, _, name = text.partition(" ")
        if kind == "ServiceAccount":
            namespace, _, name = name.partition("/")
            return Subject(kind, name, namespace)
        return _subject({"kind": kind, "name": name})


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A request as the authorizer sees it. ``resource`` has its subresource (``pods/exec``).

    ``name`` and ``namespace`` may be empty. The namespace of a request for a Namespace is the
    namespace itself, so a RoleBinding in it counts.
    """

    verb: str
    group: str
    resource: str
    name: str = ""
    namespace: str = ""

    @property
    def nameless(self) -> bool:
        """True if the authorizer is told no name."""
        return self.verb in _NAMELESS and not (self.verb == "create" and "/" in self.resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a role. Empty ``names``: every object."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str] = frozenset()

    def covers(self, act: Act, *, whatever_name: bool = False) -> bool:
        """True if the rule allows it. ``whatever_name``: it is enough if it does for some name."""
        some = whatever_name or act.name in self.names
        return (not self.names or (some and not act.nameless)) and (
            ("*" in self.verbs or act.verb in self.verbs) and self.is_about(act.group, act.resource)
        )

    def is_about(self, group: str, resource: str) -> bool:
        """True if the rule is about some object of a resource."""
        if "*" not in self.groups and group not in self.groups:
            return False
        sub = resource.partition("/")[2]
        return (
            "*" in self.resources
            or resource in self.resources
            or (bool(sub) and f"*/{sub}" in self.resources)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one binding gives to one of its subjects; ``namespace`` is empty for everywhere.

    ``binding`` and ``role`` are their kinds and names, as people write them.
    """

    subject: Subject
    binding: str
    role: str
    namespace: str
    rules: tuple[Rule, ...]

    def is_about(self, group: str, resource: str) -> bool:
        """True if the grant is about some object of a resource."""
        return any(rule.is_about(group, resource) for rule in self.rules)

    def allows(self, act: Act, *, whatever_name: bool = False) -> bool:
        """True if the grant allows it."""
        if self.namespace not in ("", act.namespace):
            return False
        return any(rule.covers(act, whatever_name=whatever_name) for rule in self.rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rbac:
    """All roles and bindings that could be read. ``gaps`` say what could not; without any, this
    is the whole of what RBAC allows. ``roles`` are the rules by kind, namespace and name."""

    grants: tuple[Grant, ...]
    roles: Mapping[tuple[str, str, str], tuple[Rule, ...]]
    gaps: tuple[str, ...] = ()


def read_rbac(
    roles: Iterable[Mapping[str, Any]],
    bindings: Iterable[Mapping[str, Any]],
    gaps: Iterable[str] = (),
) -> Rbac:
    """Put roles and bindings together, as rbac.authorization.k8s.io/v1 lists them.

    The namespace of an object tells a Role from a ClusterRole, since items of a list do not say
    their kind. A binding to a role that is not there gives nothing.
    """
    known = {}
    for role in roles:
        namespace, name = _where(role)
        kind = "Role" if namespace else "ClusterRole"
        known[kind, namespace, name] = tuple(map(_rule, role.get("rules") or ()))
    grants = tuple(grant for binding in bindings for grant in _grants(binding, known))
    return Rbac(grants=grants, roles=known, gaps=tuple(gaps))


def _grants(
    binding: Mapping[str, Any], known: Mapping[tuple[str, str, str], tuple[Rule, ...]]
) -> Iterator[Grant]:
    namespace, name = _where(binding)
    ref = binding["roleRef"]
    kind = str(ref["kind"])
    home = namespace if kind == "Role" else ""
    rules = known.get((kind, home, str(ref["name"])), ())
    for subject in binding.get("subjects") or ():
        yield Grant(
            subject=_subject(subject, namespace),
            binding=_named("RoleBinding" if namespace else "ClusterRoleBinding", namespace, name),
            role=_named(kind, home, str(ref["name"])),
            namespace=namespace,
            rules=rules,
        )


def _named(kind: str, namespace: str, name: str) -> str:
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def _where(item: Mapping[str, Any]) -> tuple[str, str]:
    meta = item["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"])


def _rule(rule: Mapping[str, Any]) -> Rule:
    return Rule(
        verbs=frozenset(rule.get("verbs") or ()),
        groups=frozenset(rule.get("apiGroups") or ()),
        resources=frozenset(rule.get("resources") or ()),
        names=frozenset(rule.get("resourceNames") or ()),
    )


def _subject(item: Mapping[str, Any], namespace_of_binding: str = "") -> Subject:
    kind, name = str(item["kind"]), str(item["name"])
    if kind == "ServiceAccount":
        return Subject(kind, name, str(item.get("namespace") or namespace_of_binding))
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
    if kind == "User" and name.startswith(_ACCOUNT) and account:
        return Subject("ServiceAccount", account, namespace)
    return Subject(kind, name)
