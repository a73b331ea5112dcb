"""Whether what rejects pods still does so when it is down, and cannot be told to look away.

It is read from its own registration; whether the labels by which it looks away from a namespace
may be set is tried as a dry run.

Who rejects is not taken from a list but from the answer to a privileged pod, so that a webhook that
exists and does nothing is not praised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.admission.gatekeeper import ambiguous, config_exemptions, read_constraints
from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.admission.sight import REGISTRATION, Hooks, Seen, read_hooks, try_labels
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.admission import Answer
from pytest_zerotrust.core.constraints import constraint_weaknesses, left_out, unclear
from pytest_zerotrust.core.escapes import of_conditions, switches
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.validating_policies import (
    binding_weaknesses,
    bindings_of,
    policy_weaknesses,
)
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.core.webhooks import exemptions, weaknesses

_CONTROL = "ZT-ADM-005"
_HOOKS = "kubectl get validatingwebhookconfigurations -o yaml"
_POLICIES = "kubectl get validatingadmissionpolicies,validatingadmissionpolicybindings -o yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailClosedCheck:
    """What rejects the privileged pod of a namespace, when it is down."""

    namespace: str
    control: str = _CONTROL

    @property
    def subject(self) -> str:
        """Words for a test id."""
        return f"fails-closed-{self.namespace}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def rejection(self) -> PairCheck:
        """The check whose rejection shows who rejects."""
        return PairCheck(control="ZT-ADM-001", namespace=self.namespace, list_name="containers")


def fail_closed_checks(intent: Intent) -> Iterator[FailClosedCheck]:
    """One for each namespace of ``admission``."""
    for namespace in intent.admission.namespaces if intent.admission else ():
        yield FailClosedCheck(namespace=namespace)


def verify(api: Api, check: FailClosedCheck, rejection: Result) -> Result:
    """Judge the engine that gave the rejection. Raises ApiUnreachable."""
    if rejection.verdict is not Verdict.HOLDS:
        return _result(
            check,
            Verdict.INCONCLUSIVE,
            f"what rejects pods is not known: {rejection.headline}",
            reason="nothing-enforced",
        )
    by = str(rejection.evidence["answered_by"])
    if by == Answer.POD_SECURITY.value:
        return _result(check, Verdict.HOLDS, "Pod Security decides in the API server itself")
    if by == Answer.VALIDATING_ADMISSION_POLICY.value:
        names = [str(name) for name in rejection.evidence["policies"]]
        return _policy(api, check, names[0], names[1] if len(names) > 1 else "")
    constraints = rejection.evidence["policies"] if by == Answer.GATEKEEPER.value else ()
    return _webhook(api, check, str(rejection.evidence["webhook"]), tuple(constraints))


def _policy(api: Api, check: FailClosedCheck, name: str, bound: str) -> Result:
    words = f"ValidatingAdmissionPolicy {name}"
    response = api.request("GET", f"{REGISTRATION}/validatingadmissionpolicies/{name}")
    spec = response.body.get("spec")
    if not response.ok or not isinstance(spec, Mapping):
        return _unread(check, words, response.message)
    response = api.request("GET", f"{REGISTRATION}/validatingadmissionpolicybindings")
    items = response.body.get("items")
    if not response.ok or not isinstance(items, list):
        return _unread(check, f"the bindings of {words}", response.message)
    bindings = bindings_of(name, items)
    if bound not in bindings:
        return _unread(check, f"the binding {bound} of {words}", "none that denies has this name")
    seen = Seen(weak=list(policy_weaknesses(spec)))
    seen.unclear += of_conditions(spec.get("matchConditions")).unclear
    match = spec.get("matchConstraints") or {}
    seen.observed += exemptions({**match, "matchConditions": spec.get("matchConditions")})
    hooks, unread = read_hooks(api)
    try_labels(api, check.namespace, switches(match.get("namespaceSelector")), hooks, seen)
    if not _whole(spec, bindings, bound):
        narrowed = bindings[bound].get("matchResources") or {}
        seen.weak += binding_weaknesses(spec, bindings[bound], bound)
        seen.observed += exemptions(narrowed)
        try_labels(api, check.namespace, switches(narrowed.get("namespaceSelector")), hooks, seen)
    if unread is not None and seen.controls:
        seen.unclear.append(f"what guards a label could not be read: {unread}".rstrip(": "))
    objects = (words, *(f"ValidatingAdmissionPolicyBinding {item}" for item in bindings))
    text = f"{words} decides in the API server, and fails closed"
    return _judged(check, seen, words, text, objects, _POLICIES)


def _whole(
    policy: Mapping[str, Any], bindings: Mapping[str, Mapping[str, Any]], bound: str
) -> bool:
    """True if a binding with the parameters of ``bound`` leaves nothing out; then it is of no
    interest what others leave out."""
    parameters = bindings[bound].get("paramRef")
    return any(
        binding.get("paramRef") == parameters
        and not binding_weaknesses(policy, binding, name)
        and not (binding.get("matchResources") or {}).get("namespaceSelector")
        for name, binding in bindings.items()
    )


def _webhook(api: Api, check: FailClosedCheck, name: str, constraints: tuple[str, ...]) -> Result:
    hooks, unread = read_hooks(api)
    if unread is not None:
        return _unread(check, "the webhooks", unread)
    found = [(config, webhook) for config, webhook in hooks if webhook.get("name") == name]
    if not found:
        return _unread(check, f"webhook {name}", "no configuration has it")
    objects = tuple(f"ValidatingWebhookConfiguration {config}" for config, _ in found)
    seen = Seen()
    for _, webhook in found:
        seen.weak += weaknesses(webhook)
        seen.unclear += of_conditions(webhook.get("matchConditions")).unclear
        seen.observed += exemptions(webhook)
        try_labels(api, check.namespace, switches(webhook.get("namespaceSelector")), hooks, seen)
    reproduce = _HOOKS
    if constraints:
        gap, kinds = _constraints(api, check, constraints, hooks, seen)
        if gap:
            return _unread(check, "what the constraints look at", gap)
        seen.observed += _config(api, found)
        objects += kinds
        reproduce += "; kubectl get constraints -o yaml"
    seconds = found[0][1].get("timeoutSeconds", 10)
    text = f"webhook {name} fails closed (after {seconds} s) and sees every way to a container"
    return _judged(check, seen, f"webhook {name}", text, objects, reproduce)


def _constraints(
    api: Api, check: FailClosedCheck, names: tuple[str, ...], hooks: Hooks, seen: Seen
) -> tuple[str, tuple[str, ...]]:
    """Note what the constraints that rejected leave out; why that is not known, and their names."""
    reading = read_constraints(api, names)
    if reading.gap:
        return reading.gap, ()
    confused = list(ambiguous(reading.found))
    seen.unclear += confused
    # What one of them does not see, another one rejected as well.
    narrow = all(item.is_narrow for item in reading.found)
    for item in reading.found:
        seen.observed += left_out(item)
        if narrow and not confused:
            owner = f"constraint {item}: its"
            seen.weak += constraint_weaknesses(item)
            seen.unclear += unclear(item)
            try_labels(api, check.namespace, item.switches, hooks, seen, owner=owner)
    return "", tuple(f"constraint {item}" for item in reading.found)


def _config(api: Api, found: Hooks) -> tuple[str, ...]:
    """What Gatekeeper's Config leaves out, in the namespace of its own Service."""
    service = found[0][1].get("clientConfig", {}).get("service") or {}
    return config_exemptions(api, str(service["namespace"])) if service else ()


def _judged(
    check: FailClosedCheck,
    seen: Seen,
    who: str,
    well: str,
    objects: tuple[str, ...],
    reproduce: str,
) -> Result:
    verdict, text, reason, remedy = Verdict.HOLDS, well, "", ""
    if seen.weak:
        verdict = Verdict.VIOLATED
        text = f"{who} can be passed: {'; '.join(weakness.text for weakness in seen.weak)}"
        remedy = " ".join(dict.fromkeys(weakness.remedy for weakness in seen.weak))
    elif seen.unclear:
        verdict, reason = Verdict.INCONCLUSIVE, "exemption-not-tried"
        text = f"{who} may look away: {'; '.join(seen.unclear)}"
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{check.control} {check.subject}: {text}",
        observed=tuple(
            f"it looks at {item}" if item.startswith("only ") else item for item in seen.observed
        ),
        controls=tuple(seen.controls),
        objects=objects,
        remedy=remedy,
        reproduce=reproduce,
    )


def _unread(check: FailClosedCheck, what: str, why: str) -> Result:
    text = f"{what} could not be read: {why}"
    return _result(check, Verdict.INCONCLUSIVE, text, reason="not-observed")


def _result(check: FailClosedCheck, verdict: Verdict, text: str, *, reason: str = "") -> Result:
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{check.control} {check.subject}: {text}",
        reproduce=_HOOKS,
    )
