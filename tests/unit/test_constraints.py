"""What a constraint of Gatekeeper does not look at."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.constraints import (
    Constraint,
    constraint_weaknesses,
    left_out,
    left_out_by_config,
    unclear,
)


def constraint(match: dict[str, Any] | None = None, **spec: Any) -> Constraint:
    return Constraint(name="c", kind="K", plural="k", spec={"match": match or {}, **spec})


KINDS = [{"apiGroups": [""], "kinds": ["Pod"]}]
SELECTOR = {"matchExpressions": [{"key": "debug", "operator": "DoesNotExist"}]}
ELSEWHERE = [{"action": "deny", "enforcementPoints": [{"name": "audit.gatekeeper.sh"}]}]
HERE = [{"action": "deny", "enforcementPoints": [{"name": "validation.gatekeeper.sh"}]}]
EVERYWHERE = [{"action": "deny", "enforcementPoints": [{"name": "*"}]}]


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"kinds": KINDS, "scope": "Namespaced", "excludedNamespaces": ["kube-system"]},
        {"namespaces": ["web"], "source": "Original", "name": "*", "labelSelector": {}},
    ],
)
def test_what_lets_no_pod_of_the_namespace_by_is_no_weakness(match):
    item = constraint(match)
    assert not constraint_weaknesses(item)
    assert not item.is_narrow


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({"labelSelector": SELECTOR}, "by the label debug"),
        ({"labelSelector": {"matchLabels": {"a": "b"}}}, "by the label a"),
        ({"name": "app-*"}, "only at objects named app-*"),
    ],
)
def test_what_the_maker_of_a_pod_chooses_is_one(match, words):
    (weakness,) = constraint_weaknesses(constraint(match))
    assert words in weakness.text
    assert weakness.text.startswith("constraint K c")
    assert weakness.remedy
    assert constraint(match).is_narrow


def test_labels_of_the_namespace_are_switches():
    item = constraint({"namespaceSelector": SELECTOR})
    assert [str(switch) for switch in item.switches] == ["label debug"]
    assert item.is_narrow


def test_namespaces_are_told():
    item = constraint(
        {"namespaces": ["web-*"], "excludedNamespaces": ["kube-*"], "source": "Generated",
         "namespaceSelector": SELECTOR | {"matchLabels": {"a": "b"}}}
    )  # fmt: skip
    assert left_out(item) == (
        "constraint K c looks at only namespaces web-*",
        "constraint K c looks at no namespaces kube-*",
        "constraint K c looks at only namespaces with debug DoesNotExist",
        "constraint K c looks at only namespaces with a=b",
        "constraint K c looks at only objects of source Generated",
    )


@pytest.mark.parametrize(
    ("spec", "clear"),
    [
        ({}, True),
        ({"enforcementAction": "deny"}, True),
        ({"enforcementAction": "warn"}, False),
        ({"enforcementAction": "dryrun"}, False),
        ({"enforcementAction": "scoped"}, False),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": ELSEWHERE}, False),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": HERE}, True),
        ({"enforcementAction": "scoped", "scopedEnforcementActions": EVERYWHERE}, True),
    ],
)
def test_an_action_that_does_not_reject_does_not_go_with_a_rejection(spec, clear):
    assert (not unclear(constraint(**spec))) is clear


def test_the_config_exempts_namespaces_from_the_webhook():
    spec = {
        "match": [
            {"processes": ["webhook"], "excludedNamespaces": ["a", "b-*"]},
            {"processes": ["audit"], "excludedNamespaces": ["c"]},
            {"processes": ["*"], "excludedNamespaces": ["d"]},
        ]
    }
    assert left_out_by_config(spec) == (
        "Gatekeeper's Config looks at no namespaces a, b-*",
        "Gatekeeper's Config looks at no namespaces d",
    )
    assert left_out_by_config({}) == ()
