"""Who answered a request to create something: a policy engine (which?), or something else.

Only the shape of the answer counts, never the words of a policy's own message. The shapes come
from the sources of the API server and of the engines: Pod Security admission, Gatekeeper,
ValidatingAdmissionPolicy, Kyverno, OPA. Kyverno's is known from its published source only and was
not seen live ("signature only, not proven live").
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.admission_warnings import read_warnings
from pytest_zerotrust.core.verdict import Verdict


class Answer(enum.Enum):
    """Kinds of answers to a create request."""

    ADMITTED = "admitted"
    POD_SECURITY = "pod-security"
    GATEKEEPER = "gatekeeper"
    VALIDATING_ADMISSION_POLICY = "validating-admission-policy"
    KYVERNO = "kyverno"
    OPA = "opa"
    OTHER_WEBHOOK = "other webhook"
    QUOTA = "quota"
    LIMIT_RANGE = "limit range"
    RBAC = "RBAC"
    INVALID = "invalid object"
    NAMESPACE = "namespace missing or going"
    SERVICE_ACCOUNT = "service account missing"
    WEBHOOK_UNAVAILABLE = "webhook unavailable"
    DRY_RUN_UNSUPPORTED = "dry run unsupported"
    CONFLICT = "conflict"
    THROTTLED = "throttled"
    TIMEOUT = "time-out"
    POLICY_ERROR = "policy in error"
    UNKNOWN = "unknown"


POLICY_ENGINES = frozenset(
    {
        Answer.POD_SECURITY,
        Answer.GATEKEEPER,
        Answer.VALIDATING_ADMISSION_POLICY,
        Answer.KYVERNO,
        Answer.OPA,
        Answer.OTHER_WEBHOOK,
    }
)
"""Answers that come from a policy. A webhook that we do not know by name is one as well."""

TRANSIENT = frozenset(
    {Answer.WEBHOOK_UNAVAILABLE, Answer.THROTTLED, Answer.TIMEOUT, Answer.SERVICE_ACCOUNT}
)
"""Answers that another try may well change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Who answered. ``policies`` are the names that the engine gives (constraint, policy and
    binding, Pod Security level), ``webhook`` the name of the webhook that denied or did not answer.
    ``reason`` is the Status object's own word, and ``causes`` its causes as ``field: message``."""

    answer: Answer
    policies: tuple[str, ...] = ()
    webhook: str = ""
    status: int = 0
    message: str = ""
    reason: str = ""
    causes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def admitted(self) -> bool:
        """True if the request got through."""
        return self.answer is Answer.ADMITTED

    @property
    def refused_by_policy(self) -> bool:
        """True if a policy engine turned the request away."""
        return self.answer in POLICY_ENGINES

    def __str__(self) -> str:
        named = f" [{', '.join(self.policies)}]" if self.policies else ""
        hook = f" by webhook {self.webhook}" if self.webhook else ""
        return f"{self.answer.value}{named}{hook} (HTTP {self.status})"


_DENIED_BY_WEBHOOK = re.compile(
    r'^admission webhook "(?P<hook>[^"]+)" denied the request(?::\s*(?P<text>.*)|\s+without.*)$',
    re.DOTALL,
)
# How the API server itself begins to refuse something: its resource with its group, and its name.
_FORBIDDEN = r'^[a-z][a-z0-9]*(?:\.[a-z0-9.-]+)? "[^"\n]*" is forbidden: '
_POD_SECURITY = re.compile(_FORBIDDEN + r'violates PodSecurity "(?P<level>[^"]+)": ')
_VAP = re.compile(
    _FORBIDDEN + r"ValidatingAdmissionPolicy '(?P<policy>[^']+)'"
    r"(?: with binding '(?P<binding>[^']+)')? denied request"
)
# A ValidatingAdmissionPolicy that could not be evaluated denies as well if its failurePolicy is
# Fail; then nobody has judged the object (k8s.io/apiserver, plugin/policy/validating).
_VAP_IN_ERROR = re.compile(
    r"denied request: (?:failed to configure |expression '.*' resulted in error: |"
    r"compilation error: |validation failed due to running out of cost budget)",
    re.DOTALL,
)
# The default, and what a policy may set (its spec.validations.reason).
_VAP_STATUSES = frozenset({401, 403, 413, 422})
_NOT_CALLED = re.compile(r'failed calling webhook "(?P<hook>[^"]+)"')
_KYVERNO = re.compile(r"was blocked due to the following policies\s*\n+(?P<policies>.*)", re.DOTALL)
_CONSTRAINT = re.compile(r"^\[(?P<name>[^\]\s]+)\] ", re.MULTILINE)

# Order matters: each is tried on answers that no policy engine gave.
_OTHERS: tuple[tuple[Answer, frozenset[int], re.Pattern[str]], ...] = (
    (Answer.WEBHOOK_UNAVAILABLE, frozenset({500}), re.compile(r"failed calling webhook ")),
    (Answer.DRY_RUN_UNSUPPORTED, frozenset({400}), re.compile(r"does not support dry run")),
    (Answer.DRY_RUN_UNSUPPORTED, frozenset({400}), re.compile(r"dryRun is not supported")),
    (
        Answer.QUOTA,
        frozenset({403}),
        re.compile(
            _FORBIDDEN + r"(exceeded quota|failed quota|status unknown for quota|"
            r"insufficient quota)"
        ),
    ),
    (Answer.RBAC, frozenset({401, 403}), re.compile(r' is forbidden: User "[^"]*" cannot ')),
    (
        Answer.SERVICE_ACCOUNT,
        frozenset({403}),
        re.compile(r"error looking up service account "),
    ),
    (Answer.NAMESPACE, frozenset({403, 409}), re.compile(r"because it is being terminated")),
    (Answer.NAMESPACE, frozenset({404}), re.compile(r'^namespaces "[^"]*" not found')),
    (
        Answer.LIMIT_RANGE,
        frozenset({403}),
        re.compile(_FORBIDDEN + r"\[?(maximum|minimum|max limit to request)", re.IGNORECASE),
    ),
)


def attribute(status: int, body: Mapping[str, Any], warnings: Sequence[str] = ()) -> Attribution:
    """Read one answer of the API server."""
    message = str(body.get("message", ""))
    found = _who(status, message)
    return Attribution(
        answer=found[0],
        policies=found[1],
        webhook=found[2],
        status=status,
        message=message,
        reason=str(body.get("reason", "")) if status >= 400 else "",
        causes=_causes(body) if status >= 400 else (),
        warnings=tuple(warnings),
    )


def _causes(body: Mapping[str, Any]) -> tuple[str, ...]:
    details = body.get("details")
    listed = details.get("causes") if isinstance(details, Mapping) else None
    found = []
    for cause in listed if isinstance(listed, list) else ():
        if isinstance(cause, Mapping):
            field_, message = cause.get("field", ""), cause.get("message", "")
            found.append(f"{field_}: {message}" if field_ else str(message))
    return tuple(found)


def _who(status: int, message: str) -> tuple[Answer, tuple[str, ...], str]:
    if 200 <= status < 300:
        return Answer.ADMITTED, (), ""
    webhook = _DENIED_BY_WEBHOOK.match(message)
    if webhook and (status >= 500 or status == 429):
        # A webhook that answers with an error of its own has not judged the object.
        return Answer.WEBHOOK_UNAVAILABLE, (), webhook["hook"]
    if webhook:
        return _which_webhook(webhook["hook"], webhook["text"] or "")
    security = _POD_SECURITY.match(message)
    if security and status == 403:
        return Answer.POD_SECURITY, (security["level"],), ""
    policy = _VAP.match(message)
    if policy and status in _VAP_STATUSES:
        broken = _VAP_IN_ERROR.match(message, policy.end() - len("denied request"))
        names = tuple(name for name in (policy["policy"], policy["binding"]) if name)
        kind = Answer.POLICY_ERROR if broken else Answer.VALIDATING_ADMISSION_POLICY
        return kind, names, ""
    for answer, statuses, pattern in _OTHERS:
        if status in statuses and pattern.search(message):
            hook = _NOT_CALLED.search(message) if answer is Answer.WEBHOOK_UNAVAILABLE else None
            return answer, (), hook["hook"] if hook else ""
    plain = {
        401: Answer.RBAC,
        409: Answer.CONFLICT,
        422: Answer.INVALID,
        429: Answer.THROTTLED,
        504: Answer.TIMEOUT,
    }
    if status == 400 and ("decoding" in message or "cannot be handled" in message):
        return Answer.INVALID, (), ""
    return plain.get(status, Answer.UNKNOWN), (), ""


def _which_webhook(hook: str, text: str) -> tuple[Answer, tuple[str, ...], str]:
    if hook.endswith(".gatekeeper.sh"):
        names = tuple(dict.fromkeys(_CONSTRAINT.findall(text)))
        # Every constraint names itself; a refusal without a name is the engine's own trouble.
        return (Answer.GATEKEEPER if names else Answer.UNKNOWN), names, hook
    if "kyverno.svc" in hook:
        blocked = _KYVERNO.search(text)
        policies = re.findall(r"^(\S+):$", blocked["policies"], re.MULTILINE) if blocked else []
        return Answer.KYVERNO, tuple(policies), hook
    if _of_opa(hook):
        return Answer.OPA, (), hook
    return Answer.OTHER_WEBHOOK, (), hook


def _of_opa(hook: str) -> bool:
    return hook.endswith(".openpolicyagent.org") or hook == "openpolicyagent.org"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFacts:
    """A minimal pair: two pods that differ in exactly the tested field, and their answers.

    ``bad`` is the answer that decides. ``tries`` are all answers to the bad pod, in their order,
    if it was sent more than once. ``neutralised``: the bad pod was admitted, but the server took
    the bad field out of it. ``engine`` and ``policy`` are who must answer ("any" and "" for
    everybody).
    """

    good: Attribution
    bad: Attribution
    tries: tuple[Attribution, ...] = ()
    neutralised: bool = False
    engine: str = "any"
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A verdict on a pair, the machine-readable reason, and the same in words."""

    verdict: Verdict
    reason: str
    text: str


def judge_pair(facts: PairFacts) -> Conclusion:
    """Was the bad pod rejected by a policy engine, because of the one field in which it differs?"""
    good, bad = facts.good, facts.bad
    if good.answer is not Answer.ADMITTED:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "compliant-twin-rejected",
            f"the compliant twin was not admitted either: {good}{_why_unavailable(good)}",
        )
    if bad.answer is Answer.ADMITTED:
        if facts.neutralised:
            return Conclusion(
                Verdict.INCONCLUSIVE,
                "neutralised",
                "it was admitted after a mutation that took the bad field out",
            )
        return Conclusion(
            Verdict.VIOLATED,
            "",
            f"was ADMITTED{_how_often(facts.tries)}{_only_warned(facts)}, expected REJECTED"
            f"{_why_not_always(facts)}",
        )
    if bad.answer not in POLICY_ENGINES:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "not-a-policy",
            f"was turned away, but not by a policy: {bad}",
        )
    if facts.engine not in ("any", bad.answer.value):
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "masked",
            f"was rejected by {bad}, which masks the engine under test ({facts.engine})",
        )
    if facts.policy and facts.policy not in bad.policies:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "masked",
            f"was rejected by {bad}, which does not name the policy under test ({facts.policy})",
        )
    return Conclusion(Verdict.HOLDS, "", f"is rejected by {bad}")


def _why_unavailable(answer: Attribution) -> str:
    """A cause that is common and hard to see: the old syntax is an error since OPA 1.0."""
    if answer.answer is not Answer.WEBHOOK_UNAVAILABLE or not _of_opa(answer.webhook):
        return ""
    return " (OPA 1.x does not start with rules in the old Rego syntax: see its log)"


def _only_warned(facts: PairFacts) -> str:
    """A policy that warns about the bad pod alone sees it, and lets it pass."""
    told = [warning for warning in facts.bad.warnings if warning not in facts.good.warnings]
    engines = [str(warning) for warning in read_warnings(told)]
    return f" with a warning by {', '.join(engines)}" if engines else ""


def _how_often(tries: Sequence[Attribution]) -> str:
    through = _through(tries)
    return f" in {through} of {len(tries)} tries" if 0 < through < len(tries) else ""


def _why_not_always(facts: PairFacts) -> str:
    if not 0 < _through(facts.tries) < len(facts.tries):
        return ""
    refuser = next(answer for answer in facts.tries if answer.answer is not Answer.ADMITTED)
    if refuser.answer not in POLICY_ENGINES:
        return f" (otherwise: {refuser})"
    return (
        f": otherwise it is rejected by {refuser}, so that one fails open, "
        f"answers differently from replica to replica, or is not settled"
    )


def _through(tries: Sequence[Attribution]) -> int:
    return sum(answer.answer is Answer.ADMITTED for answer in tries)
