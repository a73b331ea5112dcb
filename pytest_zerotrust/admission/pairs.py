"""The corpus: pods that break one rule, each beside a compliant twin that differs in one field."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.admission.corpus.pods import compliant_pod
from pytest_zerotrust.core.intent import Intent

LISTS = ("containers", "initContainers")
"""The container lists in which a rule can be broken when a pod is created."""

_CASES = {
    "ZT-ADM-001": "privileged",
    "ZT-ADM-002": "may-run-as-root",
    "ZT-ADM-003": "image-from-elsewhere",
}

ELSEWHERE = "docker.io/library/app:1"
"""An image that no private registry holds. It is never pulled: nothing here ever runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCheck:
    """One rule, broken in one container list, in one namespace."""

    control: str
    namespace: str
    list_name: str

    @property
    def case(self) -> str:
        """What is wrong with the bad pod, in a word."""
        return _CASES[self.control]

    @property
    def subject(self) -> str:
        """The case in words that fit into a test id."""
        return f"{self.case}-in-{self.list_name}-{self.namespace}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


def pair_checks(intent: Intent, control: str) -> Iterator[PairCheck]:
    """One check for each namespace and container list."""
    if intent.admission is None:
        return
    for namespace in intent.admission.namespaces:
        for list_name in LISTS:
            yield PairCheck(control=control, namespace=namespace, list_name=list_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two pod manifests that differ only at ``path``."""

    good: dict[str, Any]
    bad: dict[str, Any]
    path: tuple[str | int, ...]


def build_pair(check: PairCheck, name: str, registry: str) -> Pair:
    """Build the two manifests of a check. ``registry`` is an allowed prefix with its slash."""
    good = compliant_pod(name, check.namespace, registry)
    path: tuple[str | int, ...]
    if check.control == "ZT-ADM-001":
        # The API refuses privileged beside allowPrivilegeEscalation: false, so neither twin
        # says the latter; what is left differs in one field.
        for list_name in LISTS:
            for container in good["spec"][list_name]:
                del container["securityContext"]["allowPrivilegeEscalation"]
        path = ("spec", check.list_name, 0, "securityContext", "privileged")
        value: Any = True
    elif check.control == "ZT-ADM-002":
        # With a user id of its own the container could not run as root whatever it says.
        for list_name in LISTS:
            for container in good["spec"][list_name]:
                del container["securityContext"]["runAsUser"]
        path = ("spec", check.list_name, 0, "securityContext", "runAsNonRoot")
        value = False
    else:
        path = ("spec", check.list_name, 0, "image")
        value = ELSEWHERE
    bad = copy.deepcopy(good)
    _put(bad, path, value)
    return Pair(good=good, bad=bad, path=path)


def value_at(manifest: Any, path: tuple[str | int, ...]) -> Any:
    """Return what stands at ``path`` of a manifest; None if the path does not exist.

    Containers are found by name, because a mutation may put others before them.
    """
    node: Any = manifest
    for part in path:
        if isinstance(part, int):
            named = [c for c in node if str(c.get("name", "")).startswith("checked")]
            node = named[part] if len(named) > part else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            return None
    return node


def _put(manifest: Any, path: tuple[str | int, ...], value: Any) -> None:
    node: Any = manifest
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value
