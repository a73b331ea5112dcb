"""What the server made of an object is told from what it only added by default."""

from __future__ import annotations

import copy

import pytest

from pytest_zerotrust.core.admission_diff import ABSENT, changes, counterpart, dotted, taken_out

SENT = {
    "spec": {
        "containers": [
            {"name": "a", "image": "one", "securityContext": {"privileged": True}},
            {"name": "b", "image": "two"},
        ],
        "args": ["x", "y"],
    }
}
PRIVILEGED = ("spec", "containers", 0, "securityContext", "privileged")


def test_what_comes_back_as_it_was_sent_has_no_changes_whatever_was_added():
    back = copy.deepcopy(SENT)
    back["status"] = {}
    back["spec"]["containers"].insert(0, {"name": "proxy", "image": "injected"})
    back["spec"]["containers"][1]["terminationMessagePath"] = "/dev/termination-log"
    assert changes(SENT, back) == ()
    assert taken_out(SENT, back, PRIVILEGED) == ()


def test_what_came_back_otherwise_is_named_with_both_values():
    back = copy.deepcopy(SENT)
    back["spec"]["containers"][0]["image"] = "mirror/one"
    del back["spec"]["containers"][0]["securityContext"]
    back["spec"]["args"] = ["x"]
    assert [str(change) for change in changes(SENT, back)] == [
        "spec.containers[0].image: sent 'one', returned 'mirror/one'",
        "spec.containers[0].securityContext.privileged: sent True, returned unset",
        "spec.args[1]: sent 'y', returned unset",
    ]


@pytest.mark.parametrize("back", [{}, None, [], "text", {"spec": None}, {"message": "<html>"}])
def test_an_answer_that_is_no_such_object_lacks_everything(back):
    assert counterpart(SENT, back, PRIVILEGED) is ABSENT
    assert [change.returned for change in taken_out(SENT, back, PRIVILEGED)] == [ABSENT]


def test_false_is_not_zero_and_one_is_not_true():
    assert changes({"a": False}, {"a": 0})
    assert changes({"a": True}, {"a": 1})
    assert changes({"a": 0}, {"a": 0}) == ()


def test_a_field_that_was_left_out_is_changed_by_what_stands_there_now():
    path = ("spec", "securityContext", "seccompProfile")
    assert taken_out(SENT, SENT, path) == ()
    back = copy.deepcopy(SENT) | {}
    back["spec"]["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    (change,) = taken_out(SENT, back, path)
    assert (change.sent, change.returned) == (ABSENT, {"type": "RuntimeDefault"})


def test_a_copy_of_absent_is_absent():
    assert copy.deepcopy({"x": ABSENT})["x"] is ABSENT


def test_paths_are_written_as_people_write_them():
    assert dotted(PRIVILEGED) == "spec.containers[0].securityContext.privileged"
