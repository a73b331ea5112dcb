"""What a webhook's registration lets through unseen, read from the object itself.

Source: admissionregistration.k8s.io/v1. A resource matches exactly, its subresource included: a
rule for ``pods`` is not asked about ``pods/ephemeralcontainers``, and ``*`` means no subresource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_DOORS = (
    ("pods", "CREATE", "new pods"),
    ("pods", "UPDATE", "changes of pods, such as another image"),
    ("pods/ephemeralcontainers", "UPDATE", "containers that are added to running pods"),
)


def weaknesses(webhook: Mapping[str, Any]) -> tuple[str, ...]:
    """Why pods can get past an entry of a ValidatingWebhookConfiguration; empty if nothing is seen.

    A selector over namespaces is no weakness by itself: who may label namespaces decides.
    """
    return tuple(_weaknesses(webhook))


def _weaknesses(webhook: Mapping[str, Any]) -> Iterator[str]:
    if webhook.get("failurePolicy", "Fail") != "Fail":
        seconds = webhook.get("timeoutSeconds", 10)
        yield (
            f"failurePolicy is {webhook['failurePolicy']}: what it does not answer within "
            f"{seconds} s is admitted unseen"
        )
    for resource, operation, words in _DOORS:
        if not any(_covers(rule, resource, operation) for rule in _rules(webhook)):
            yield f"it is not asked about {words} ({operation} of {resource})"
    selector = webhook.get("objectSelector") or {}
    if selector.get("matchLabels") or selector.get("matchExpressions"):
        yield "its objectSelector lets whoever makes a pod choose not to be seen"


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


def _rules(webhook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(webhook.get("rules") or ())


def _covers(rule: Mapping[str, Any], resource: str, operation: str) -> bool:
    names = rule.get("resources") or ()
    whole = "*/*" in names or resource in names or ("*" in names and "/" not in resource)
    base, _, sub = resource.partition("/")
    part = bool(sub) and (f"{base}/*" in names or f"*/{sub}" in names)
    groups, operations = rule.get("apiGroups") or (), rule.get("operations") or ()
    return (
        (whole or part)
        and ("" in groups or "*" in groups)
        and (operation in operations or "*" in operations)
        and rule.get("scope", "*") in ("*", "Namespaced")
    )
