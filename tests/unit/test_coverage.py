"""ZT-NET-005: policies that select nothing, and pods without any policy."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.cluster.policies import PolicyReading
from pytest_zerotrust.cluster.subjects import Subjects
from pytest_zerotrust.core.policy import Dialect, parse_policy
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.network.coverage import CoverageCheck, Part, judge_coverage
from tests.policies import X, Y, cilium_policy, network_policy, pod

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
DENY = network_policy("deny", podSelector={})
TYPO = network_policy("typo", podSelector={"matchLabels": {"app": "xx"}})
ODD = network_policy("odd", podSelector={"matchSomething": {}})
CNP = cilium_policy("c", endpointSelector={}, ingress=[{}])


def judge(
    part: Part, *policies: dict[str, Any], gaps: Any = (), unread: Any = (), **changes: Any
) -> Result:
    values = {"dialects": (Dialect.CILIUM,), **changes}
    reading = PolicyReading(
        policies=tuple(map(parse_policy, policies)),
        namespace_labels={},
        gaps=gaps,
        dialects=values["dialects"],
    )
    subjects = Subjects(
        pods=values.get("pods", (X, Y)),
        others=values.get("others", ()),
        gaps=unread,
        pods_read=values.get("pods_read", True),
    )
    return judge_coverage(CoverageCheck(part=part, namespace="a"), reading, subjects)


def test_a_policy_with_a_typing_error_is_named_with_its_selector():
    assert judge(Part.SELECT, DENY).verdict is HOLDS
    found = judge(Part.SELECT, DENY, TYPO)
    assert found.verdict is VIOLATED
    assert "NetworkPolicy a/typo selects no pod" in found.headline
    assert "app=xx" in found.headline
    assert found.remedy


def test_a_workload_without_pods_is_selected_by_its_template():
    assert judge(Part.SELECT, TYPO, others=(pod("xx"),)).verdict is HOLDS


@pytest.mark.parametrize(
    ("policies", "changes", "reason"),
    [
        ((TYPO,), {"unread": ("jobs could not be read",)}, "not-readable"),
        ((DENY,), {"gaps": ("policies could not be read",)}, "not-readable"),
        ((ODD,), {}, "not-evaluated"),
        ((CNP,), {"dialects": tuple(Dialect)}, "not-evaluated"),
        ((DENY,), {"pods_read": False, "unread": ("pods could not be read",)}, "not-readable"),
    ],
)
def test_what_cannot_be_known_is_inconclusive(policies, changes, reason):
    found = judge(Part.SELECT, *policies, **changes)
    assert (found.verdict, found.reason) == (INCONCLUSIVE, reason)


def test_a_namespace_without_policies():
    assert judge(Part.SELECT).verdict is Verdict.NOT_APPLICABLE
    found = judge(Part.COVER)
    assert found.verdict is VIOLATED
    assert "2 of 2 pods are isolated by no policy (all pods of the namespace)" in found.headline
    assert judge(Part.COVER, DENY).verdict is HOLDS
    assert judge(Part.COVER, pods=()).verdict is Verdict.NOT_APPLICABLE


def test_one_pod_without_a_policy_is_named():
    policy = network_policy(podSelector={"matchLabels": {"app": "x"}})
    found = judge(Part.COVER, policy)
    assert found.verdict is VIOLATED
    assert "1 of 2 pods are isolated by no policy: a/y" in found.headline


@pytest.mark.parametrize(
    ("policies", "changes", "reason"),
    [
        ((), {"gaps": ("policies could not be read",)}, "not-readable"),
        ((ODD,), {}, "not-evaluated"),
        ((CNP,), {"dialects": tuple(Dialect)}, "not-evaluated"),
        ((DENY,), {"pods_read": False, "unread": ("pods could not be read",)}, "not-readable"),
    ],
)
def test_cover_that_cannot_be_known_is_inconclusive(policies, changes, reason):
    found = judge(Part.COVER, *policies, **changes)
    assert (found.verdict, found.reason) == (INCONCLUSIVE, reason)


def test_a_gap_does_not_matter_where_what_was_read_covers_everything():
    assert judge(Part.COVER, DENY, gaps=("policies could not be read",)).verdict is HOLDS


def test_policies_of_cilium_cover_nobody_where_it_does_not_run():
    assert judge(Part.COVER, CNP, dialects=(Dialect.LETTER,)).verdict is VIOLATED
    assert judge(Part.SELECT, CNP, dialects=(Dialect.LETTER,)).verdict is VIOLATED
