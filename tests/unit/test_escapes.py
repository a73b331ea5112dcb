"""What lets a pod or a namespace keep itself from a policy's sight."""

from __future__ import annotations

import pytest

from pytest_zerotrust.core.escapes import (
    NAMESPACE_NAME,
    Switch,
    of_conditions,
    of_object_selector,
    switches,
)


def condition(expression: str) -> list[dict[str, str]]:
    return [{"name": "some", "expression": expression}]


@pytest.mark.parametrize(
    ("expression", "read"),
    [
        ("!has(object.metadata.labels) || !('skip' in object.metadata.labels)", "labels"),
        ("object.metadata.?labels[?'skip'].orValue('') != 'yes'", "metadata.labels"),
        ('object["metadata"]["labels"]["skip"] != "yes"', "object.metadata.labels"),
        ("request['name'] != 'debug'", "request.name"),
        ("object.metadata.annotations['a'] == 'b'", "object.metadata.annotations"),
        ("!object.metadata.name.startsWith('debug-')", "object.metadata.name"),
        ("!request.name.startsWith('debug-')", "request.name"),
        ("oldObject == null || oldObject.metadata.labels.size() > 0", "oldObject.metadata.labels"),
        ("!has( object . metadata . ownerReferences )", "object.metadata.ownerReferences"),
        ("object.metadata.namespaced == ''", "object.metadata.namespaced"),
        ("[object].all(o, has(o.metadata.labels))", "object"),
    ],
)
def test_what_the_maker_of_a_pod_chooses_is_an_escape(expression, read):
    (weakness,) = of_conditions(condition(expression)).weaknesses
    assert "its match condition some reads" in weakness.text
    assert read in weakness.text
    assert "request.userInfo" in weakness.remedy


@pytest.mark.parametrize(
    "expression",
    [
        "!('system:nodes' in request.userInfo.groups)",
        "request.namespace != 'kube-system'",
        "object.metadata.namespace != 'kube-system' && object.kind == 'Pod'",
        "request.userInfo.username != 'object.metadata.labels'",
        "'it\\'s object.metadata.name' != r'object.x\\'",
        "true // object.metadata.labels",
        "object == null || oldObject != null",
        "request.operation != 'UPDATE' || object.spec != oldObject.spec",
        "authorizer.group('').resource('pods').check('create').allowed()",
        "my_object.metadata.name == 'x' && other.object.metadata == 1",
    ],
)
def test_what_nobody_chooses_freely_is_none(expression):
    found = of_conditions(condition(expression))
    assert found.weaknesses == ()
    assert found.unclear == ()


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.containers.exists(c, c.name == 'app')",
        "namespaceObject.metadata.labels['a'] == 'b'",
        "object.spec.x != oldObject.spec.x",
    ],
)
def test_what_cannot_be_told_without_the_rules_is_in_doubt(expression):
    found = of_conditions(condition(expression))
    assert found.weaknesses == ()
    assert len(found.unclear) == 1


def test_an_object_selector_is_named_with_its_labels():
    terms = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}
    (weakness,) = of_object_selector(terms)
    assert weakness.text.endswith("by the label a, c")
    assert list(of_object_selector({})) == list(of_object_selector(None)) == []


def test_a_namespace_selector_is_switched_off_by_what_makes_a_term_false():
    terms = [
        {"key": "off", "operator": "DoesNotExist"},
        {"key": "mode", "operator": "NotIn", "values": ["none", "audit"]},
        {"key": "on", "operator": "In", "values": ["yes"]},
        {"key": "there", "operator": "Exists"},
        {"key": NAMESPACE_NAME, "operator": "NotIn", "values": ["kube-system"]},
    ]
    found = switches({"matchLabels": {"a": "b"}, "matchExpressions": terms})
    assert found == (
        Switch("a", None),
        Switch("off", "yes"),
        Switch("mode", "none"),
        Switch("on", None),
        Switch("there", None),
    )
    assert switches(None) == ()
