"""From the answers to a minimal pair to a result with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_zerotrust.admission.trial import Request, Trial, shown
from pytest_zerotrust.core.admission import Answer, Attribution, Conclusion, PairFacts, judge_pair
from pytest_zerotrust.core.admission_diff import Change, taken_out
from pytest_zerotrust.core.verdict import Result, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One answer: who gave it, and the object that came back."""

    attribution: Attribution
    returned: Mapping[str, Any]


Answers = Mapping[str, tuple[Answered, ...] | str]
"""The answers by the key of their request; a text says why there is none."""


def judge_trial(trial: Trial, answers: Answers) -> Result:
    """The verdict on a trial. ``answers`` has every request of it."""
    good, bad = answers[trial.good.key], answers[trial.bad.key]
    if isinstance(good, str) or isinstance(bad, str):
        return Result(
            control=trial.control,
            subject=trial.subject,
            verdict=Verdict.INCONCLUSIVE,
            reason="server-unreachable",
            headline=f"{trial.title} not tested: {good if isinstance(good, str) else bad}",
        )
    conclusion, deciding, changed = _conclude(trial, good, bad)
    result = _result(trial, conclusion, good, bad, deciding, changed)
    if trial.pods is not None and deciding.admitted and conclusion.verdict is Verdict.VIOLATED:
        return _with_pods(trial, judge_trial(trial.pods, answers), result)
    return result


def _conclude(
    trial: Trial, good: tuple[Answered, ...], bad: tuple[Answered, ...]
) -> tuple[Conclusion, Attribution, tuple[Change, ...]]:
    deciding, changed = _deciding(trial, bad)
    conclusion = _never_possible(trial, good[-1].attribution, deciding) or judge_pair(
        PairFacts(
            good=good[-1].attribution,
            bad=deciding,
            tries=tuple(item.attribution for item in bad),
            neutralised=bool(changed),
            engine=trial.engine,
            policy=trial.policy,
        )
    )
    return conclusion, deciding, changed


def _never_possible(trial: Trial, good: Attribution, bad: Attribution) -> Conclusion | None:
    """What no cluster of this version can store needs no policy, and proves none."""
    if trial.optional and good.answer is Answer.INVALID:
        return Conclusion(
            Verdict.NOT_APPLICABLE,
            "not-in-this-version",
            f"cannot be asked: this server does not take {trial.where} at all",
        )
    field = trial.where
    own = any(cause.partition(":")[0] == field for cause in bad.causes)
    if good.admitted and bad.answer is Answer.INVALID and own:
        return Conclusion(
            Verdict.NOT_APPLICABLE,
            "refused-by-api",
            f"is refused by the API itself, whatever the policies: {bad.message[:200]}",
        )
    return None


def _deciding(trial: Trial, tries: tuple[Answered, ...]) -> tuple[Attribution, tuple[Change, ...]]:
    """The answer that decides, and how the tested field was changed if it was.

    What got through as it was sent, even once, decides.
    """
    admitted = [item for item in tries if item.attribution.admitted]
    changed: tuple[Change, ...] = ()
    for item in admitted:
        changed = taken_out(trial.bad.body, item.returned, trial.path)
        if not changed:
            return item.attribution, ()
    return (admitted[-1] if admitted else tries[-1]).attribution, changed


def _result(
    trial: Trial,
    conclusion: Conclusion,
    good: tuple[Answered, ...],
    bad: tuple[Answered, ...],
    deciding: Attribution,
    changed: tuple[Change, ...],
) -> Result:
    wanted, kept = (shown(trial.value(request)) for request in (trial.bad, trial.good))
    violated = conclusion.verdict is Verdict.VIOLATED
    text = conclusion.text
    if conclusion.reason == "neutralised":
        text += f" ({'; '.join(map(str, changed))})"
    said = deciding if conclusion.reason != "compliant-twin-rejected" else good[-1].attribution
    whom = f" --as {trial.bad.user}" if trial.bad.user else ""
    return Result(
        control=trial.control,
        subject=trial.subject,
        verdict=conclusion.verdict,
        reason=conclusion.reason,
        headline=f"{trial.title} {text}",
        observed=(
            *(f"{_what(trial.bad)} with {trial.where} = {wanted}: {i.attribution}" for i in bad),
            *(f"it said: {line}" for line in said.message.splitlines()[:3]),
            *(f"it warned: {line}" for line in deciding.warnings[:3]),
        ),
        controls=tuple(f"the same {_what(trial.good)} with {kept}: {i.attribution}" for i in good),
        objects=tuple(f"policy {name}" for name in deciding.policies),
        remedy=trial.remedy if violated else "",
        reproduce=f"send the manifest of the evidence with "
        f"'{_verb(trial.bad)} --dry-run=server{whom}' ({trial.bad.method} {trial.bad.path})",
        evidence={
            "manifest": dict(trial.bad.body),
            "answer": deciding.message,
            "answered_by": deciding.answer.value,
            "policies": list(deciding.policies),
            "webhook": deciding.webhook,
        },
    )


def _with_pods(trial: Trial, pods: Result, template: Result) -> Result:
    """A template that passes is no violation if the pods that come from it are turned away."""
    title = f"{trial.title}: the template was admitted, and its pod"
    text = pods.headline.removeprefix(trial.title).strip()
    return replace(
        pods,
        headline=f"{title} {text}",
        observed=(*template.observed, *pods.observed),
        controls=(*template.controls, *pods.controls),
    )


def _what(request: Request) -> str:
    if request.path.endswith("/ephemeralcontainers"):
        return "ephemeral container added to an admitted pod"
    if request.method == "PATCH" and "apply" not in request.content_type:
        return "change of an admitted pod"
    return str(request.body.get("kind", "pod")).replace("Pod", "pod")


def _verb(request: Request) -> str:
    if request.method == "POST":
        return "kubectl create -f FILE"
    if "apply" in request.content_type:
        return "kubectl apply --server-side -f FILE"
    if request.path.endswith("/ephemeralcontainers"):
        return "kubectl patch pod NAME --subresource ephemeralcontainers --patch-file FILE"
    return "kubectl patch pod NAME --patch-file FILE"
