"""ZT-NET-005: every policy selects a pod, and a policy isolates every pod.

A policy with a typing error in its selector denies nothing, and looks like one that does. A
namespace that lost its policies looks like any other.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.policies import PolicyReading, read_policies
from pytest_zerotrust.cluster.subjects import Subjects, read_subjects
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.policy import bare_pods, idle_policies
from pytest_zerotrust.core.verdict import Result, Verdict


class Part(enum.Enum):
    """The two halves of the control."""

    SELECT = "policies-select-pods"
    COVER = "pods-have-policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageCheck:
    """One half of the control, for one namespace."""

    part: Part
    namespace: str

    control = "ZT-NET-005"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def subject(self) -> str:
        """The half and the namespace in words that fit into a test id."""
        return f"{self.part.value}-{self.namespace}"


def coverage_checks(intent: Intent, part: Part) -> Iterator[CoverageCheck]:
    """One check for each namespace of the intent."""
    for namespace in dict.fromkeys(intent.namespaces):
        yield CoverageCheck(part=part, namespace=namespace)


def verify_coverage(api: Api, check: CoverageCheck) -> Result:
    """Read what the check needs and judge it."""
    reading = read_policies(api, [check.namespace])
    labels = reading.namespace_labels.get(check.namespace)
    subjects = read_subjects(api, check.namespace, labels)
    return judge_coverage(check, reading, subjects)


def judge_coverage(check: CoverageCheck, reading: PolicyReading, subjects: Subjects) -> Result:
    """The verdict. Pure: depends on what was read alone."""
    if not subjects.pods_read:
        return _result(check, Verdict.INCONCLUSIVE, "not-readable", subjects.gaps[0])
    if check.part is Part.SELECT:
        return _select(check, reading, subjects)
    return _cover(check, reading, subjects)


def _select(check: CoverageCheck, reading: PolicyReading, subjects: Subjects) -> Result:
    own = [policy for policy in reading.policies if policy.namespace == check.namespace]
    everyone = (*subjects.pods, *subjects.others)
    idle: dict[str, list[bool]] = {}
    unclear: dict[str, None] = {}
    words: dict[str, str] = {}
    for dialect in reading.dialects:
        for found in idle_policies(own, everyone, dialect=dialect):
            words[found.policy] = found.subject
            idle.setdefault(found.policy, []).append(found.selects.value is False)
            unclear |= dict.fromkeys(found.selects.why)
    certain = [p for p, seen in idle.items() if seen == [True] * len(reading.dialects)]
    rest = [p for p in idle if p not in certain]
    if certain and not subjects.gaps:
        first = certain[0]
        more = f" (and {len(certain) - 1} more)" if len(certain) > 1 else ""
        what = f"{first} selects no pod and no workload{more}; its selector is: {words[first]}"
        return _result(check, Verdict.VIOLATED, "", what, [f"{p}: {words[p]}" for p in certain])
    if certain:
        what = f"{certain[0]} selects no pod, but {subjects.gaps[0]}"
        return _result(check, Verdict.INCONCLUSIVE, "not-readable", what)
    if rest:
        why = next(iter(unclear), "it is not known whether Cilium runs")
        what = f"it cannot be said whether {rest[0]} selects a pod: {why}"
        return _result(check, Verdict.INCONCLUSIVE, "not-evaluated", what)
    if reading.gaps:
        return _result(check, Verdict.INCONCLUSIVE, "not-readable", reading.gaps[0])
    if not own:
        what = "the namespace has no policies that could select a pod"
        reason = "no-policies"
        return _result(check, Verdict.NOT_APPLICABLE, reason, what)
    what = f"each of {len(own)} policies selects a pod"
    return _result(check, Verdict.HOLDS, "", what, [str(policy) for policy in own])


def _cover(check: CoverageCheck, reading: PolicyReading, subjects: Subjects) -> Result:
    pods = [pod for pod in subjects.pods if pod.is_pod]
    if not pods:
        what = "the namespace has no pods with a network of their own"
        reason = "no-workloads"
        return _result(check, Verdict.NOT_APPLICABLE, reason, what)
    bare: dict[str, list[bool]] = {}
    unclear: dict[str, None] = {}
    for dialect in reading.dialects:
        for found in bare_pods(reading.policies, pods, dialect=dialect):
            bare.setdefault(found.pod, []).append(found.isolated.value is False)
            unclear |= dict.fromkeys(found.isolated.why)
    certain = [p for p, seen in bare.items() if seen == [True] * len(reading.dialects)]
    if bare and reading.gaps:
        what = (
            f"pod {next(iter(bare))} is isolated by no policy that was read, but {reading.gaps[0]}"
        )
        return _result(check, Verdict.INCONCLUSIVE, "not-readable", what)
    if certain:
        all_of_them = " (all pods of the namespace)" if len(certain) == len(pods) else ""
        what = f"{len(certain)} of {len(pods)} pods are isolated by no policy{all_of_them}: "
        what += ", ".join(certain[:3]) + (", ..." if len(certain) > 3 else "")
        return _result(check, Verdict.VIOLATED, "", what, [f"Pod {pod}" for pod in certain])
    if bare:
        why = next(iter(unclear), "it is not known whether Cilium runs")
        what = f"it cannot be said whether a policy isolates pod {next(iter(bare))}: {why}"
        return _result(check, Verdict.INCONCLUSIVE, "not-evaluated", what)
    what = f"each of {len(pods)} pods is isolated by a policy"
    return _result(check, Verdict.HOLDS, "", what)


def _result(
    check: CoverageCheck,
    verdict: Verdict,
    reason: str,
    what: str,
    objects: list[str] | None = None,
) -> Result:
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=verdict,
        reason=reason,
        headline=f"{check.control} namespace {check.namespace}: {what}",
        objects=tuple(objects or ()),
        remedy=CONTROLS[check.control].remedy if verdict is Verdict.VIOLATED else "",
        reproduce=f"kubectl -n {check.namespace} get networkpolicies,pods --show-labels",
    )
