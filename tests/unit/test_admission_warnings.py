"""Whose warning it is, is told by its shape; what no policy says is no policy's warning."""

from __future__ import annotations

import pytest

from pytest_zerotrust.core.admission import Answer, Attribution, PairFacts, attribute, judge_pair
from pytest_zerotrust.core.admission_warnings import read_warnings
from pytest_zerotrust.core.verdict import Verdict

ENGINES = [
    ('would violate PodSecurity "{0}:v1.31": whatever (it says)', "pod-security", ("{0}:v1.31",)),
    ("[{0}] in words of its own", "gatekeeper", ("{0}",)),
    (
        "Validation failed for ValidatingAdmissionPolicy '{0}' with binding 'at-{0}': so it is",
        "validating-admission-policy",
        ("{0}", "at-{0}"),
    ),
    ("policy {0}.some-rule: so it is", "kyverno", ("{0}.some-rule",)),
    ("Policy {0} failed: so it is", "kyverno", ("{0}",)),
]


@pytest.mark.parametrize("name", ["restricted", "no-priv", "k8s.io-x", "a"])
@pytest.mark.parametrize(("text", "engine", "policies"), ENGINES)
def test_the_warning_of_a_policy_names_engine_and_policy(text, engine, policies, name):
    (found,) = read_warnings([text.format(name)])
    assert (found.engine, found.policies) == (engine, tuple(p.format(name) for p in policies))


@pytest.mark.parametrize("text", [
    'unknown field "spec.hostPid"', "v1 X is deprecated in v1.19+", "", "[]", "[ x] y",
    "a [no-priv] in the middle", 'it would violate PodSecurity "x": y', "policy", "\x00",
])  # fmt: skip
def test_other_warnings_are_no_policys(text):
    assert read_warnings([text]) == ()


def test_a_pod_that_is_admitted_with_a_warning_of_its_own_is_a_violation_that_says_so():
    told = ("[no-priv] x", "deprecated", "[other] y")
    facts = PairFacts(
        good=Attribution(answer=Answer.ADMITTED, warnings=("[other] y",)),
        bad=Attribution(answer=Answer.ADMITTED, warnings=told),
    )
    conclusion = judge_pair(facts)
    assert conclusion.verdict is Verdict.VIOLATED
    text = "was ADMITTED with a warning by gatekeeper [no-priv], expected REJECTED"
    assert conclusion.text == text


@pytest.mark.parametrize("text", [
    "failed to configure policy: x", "failed to configure binding: x",
    "expression 'object.spec.x.y' resulted in error: no such key: x",
    "validation failed due to running out of cost budget, no further validation rules will be run",
])  # fmt: skip
def test_a_policy_that_could_not_be_evaluated_has_judged_nothing(text):
    said = "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'P' with binding 'B' denied request"
    found = attribute(422, {"message": f"{said}: {text}"})
    assert found.answer is Answer.POLICY_ERROR
    assert found.policies == ("P", "B")
    assert not found.refused_by_policy
    quoted = attribute(422, {"message": f"{said}: an image from {text}"})
    assert quoted.answer is Answer.VALIDATING_ADMISSION_POLICY


def test_what_the_status_object_says_besides_is_kept():
    body = {
        "reason": "Invalid",
        "message": 'Pod "p" is invalid: spec.x: Required value',
        "details": {"causes": [{"field": "spec.x", "message": "Required value"}, {"message": "y"}]},
    }
    found = attribute(422, body)
    assert (found.answer, found.reason) == (Answer.INVALID, "Invalid")
    assert found.causes == ("spec.x: Required value", "y")
    assert attribute(201, {"reason": "a pod's own", "details": {"causes": [{}]}}).causes == ()


@pytest.mark.parametrize("details", [None, 7, [], {"causes": None}, {"causes": [7, None]}])
def test_odd_details_are_read_without_a_crash(details):
    assert attribute(422, {"message": "x", "details": details}).causes == ()


def test_a_webhook_that_did_not_answer_is_named():
    said = 'Internal error occurred: failed calling webhook "w.example.com": failed to call webhook'
    found = attribute(500, {"message": said})
    assert (found.answer, found.webhook) == (Answer.WEBHOOK_UNAVAILABLE, "w.example.com")


def test_a_request_that_ran_out_of_time_is_no_policy():
    assert attribute(504, {"message": "Timeout: request did not complete"}).answer is Answer.TIMEOUT


def test_the_policy_under_test_must_be_the_one_that_answers():
    good = Attribution(answer=Answer.ADMITTED)
    bad = Attribution(answer=Answer.GATEKEEPER, policies=("a", "b"))
    assert judge_pair(PairFacts(good=good, bad=bad, policy="b")).verdict is Verdict.HOLDS
    other = judge_pair(PairFacts(good=good, bad=bad, policy="c"))
    assert (other.verdict, other.reason) == (Verdict.INCONCLUSIVE, "masked")
