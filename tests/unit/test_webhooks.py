"""What a webhook's registration lets through, told from the object alone."""

from __future__ import annotations

import copy

import pytest

from pytest_zerotrust.core.webhooks import exemptions, weaknesses

GOOD = {
    "name": "w",
    "failurePolicy": "Fail",
    "rules": [
        {
            "apiGroups": [""],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["pods", "pods/ephemeralcontainers"],
        }
    ],
}


def changed(**rule: object) -> dict[str, object]:
    made = copy.deepcopy(GOOD)
    made["rules"][0] |= rule  # type: ignore[index,operator]
    return made


def test_what_fails_closed_and_sees_every_way_has_no_weakness():
    assert weaknesses(GOOD) == ()
    assert weaknesses(changed(resources=["*/*"], apiGroups=["*"], operations=["*"])) == ()
    assert weaknesses({**GOOD, "objectSelector": {}, "namespaceSelector": {}}) == ()


@pytest.mark.parametrize(
    ("webhook", "words"),
    [
        ({**GOOD, "failurePolicy": "Ignore", "timeoutSeconds": 7}, "within 7 s"),
        (changed(resources=["*"]), "UPDATE of pods/ephemeralcontainers"),
        (changed(resources=["pods"]), "UPDATE of pods/ephemeralcontainers"),
        (changed(resources=["pods/*"]), "CREATE of pods"),
        (changed(operations=["CREATE"]), "UPDATE of pods"),
        (changed(apiGroups=["apps"]), "CREATE of pods"),
        (changed(scope="Cluster"), "CREATE of pods"),
        (changed(apiVersions=["v2"]), "CREATE of pods"),
        (changed(resourceNames=["one"]), "CREATE of pods"),
        ({**GOOD, "rules": []}, "CREATE of pods"),
        ({"name": "w"}, "CREATE of pods"),
        ({**GOOD, "objectSelector": {"matchLabels": {"a": "b"}}}, "objectSelector"),
    ],
)
def test_each_weakness_is_named(webhook, words):
    found = weaknesses(webhook)
    assert words in "; ".join(weakness.text for weakness in found)
    assert all(weakness.remedy for weakness in found)


def test_exemptions_are_told():
    terms = [{"key": "name", "operator": "NotIn", "values": ["kube-system"]}]
    webhook = {
        "namespaceSelector": {"matchExpressions": terms, "matchLabels": {"a": "b"}},
        "matchConditions": [{"name": "n", "expression": "e"}],
    }
    assert len(exemptions(webhook)) == 3
    assert exemptions(GOOD) == ()
