"""What is declared against what is observed: the two findings, and nothing where it is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.explanation import BY_NOTHING, NOT_ENFORCED, Explanation, explain
from pytest_zerotrust.core.policy import Dialect
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from tests.policies import CILIUM, LETTER, cilium_policy, decision, network_policy

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
DENY = network_policy("deny", podSelector={}, policyTypes=["Ingress"])
ODD = network_policy("odd", podSelector={"matchSomething": {}})
CNP = cilium_policy("c", endpointSelector={}, ingress=[{}])


def explained(
    verdict: Verdict,
    expected: Expected,
    *policies: Any,
    gaps: tuple[str, ...] = (),
    dialects: tuple[Dialect, ...] = (CILIUM,),
) -> Result:
    result = Result(control="c", subject="s", verdict=verdict, headline="x -> y was seen")
    found = Explanation(decisions={d: decision(*policies, dialect=d) for d in dialects}, gaps=gaps)
    return explain(result, expected, found)


def test_a_leak_that_a_policy_denies_is_declared_but_not_enforced():
    found = explained(VIOLATED, Expected.DENIED, DENY)
    assert found.verdict is VIOLATED
    assert found.headline == (
        "x -> y was seen: declared but not enforced, NetworkPolicy a/deny denies it"
    )
    assert found.evidence["policies"]["finding"] == NOT_ENFORCED
    assert "finding: declared but not enforced" in found.objects


def test_a_leak_that_nothing_denies_is_just_that():
    found = explained(VIOLATED, Expected.DENIED)
    assert (found.verdict, found.headline) == (VIOLATED, "x -> y was seen")
    assert "ingress: allowed, isolated by no policy" in found.objects


def test_a_denial_that_a_policy_explains_holds():
    found = explained(HOLDS, Expected.DENIED, DENY)
    assert found.verdict is HOLDS
    assert "policies imply: denied" in found.objects


def test_a_denial_by_nothing_that_is_declared_is_inconclusive():
    found = explained(HOLDS, Expected.DENIED)
    assert (found.verdict, found.reason) == (INCONCLUSIVE, BY_NOTHING)
    assert "by nothing that is declared" in found.headline


def test_an_allowed_flow_that_nothing_declared_denies_stays_violated_and_says_so():
    found = explained(VIOLATED, Expected.ALLOWED)
    assert (found.verdict, found.reason) == (VIOLATED, "")
    assert found.headline.endswith("and no declared policy denies it")
    assert explained(VIOLATED, Expected.ALLOWED, DENY).headline == "x -> y was seen"


def test_an_allowed_flow_that_works_although_a_policy_denies_it_holds_with_the_finding():
    found = explained(HOLDS, Expected.ALLOWED, DENY)
    assert (found.verdict, found.headline) == (HOLDS, "x -> y was seen")
    assert found.evidence["policies"]["finding"] == NOT_ENFORCED


@pytest.mark.parametrize("expected", list(Expected))
@pytest.mark.parametrize("verdict", [HOLDS, VIOLATED, INCONCLUSIVE])
@pytest.mark.parametrize(
    ("policies", "changes"),
    [
        ((), {"gaps": ("one could not be read",)}),
        ((DENY,), {"gaps": ("one could not be read",)}),
        ((ODD,), {}),
        ((), {"dialects": ()}),
        ((CNP,), {"dialects": (CILIUM, LETTER)}),
    ],
)
def test_without_a_complete_explanation_no_verdict_and_no_headline_changes(
    verdict, expected, policies, changes
):
    found = explained(verdict, expected, *policies, **changes)
    assert (found.verdict, found.headline, found.reason) == (verdict, "x -> y was seen", "")
    assert found.evidence["policies"]["finding"] == ""
    assert not found.evidence["policies"]["complete"]


@pytest.mark.parametrize("expected", list(Expected))
def test_what_is_inconclusive_stays_so(expected):
    for policies in ((), (DENY,)):
        found = explained(INCONCLUSIVE, expected, *policies)
        assert (found.verdict, found.headline) == (INCONCLUSIVE, "x -> y was seen")
