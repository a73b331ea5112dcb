"""What a webhook's registration lets through unseen, read from the object itself.

Source: admissionregistration.k8s.io/v1. A resource matches exactly, its subresource included: a
rule for ``pods`` is not asked about ``pods/ephemeralcontainers``, and ``*`` means no subresource.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_zerotrust.core.escapes import Weakness, of_conditions, of_object_selector

DOORS = (
    ("pods", "CREATE", "new pods"),
    ("pods", "UPDATE", "changes of pods, such as another image"),
    ("pods/ephemeralcontainers", "UPDATE", "containers that are added to running pods"),
)
"""Resource, operation, and the same in words, of each way to a container."""

_LIST_IT = "List pods and pods/ephemeralcontainers with CREATE and UPDATE in its rules."


def weaknesses(webhook: Mapping[str, Any]) -> tuple[Weakness, ...]:
    """Why pods can get past an entry of a ValidatingWebhookConfiguration; empty if nothing is seen.

    What a selector over namespaces lets by depends on who may label them: see ``escapes.switches``.
    """
    return tuple(_weaknesses(webhook))


def _weaknesses(webhook: Mapping[str, Any]) -> Iterator[Weakness]:
    if webhook.get("failurePolicy", "Fail") != "Fail":
        seconds = webhook.get("timeoutSeconds", 10)
        yield Weakness(
            f"failurePolicy is {webhook['failurePolicy']}: what it does not answer within "
            f"{seconds} s is admitted unseen",
            "Set failurePolicy: Fail.",
        )
    for resource, operation, words in DOORS:
        if not covered(webhook.get("rules"), resource, operation):
            yield Weakness(f"it is not asked about {words} ({operation} of {resource})", _LIST_IT)
    yield from of_object_selector(webhook.get("objectSelector"))
    yield from of_conditions(webhook.get("matchConditions")).weaknesses


def exemptions(webhook: Mapping[str, Any]) -> tuple[str, ...]:
    """Whom it does not look at, in words: namespaces by selector, requests by match condition."""
    found = []
    selector = webhook.get("namespaceSelector") or {}
    for key, value in (selector.get("matchLabels") or {}).items():
        found.append(f"only namespaces with {key}={value}")
    for term in selector.get("matchExpressions") or ():
        values = ", ".join(term.get("values") or ())
        found.append(f"only namespaces with {term['key']} {term['operator']} {values}".rstrip())
    for condition in webhook.get("matchConditions") or ():
        found.append(f"only where {condition.get('name')} holds: {condition.get('expression')}")
    return tuple(found)


def covered(
    rules: Iterable[Mapping[str, Any]] | None, resource: str, operation: str, *, version: str = "v1"
) -> bool:
    """True if one of these rules is about every object of a core resource and the operation."""
    return any(_covers(rule, resource, operation, version) for rule in rules or ())


def could_concern(rules: Iterable[Mapping[str, Any]] | None, resource: str, operation: str) -> bool:
    """True if one of these rules may be about some object of a core resource and the operation."""
    for rule in rules or ():
        about = {name.partition("/")[0] for name in rule.get("resources") or ()}
        groups, operations = rule.get("apiGroups") or (), rule.get("operations") or ()
        if (
            about & {"*", resource}
            and ("" in groups or "*" in groups)
            and (operation in operations or "*" in operations)
        ):
            return True
    return False


def _covers(rule: Mapping[str, Any], resource: str, operation: str, version: str) -> bool:
    names = rule.get("resources") or ()
    whole = "*/*" in names or resource in names or ("*" in names and "/" not in resource)
    base, _, sub = resource.partition("/")
    part = bool(sub) and (f"{base}/*" in names or f"*/{sub}" in names)
    groups, operations = rule.get("apiGroups") or (), rule.get("operations") or ()
    versions = rule.get("apiVersions", [version])
    return (
        (whole or part)
        and ("" in groups or "*" in groups)
        and (version in versions or "*" in versions)
        and (operation in operations or "*" in operations)
        and rule.get("scope", "*") in ("*", "Namespaced" if resource != "namespaces" else "Cluster")
        and not rule.get("resourceNames")
    )
