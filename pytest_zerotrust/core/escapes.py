"""What lets whoever makes a pod, or labels its namespace, keep it from a policy's sight.

Read from selectors and match conditions as admissionregistration.k8s.io/v1 defines them. CEL is not
evaluated: what counts is which parts of the request an expression reads, and who chooses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The one label of a namespace that the API server sets and nobody can change."""

GUARDED_BY_GATEKEEPER = "admission.gatekeeper.sh/ignore"
GUARD_OF_GATEKEEPER = "check-ignore-label.gatekeeper.sh"
"""Gatekeeper's own opt-out label for namespaces, and its own webhook that decides who has it."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """A way past a policy in words, and what closes it."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of a namespace's labels that takes the namespace from a policy's sight.

    ``value`` None: the label is removed.
    """

    key: str
    value: str | None

    def __str__(self) -> str:
        return f"without label {self.key}" if self.value is None else f"label {self.key}"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What match conditions read: what others choose, and what cannot be told from outside."""

    weaknesses: tuple[Weakness, ...] = ()
    unclear: tuple[str, ...] = ()


def of_object_selector(
    selector: Mapping[str, Any] | None, owner: str = "its"
) -> Iterator[Weakness]:
    """The weakness of an objectSelector, if it selects at all."""
    keys = list((selector or {}).get("matchLabels") or ())
    keys += [str(term["key"]) for term in (selector or {}).get("matchExpressions") or ()]
    if keys:
        yield Weakness(
            f"{owner} objectSelector lets whoever makes a pod choose not to be seen, "
            f"by the label {', '.join(keys)}",
            "Remove the objectSelector: labels of a pod are its maker's choice.",
        )


def switches(selector: Mapping[str, Any] | None) -> tuple[Switch, ...]:
    """What switches a namespaceSelector off; a namespace's own name cannot be changed."""
    found = [Switch(key, None) for key in (selector or {}).get("matchLabels") or ()]
    for term in (selector or {}).get("matchExpressions") or ():
        away = {"DoesNotExist": "yes", "NotIn": next(iter(term.get("values") or ("yes",)))}
        found.append(Switch(str(term["key"]), away.get(term["operator"])))
    return tuple(switch for switch in found if switch.key != NAMESPACE_NAME)


def of_switch(switch: Switch, namespace: str, owner: str = "its") -> Weakness:
    """The weakness that a namespace can be given such labels, as a dry run showed."""
    change = "taken from" if switch.value is None else "set on"
    return Weakness(
        f"{owner} namespaceSelector looks away from a namespace {switch}, which may be {change} "
        f"namespace {namespace} by whoever may change it: a dry run of that was admitted",
        f"Select namespaces by {NAMESPACE_NAME}, which nobody can change, or guard the label "
        f"{switch.key} by a policy on namespaces.",
    )


_READS = re.compile(
    r"(?<![\w.?])(?P<root>object|oldObject|namespaceObject|request)"
    r"(?P<path>(?:\s*\.\s*\??\w+|\s*\[\??\s*''\s*\])*)(?P<null>\s*[!=]=\s*null\b)?"
)
_LITERAL = re.compile(
    r"""[rR](?:'[^']*'|"[^"]*")|'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""",
    re.DOTALL,
)
# a["b"] is a.b; what else stands in brackets is left as an index.
_INDEX = re.compile(r"""\s*\[\s*\??\s*(['"])(\w+)\1\s*\]""")
_COMMENT = re.compile(r"//[^\n]*")
# An update that changes nothing brings in no container.
_UNCHANGED = re.compile(r"(?<![\w.])object\.spec\s*!=\s*oldObject\.spec(?![\w.])")
# What is neither the maker's choice nor able to tell one pod from another of its namespace.
_GIVEN = ("metadata.namespace", "metadata.deletionTimestamp", "kind", "apiVersion")


def of_conditions(conditions: Iterable[Mapping[str, Any]] | None, owner: str = "its") -> Conditions:
    """What the ``matchConditions`` of a webhook or policy read that others choose."""
    weak: list[Weakness] = []
    unclear: list[str] = []
    for condition in conditions or ():
        name, expression = condition.get("name"), str(condition.get("expression", ""))
        chosen, doubtful = _read(expression)
        short = " ".join(expression.split())[:120]
        if chosen:
            weak.append(
                Weakness(
                    f"{owner} match condition {name} reads {', '.join(chosen)}, which "
                    f"whoever makes the pod chooses ({short})",
                    f"Let the match condition {name} read nothing that a pod says of itself; "
                    f"request.userInfo and request.namespace are safe.",
                )
            )
        elif doubtful:
            unclear.append(f"{owner} match condition {name} reads {', '.join(doubtful)} ({short})")
    return Conditions(tuple(weak), tuple(unclear))


def _read(expression: str) -> tuple[list[str], list[str]]:
    """What an expression reads that the maker of a pod chooses freely, and what is in doubt."""
    named = _INDEX.sub(r".\2", expression)
    text = _UNCHANGED.sub("", _COMMENT.sub("", _LITERAL.sub("''", named)))
    chosen: list[str] = []
    doubtful: list[str] = []
    for match in _READS.finditer(text):
        root = match["root"]
        path = re.sub(r"[\s?]", "", match["path"]).removeprefix(".")
        words = f"{root}.{path}" if path else root
        if root == "request":
            if _below(path, "name"):
                chosen.append("request.name")
        elif root == "namespaceObject":
            if not _below(path, "metadata.name"):
                doubtful.append(words)
        elif match["null"] and not path:
            continue
        elif _below(path, "spec"):
            # To ask about some containers only may be right, and may be a hole.
            doubtful.append(words)
        elif not any(_below(path, given) for given in _GIVEN):
            chosen.append(words)
    return list(dict.fromkeys(chosen)), list(dict.fromkeys(doubtful))


def _below(path: str, ancestor: str) -> bool:
    return path == ancestor or path.startswith((f"{ancestor}.", f"{ancestor}["))
