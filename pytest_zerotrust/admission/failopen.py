"""Whether what rejects pods still does so when it is down: read from its own registration.

Who rejects is not taken from a list but from the answer to a privileged pod, so that a webhook that
exists and does nothing is not praised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.admission import Answer
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.core.webhooks import exemptions, weaknesses

_CONTROL = "ZT-ADM-005"
_API = "/apis/admissionregistration.k8s.io/v1"


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
        return _policy(api, check, str(rejection.evidence["policies"][0]))
    return _webhook(api, check, str(rejection.evidence["webhook"]))


def _policy(api: Api, check: FailClosedCheck, name: str) -> Result:
    response = api.request("GET", f"{_API}/validatingadmissionpolicies/{name}")
    spec = response.body.get("spec")
    if not response.ok or not isinstance(spec, Mapping):
        return _unread(check, f"ValidatingAdmissionPolicy {name}", response.message)
    words = f"ValidatingAdmissionPolicy {name}"
    if spec.get("failurePolicy", "Fail") != "Fail":
        text = f"{words} FAILS OPEN: what it cannot evaluate is admitted (failurePolicy Ignore)"
        return _result(check, Verdict.VIOLATED, text, objects=(words,))
    text = f"{words} decides in the API server, and fails closed"
    return _result(check, Verdict.HOLDS, text, objects=(words,))


def _webhook(api: Api, check: FailClosedCheck, name: str) -> Result:
    response = api.request("GET", f"{_API}/validatingwebhookconfigurations")
    items = response.body.get("items")
    if not response.ok or not isinstance(items, list):
        return _unread(check, "the webhooks", response.message)
    found: list[tuple[str, Mapping[str, Any]]] = [
        (str(item["metadata"]["name"]), webhook)
        for item in items
        for webhook in item.get("webhooks") or ()
        if webhook.get("name") == name
    ]
    if not found:
        return _unread(check, f"webhook {name}", "no configuration has it")
    objects = tuple(f"ValidatingWebhookConfiguration {config}" for config, _ in found)
    weak = [text for _, webhook in found for text in weaknesses(webhook)]
    observed = tuple(f"it looks at {text}" for _, webhook in found for text in exemptions(webhook))
    if weak:
        text = f"webhook {name} can be passed: {'; '.join(weak)}"
        return _result(check, Verdict.VIOLATED, text, objects=objects, observed=observed)
    seconds = found[0][1].get("timeoutSeconds", 10)
    text = f"webhook {name} fails closed (after {seconds} s) and sees every way to a container"
    return _result(check, Verdict.HOLDS, text, objects=objects, observed=observed)


def _unread(check: FailClosedCheck, what: str, why: str) -> Result:
    text = f"{what} could not be read: {why}"
    return _result(check, Verdict.INCONCLUSIVE, text, reason="not-observed")


def _result(
    check: FailClosedCheck,
    verdict: Verdict,
    text: str,
    *,
    reason: str = "",
    objects: tuple[str, ...] = (),
    observed: tuple[str, ...] = (),
) -> Result:
    violated = verdict is Verdict.VIOLATED
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{check.control} {check.subject}: {text}",
        observed=observed,
        objects=objects,
        remedy=CONTROLS[check.control].remedy if violated else "",
        reproduce="kubectl get validatingwebhookconfigurations -o yaml",
    )
