"""What the selected checks need: namespaces for probe pods, and the exact rights.

Tests of one's own (sentences) say only while they run whom they are about, so with one of them
among the selected tests everything that the intent allows is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_zerotrust.admission.corpus.select import CaseCheck
from pytest_zerotrust.admission.failopen import FailClosedCheck
from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.admission.protection import AdministratorsCheck
from pytest_zerotrust.checks import Check, NothingToCheck
from pytest_zerotrust.cluster.access import Right
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.fleet.rights import admission_rights, fleet_rights
from pytest_zerotrust.mesh.checks import PortCheck, SweepCheck
from pytest_zerotrust.mesh.wire_checks import WireCheck
from pytest_zerotrust.network.checks import CanaryCheck

_DRY = (PairCheck, FailClosedCheck, AdministratorsCheck)
"""Checks that make no pod: they send a pair of pods as dry runs."""
_FLEET = frozenset({"pods", "pods/exec", "services", "networkpolicies"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The selected checks. ``sentences``: there are tests that say while they run what they
    need; ``known`` is False where the tests are not known yet."""

    checks: tuple[Check, ...] = ()
    sentences: bool = False
    known: bool = True

    @property
    def everything(self) -> bool:
        """True if all that the intent allows may be needed."""
        return self.sentences or not self.known


UNKNOWN = Selection(known=False)
"""The selection before anything was collected."""


def probe_namespaces(intent: Intent, more: Iterable[str], selection: Selection) -> tuple[str, ...]:
    """The namespaces in which probe pods may be made for this selection, our own the last.

    Empty if none is made at all.
    """
    own = intent.probe.namespace
    if selection.everything:
        also_own = intent.baseline_namespaces
        return tuple(dict.fromkeys((*intent.namespaces, *more, *also_own, own)))
    fleet = bool(_asked_by_pods(selection))
    used = _probed(intent, selection) | _gated(selection)
    named = [namespace for namespace in intent.namespaces if namespace in used]
    return tuple(dict.fromkeys((*named, *((*intent.baseline_namespaces, own) if fleet else ()))))


def _asked_by_pods(selection: Selection) -> list[Check]:
    return [c for c in selection.checks if not isinstance(c, (*_DRY, CaseCheck, NothingToCheck))]


def _probed(intent: Intent, selection: Selection) -> set[str]:
    """The namespaces of the workloads that probe pods stand for."""
    keys = {key for check in _asked_by_pods(selection) for key in _stand_ins(intent, check)}
    return {intent.workloads[key].namespace for key in keys}


def _gated(selection: Selection) -> set[str]:
    """The namespaces in which a gated pod is made, which never runs and is asked nothing."""
    return {
        check.namespace
        for check in selection.checks
        if isinstance(check, CaseCheck) and check.needs_pod and check.placed
    }


def _stand_ins(intent: Intent, check: Check) -> set[str]:
    """The workloads of which a check needs a twin, or more."""
    if isinstance(check, CanaryCheck):
        return set(intent.workloads)
    if isinstance(check, WireCheck):
        return set()
    if isinstance(check, PortCheck):
        return set(intent.sources_of(check.workload, check.port))
    if isinstance(check, SweepCheck):
        return {flow.source for flow in intent.flows if flow.target == check.workload}
    flows = [*getattr(check, "flows", ()), *filter(None, [getattr(check, "flow", None)])]
    named = {getattr(check, word, "") for word in ("workload", "source", "target")}
    named |= {key for flow in flows for key in (flow.source, flow.target)}
    return named & set(intent.workloads) or set(intent.workloads)


def needed_rights(intent: Intent, more: Iterable[str], selection: Selection) -> list[Right]:
    """The rights that a run of this selection needs, and no others."""
    more = tuple(more)
    every = fleet_rights(intent, more)
    if selection.everything:
        return every
    made_in = set(probe_namespaces(intent, more, selection))
    gated = _gated(selection) - _probed(intent, selection)
    mesh_roots = {
        intent.workloads[check.workload].namespace
        for check in selection.checks
        if isinstance(check, (PortCheck, SweepCheck))
    }
    rights = set(discovery_rights(intent)) | _admission(intent, selection)
    for right in set(every) - set(admission_rights(intent)) | _pods(every):
        if right.resource in _FLEET:
            if right.namespace in made_in and (right.namespace not in gated or _for_gated(right)):
                rights.add(right)
        elif right.resource != "configmaps" or right.namespace in mesh_roots:
            rights.add(right)
    rights |= {
        Right(check.namespace, "", "pods", "create")
        for check in selection.checks
        if isinstance(check, _DRY)
    }
    return sorted(rights)


def _for_gated(right: Right) -> bool:
    """What a pod that is asked nothing needs; the end of a run looks for Services as well."""
    ends = right.resource == "services" and right.verb in ("list", "deletecollection")
    return right.resource == "pods" or ends


def _pods(rights: Iterable[Right]) -> set[Right]:
    """What is needed for pods that are made; dry runs of pods ask for a part of it as well."""
    return {right for right in rights if right.resource == "pods" and right.verb != "patch"}


def _admission(intent: Intent, selection: Selection) -> set[Right]:
    """The rights for the dry runs of a selection: who answers, and each kind in each namespace."""
    asked = [c for c in selection.checks if isinstance(c, (*_DRY, CaseCheck))]
    cases = {check.namespace for check in asked if isinstance(check, CaseCheck)}
    return {
        right
        for right in (admission_rights(intent) if asked else ())
        if not right.namespace or right.namespace in cases
    }


def discovery_rights(intent: Intent) -> list[Right]:
    """What the look at the intent's namespaces and workloads at the start needs."""
    rights = [Right("", "", "namespaces", "get")]
    for namespace in sorted({w.namespace for w in intent.workloads.values()}):
        rights += [
            Right(namespace, "", "pods", "list"),
            Right(namespace, "", "services", "get"),
        ]
    return rights
