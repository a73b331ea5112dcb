"""Who refused a flow: drops told by Hubble, joined to what the probes saw."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_zerotrust.core.drops import Drop, DropLog, FlowKey, name_refuser
from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.verdict import Result, Verdict

KEY = FlowKey("10.0.0.1", "10.0.0.2", 8080, "TCP")
DROP = Drop(node="node-2", reason=133, direction="ingress")


def result(verdict: Verdict = Verdict.HOLDS) -> Result:
    return Result(
        control="ZT-NET-001", subject="a->b", verdict=verdict, headline="denied", objects=("Pod a",)
    )


def log(*drops: Drop, problems: tuple[str, ...] = ()) -> DropLog:
    return DropLog(drops={KEY: drops} if drops else {}, asked=True, problems=problems)


def test_the_refuser_is_named_in_words_and_as_data():
    named = name_refuser(result(), log(DROP), [KEY], [Seen.DROPPED, Seen.DROPPED])
    assert named.objects == (
        "Pod a",
        "refuser: Hubble: dropped on node-2 at ingress for POLICY_DENIED (no rule allows it)",
    )
    assert named.evidence["hubble"] == {
        "drops": [
            {"node": "node-2", "reason": "POLICY_DENIED", "direction": "ingress", "policies": []}
        ],
        "problems": [],
    }


def test_a_deny_rule_is_told_with_its_policy():
    drop = Drop(node="n", reason=181, direction="egress", policies=("NetworkPolicy shop/no",))
    assert str(drop) == (
        "dropped on n at egress for POLICY_DENY (a rule denies it) by NetworkPolicy shop/no"
    )


def test_an_unknown_reason_keeps_its_number():
    assert str(Drop(node="", reason=999)) == ("dropped on a node it does not name for reason 999")


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("drops", [(), (DROP,)])
def test_no_verdict_depends_on_it(verdict, drops):
    named = name_refuser(result(verdict), log(*drops), [KEY], [Seen.DROPPED])
    assert named.verdict is verdict
    assert named.headline == "denied"


def test_a_drop_that_hubble_does_not_show_is_said_with_what_it_missed():
    missed = log(problems=("Hubble lost 3 events during the batch",))
    named = name_refuser(result(), missed, [KEY], [Seen.DROPPED])
    assert named.objects[1:] == (
        "refuser: Hubble shows no drop of this flow",
        "note: Hubble lost 3 events during the batch",
    )


@pytest.mark.parametrize("seen", [[Seen.OPEN], [Seen.REFUSED], []])
def test_what_was_not_dropped_has_no_refuser(seen):
    assert name_refuser(result(), log(DROP), [KEY], seen) == result()


def test_nothing_is_said_in_a_run_without_hubble():
    assert name_refuser(result(), DropLog(), [KEY], [Seen.DROPPED]) == result()


def test_a_flow_through_a_service_is_found_by_the_address_behind_it():
    service = FlowKey("10.0.0.1", "10.96.0.9", 8080, "TCP")
    assert log(DROP).of([service, KEY]) == (DROP,)
    assert log(DROP, DROP).of([KEY, KEY]) == (DROP,)
    named = replace(DROP, policies=("NetworkPolicy shop/no",))
    assert log(DROP, named).of([KEY]) == (named,)
    assert log(named, DROP).of([KEY]) == (named,)
    assert log(DROP, replace(DROP, node="node-1")).of([KEY]) == (DROP, replace(DROP, node="node-1"))
    assert log(DROP).of([service]) == ()
