"""From an intent to checks: which case, in which namespace, as whom. No cluster is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from pytest_zerotrust.admission.corpus import podsecurity, rules
from pytest_zerotrust.admission.corpus.model import (
    NEEDS_POD,
    TEMPLATES,
    AdmissionCase,
    Way,
)
from pytest_zerotrust.core.intent import AdmissionIntent, Intent

_RULES: dict[str, Callable[[str], Iterable[AdmissionCase]]] = {
    "ZT-ADM-001": rules.privileged,
    "ZT-ADM-002": rules.root,
    "ZT-ADM-003": rules.images,
}
POD_SECURITY = "ZT-ADM-004"
FIRST = {
    f"{case}-in-{spot}"
    for case in ("privileged", "may-run-as-root", "image-from-elsewhere")
    for spot in ("containers", "initContainers")
}
"""Cases that ``pairs`` makes; their ids came first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCheck:
    """One case in one namespace. ``user`` is who it is sent as (impersonated), if not ourselves.
    ``placed``: a gated pod may be made in the namespace."""

    control: str
    namespace: str
    case: AdmissionCase
    registry: str
    engine: str = "any"
    user: str = ""
    placed: bool = True

    @property
    def subject(self) -> str:
        """The case in words that fit into a test id."""
        whom = f"-as-{re.sub(r'[^a-zA-Z0-9.-]+', '-', self.user)}" if self.user else ""
        return f"{self.case.name}{whom}-{self.namespace}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def needs_pod(self) -> bool:
        """True if the case changes a pod that is there already."""
        return self.case.way in NEEDS_POD


def corpus_checks(intent: Intent, control: str) -> Iterator[CaseCheck]:
    """The checks of a control, in a stable order, without those that ``pairs`` makes."""
    admission = intent.admission
    if admission is None:
        return
    if control == POD_SECURITY:
        yield from _pod_security(intent, admission)
        return
    registry = admission.registries[0]
    for namespace in admission.namespaces:
        check = CaseCheck(
            control=control,
            namespace=namespace,
            case=next(iter(_RULES[control](registry))),
            registry=registry,
            engine=admission.engine,
            placed=namespace in intent.namespaces,
        )
        for case in _RULES[control](registry):
            if case.name not in FIRST:
                yield replace(check, case=case)
        if admission.profile == "full":
            for case in _more_ways(_RULES[control](registry)):
                yield replace(check, case=case)
        for user in admission.identities:
            for case in _RULES[control](registry):
                if case.name in FIRST:
                    yield replace(check, case=case, user=user)


def _more_ways(cases: Iterable[AdmissionCase]) -> Iterator[AdmissionCase]:
    """Every case over every way in that it was not sent over yet."""
    made = list(cases)
    names = {case.name for case in made}
    for case in made:
        if case.way is not Way.CREATE or case.name.startswith("privileged-with-"):
            continue
        for way in (Way.GENERATE_NAME, Way.APPLY, *TEMPLATES):
            other = case.by(way)
            if other.name not in names:
                yield other


def _pod_security(intent: Intent, admission: AdmissionIntent) -> Iterator[CaseCheck]:
    registry = admission.registries[0]
    for namespace, level in admission.pod_security.items():
        if level not in podsecurity.LEVELS:
            continue
        cases = list(podsecurity.cases(level, registry))
        if admission.profile == "full":
            cases += podsecurity.more(level)
        for case in cases:
            yield CaseCheck(
                control=POD_SECURITY,
                namespace=namespace,
                case=case,
                registry=registry,
                placed=namespace in intent.namespaces,
            )
