"""Which flows a matrix asks: none of them may be left out without a word."""

from __future__ import annotations

import pytest

from pytest_zerotrust.core.intent import Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.network.matrix import Answer, Reach, questions

INTENT = intent_from_text(
    """
version: 1
workloads:
  front: {namespace: web, labels: {app: front}, ports: [8080]}
  batch: {namespace: web, labels: {app: batch}}
""",
    "zero.yaml",
)
DECLARED = list(INTENT.workloads.values())
UNKNOWN = Workload(key="web/app=other", namespace="web", labels={"app": "other"})


def test_a_workload_of_which_no_port_is_known_is_not_passed_over():
    with pytest.raises(Inconclusive, match="no port is known of web/app=other"):
        questions(INTENT, [*DECLARED, UNKNOWN], None)


def test_with_a_port_everybody_is_asked():
    asked = questions(INTENT, [*DECLARED, UNKNOWN], Port(8080))
    assert len(asked) == 3 * 2


def test_a_declared_workload_without_ports_is_a_client_only():
    asked = questions(INTENT, DECLARED, None)
    assert [(source.key, target.key) for source, target, _ in asked] == [("batch", "front")]


def test_an_allowed_flow_that_no_policy_denies_is_not_called_denied():
    def answer(finding: str) -> Answer:
        return Answer(
            source="a",
            target="b",
            port=Port(8080),
            expected=Expected.ALLOWED,
            result=Result(
                control="custom",
                subject="a->b",
                verdict=Verdict.VIOLATED,
                headline="DENIED",
                evidence={"held": ["dropped"], "policies": {"finding": finding}},
            ),
            on_read=lambda answer: None,
        )

    assert answer("").reach is Reach.DENIED
    outage = answer("denied-by-nothing-declared")
    assert outage.reach is Reach.UNCLEAR
    with pytest.raises(Inconclusive):
        _ = outage.reached
