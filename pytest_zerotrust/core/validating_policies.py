"""What a ValidatingAdmissionPolicy and its bindings let through, read from the objects.

Source: admissionregistration.k8s.io/v1. A request must match the policy and a binding; a binding
narrows what its policy is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_zerotrust.core.escapes import Weakness, of_conditions, of_object_selector
from pytest_zerotrust.core.webhooks import DOORS, covered

Spec = Mapping[str, Any]


def policy_weaknesses(spec: Spec) -> tuple[Weakness, ...]:
    """Why pods can get past a policy with this ``spec``, whatever its bindings."""
    return tuple(_of_policy(spec))


def _of_policy(spec: Spec) -> Iterator[Weakness]:
    if spec.get("failurePolicy", "Fail") != "Fail":
        yield Weakness(
            "it FAILS OPEN: what it cannot evaluate is admitted (failurePolicy Ignore)",
            "Set failurePolicy: Fail.",
        )
    match = spec.get("matchConstraints") or {}
    for resource, operation, words in DOORS:
        if not _matched(match, resource, operation, needs_rules=True):
            yield Weakness(
                f"it is not asked about {words} ({operation} of {resource})",
                "List pods and pods/ephemeralcontainers with CREATE and UPDATE in resourceRules.",
            )
    yield from of_object_selector(match.get("objectSelector"))
    yield from of_conditions(spec.get("matchConditions")).weaknesses


def binding_weaknesses(policy: Spec, binding: Spec, name: str) -> tuple[Weakness, ...]:
    """Why pods can get past the policy through what this binding leaves out."""
    return tuple(_of_binding(policy, binding, f"binding {name}:"))


def _of_binding(policy: Spec, binding: Spec, owner: str) -> Iterator[Weakness]:
    match = binding.get("matchResources") or {}
    for resource, operation, words in DOORS:
        if not _matched(match, resource, operation, needs_rules=False):
            yield Weakness(
                f"{owner} it is not about {words} ({operation} of {resource})",
                "Leave resource rules out of the binding; the policy has them.",
            )
    yield from of_object_selector(match.get("objectSelector"), f"{owner} its")
    params = binding.get("paramRef")
    if policy.get("paramKind") and params and params.get("parameterNotFoundAction") == "Allow":
        what = params.get("name") or "those that its selector finds"
        yield Weakness(
            f"{owner} without its parameters ({what}) all is admitted (parameterNotFoundAction is "
            f"Allow), so whoever may delete them switches the policy off",
            "Set parameterNotFoundAction: Deny in the paramRef of the binding.",
        )


def bindings_of(policy: str, bindings: Iterable[Mapping[str, Any]]) -> dict[str, Spec]:
    """The bindings of a policy that deny, by name."""
    return {
        str(item["metadata"]["name"]): item["spec"]
        for item in bindings
        if item["spec"].get("policyName") == policy
        and "Deny" in (item["spec"].get("validationActions") or ())
    }


def _matched(match: Spec, resource: str, operation: str, *, needs_rules: bool) -> bool:
    rules, but = match.get("resourceRules"), match.get("excludeResourceRules") or ()
    listed = covered(rules, resource, operation) if rules or needs_rules else True
    # A rule that leaves out some names only leaves something out, too.
    plain = [{key: value for key, value in rule.items() if key != "resourceNames"} for rule in but]
    return listed and not covered(plain, resource, operation)
