"""Whether only the declared administrators may change or switch off what rejects pods."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_zerotrust.admission.corpus.select import POD_SECURITY, CaseCheck, corpus_checks
from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.admission.protected import Protected, find_protected
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.administrators import who_may
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.holding import Power
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.levers import Lever
from pytest_zerotrust.core.rbac import Rbac, Subject
from pytest_zerotrust.core.verdict import Result, Verdict

_CONTROL = "ZT-ADM-006"
_REPRODUCE = (
    "kubectl get clusterroles,clusterrolebindings -o yaml; "
    "kubectl get roles,rolebindings --all-namespaces -o yaml"
)
_SHOWN = 3
_TOLD = 20

Powers = Mapping[Subject, tuple[Power, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdministratorsCheck:
    """Who may switch off what rejects the privileged pod of a namespace, or the pod of ``case``."""

    namespace: str
    control: str = _CONTROL
    case: CaseCheck | None = None

    @property
    def subject(self) -> str:
        """Words for a test id."""
        return f"administrators-{self.namespace}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def rejection(self) -> PairCheck | CaseCheck:
        """The check whose rejection shows who rejects."""
        return self.case or PairCheck(
            control="ZT-ADM-001", namespace=self.namespace, list_name="containers"
        )


def administrators_checks(intent: Intent) -> Iterator[AdministratorsCheck]:
    """One for each namespace in which pods must be rejected, if the intent names administrators."""
    admission = intent.admission
    if admission is None or not admission.administrators:
        return
    for namespace in admission.namespaces:
        yield AdministratorsCheck(namespace=namespace)
    known = set(admission.namespaces)
    for case in corpus_checks(intent, POD_SECURITY):
        # Any case will do: each of them breaks a rule of the namespace's level and no other one.
        if case.namespace not in known:
            known.add(case.namespace)
            yield AdministratorsCheck(namespace=case.namespace, case=case)


def knows_who(rejection: Result) -> bool:
    """True if it is known which policy engine rejects; another one than was asked for will do."""
    return rejection.verdict is Verdict.HOLDS or rejection.reason == "masked"


def protected_by(api: Api, namespace: str, rejection: Result) -> Protected:
    """What rejects pods in a namespace, by its answer. Raises ApiUnreachable."""
    evidence = rejection.evidence
    return find_protected(
        api,
        namespace,
        by=str(evidence["answered_by"]),
        policies=tuple(map(str, evidence["policies"])),
        webhook=str(evidence["webhook"]),
    )


def verify(
    api: Api,
    check: AdministratorsCheck,
    rejection: Result,
    rbac: Rbac,
    administrators: Iterable[str],
) -> Result:
    """Judge who may switch off the engine that gave the rejection. Raises ApiUnreachable."""
    if not knows_who(rejection):
        text = f"what rejects pods is not known: {rejection.headline}"
        return _result(check, Verdict.INCONCLUSIVE, text, reason="nothing-enforced")
    protected = protected_by(api, check.namespace, rejection)
    named = tuple(map(Subject.parse, administrators))
    powers = _own(who_may(rbac, protected.levers))
    others = {s: held for s, held in powers.items() if not _is_named(s, named)}
    if others:
        text = (
            f"{_subjects(others)} may switch off {protected.who}, and 'admission.administrators' "
            f"does not list {'it' if len(others) == 1 else 'them'}: {_first_ones(others)}"
        )
        return _result(check, Verdict.VIOLATED, text, protected, others, remedy=True)
    gaps = (*rbac.gaps, *protected.gaps)
    if gaps:
        text = f"who may switch off {protected.who} is not known: {'; '.join(gaps)}"
        return _result(check, Verdict.INCONCLUSIVE, text, protected, reason="not-readable")
    maybe = _own(who_may(rbac, protected.doubtful)) if protected.doubtful else {}
    maybe = {s: held for s, held in maybe.items() if not _is_named(s, named)}
    if maybe:
        text = (
            f"{_subjects(maybe)} may be able to switch off {protected.who}: {_first_ones(maybe)}; "
            f"{'; '.join(protected.doubts)}"
        )
        reason = "exemption-not-tried"
        return _result(check, Verdict.INCONCLUSIVE, text, protected, maybe, reason=reason)
    text = (
        f"by RBAC nobody may switch off {protected.who} but the administrators of the intent and "
        f"what Kubernetes brings along"
    )
    return _result(check, Verdict.HOLDS, text, protected, powers)


def report(api: Api, namespace: str, rejection: Result, rbac: Rbac) -> tuple[str, ...]:
    """Who may switch off the engine, without judgement: lines for another check's result."""
    if rbac.gaps:
        return (f"who may switch it off is not known: {rbac.gaps[0]}",)
    powers = _own(who_may(rbac, protected_by(api, namespace, rejection).levers))
    return tuple(
        f"not judged without 'admission.administrators': {line}" for line in _lines(powers)
    )


def _own(powers: Powers) -> dict[Subject, tuple[Power, ...]]:
    """Without what Kubernetes gives to its own components."""
    kept = {s: tuple(p for p in held if not p.is_default) for s, held in powers.items()}
    return {subject: held for subject, held in kept.items() if held}


def _is_named(subject: Subject, named: Sequence[Subject]) -> bool:
    return subject in named or any(group in named for group in subject.groups)


def _subjects(powers: Powers) -> str:
    names = list(map(str, powers))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _first_ones(powers: Powers) -> str:
    """The first power of the first subjects."""
    shown = list(powers.items())[:_SHOWN]
    return "; ".join(f"{subject} {held[0]}{_more(held, 1)}" for subject, held in shown)


def _lines(powers: Powers) -> tuple[str, ...]:
    shown = [
        f"{subject} {'; '.join(map(str, held[:_SHOWN]))}{_more(held, _SHOWN)}"
        for subject, held in powers.items()
    ]
    more = len(shown) - _TOLD
    return (*shown[:_TOLD], *([f"and {more} subjects more"] if more > 0 else []))


def _more(held: Sequence[Power], shown: int) -> str:
    return f"; and {len(held) - shown} things more" if len(held) > shown else ""


def _result(
    check: AdministratorsCheck,
    verdict: Verdict,
    text: str,
    protected: Protected | None = None,
    powers: Powers | None = None,
    *,
    reason: str = "",
    remedy: bool = False,
) -> Result:
    holders = powers or {}
    levers: list[Lever] = protected.levers if protected else []
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{check.control} {check.subject}: {text}",
        observed=_lines(holders),
        controls=tuple(protected.notes) if protected else (),
        objects=tuple(
            dict.fromkeys(
                grant_text
                for held in holders.values()
                for power in held
                for grant in power.grants
                for grant_text in (grant.binding, grant.role)
            )
        ),
        remedy=CONTROLS[check.control].remedy if remedy else "",
        reproduce=_REPRODUCE,
        evidence={
            "levers": [item.text.replace("{verbs} ", "") for item in levers],
            "subjects": {str(s): [str(power) for power in held] for s, held in holders.items()},
        },
    )
