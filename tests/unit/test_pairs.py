"""A bad pod differs from its compliant twin in exactly one field, and breaks exactly one rule."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_zerotrust.admission.pairs import ELSEWHERE, LISTS, PairCheck, build_pair, value_at

REGISTRY = "registry.company.com/"
CONTROLS = ("ZT-ADM-001", "ZT-ADM-002", "ZT-ADM-003")


def pair(control: str, list_name: str):
    check = PairCheck(control=control, namespace="ns", list_name=list_name)
    return build_pair(check, "zt-run-dry", REGISTRY)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


everywhere = pytest.mark.parametrize("list_name", LISTS)
every_rule = pytest.mark.parametrize("control", CONTROLS)


@everywhere
@every_rule
def test_the_two_pods_differ_in_exactly_the_tested_field(control, list_name):
    made = pair(control, list_name)
    good, bad = dict(leaves(made.good)), dict(leaves(made.bad))
    differing = {path for path in good | bad if good.get(path) != bad.get(path)}
    assert differing == {made.path}
    assert made.path[1] == list_name


@everywhere
@every_rule
def test_the_two_pods_share_no_mutable_part(control, list_name):
    made = pair(control, list_name)
    before = copy.deepcopy(made.bad)
    for _ in leaves(made.good):
        made.good["spec"][list_name][0]["securityContext"].clear()
        made.good["metadata"]["labels"].clear()
    assert made.bad == before


@everywhere
@pytest.mark.parametrize(
    ("control", "field", "good", "bad"),
    [
        ("ZT-ADM-001", "privileged", False, True),
        ("ZT-ADM-002", "runAsNonRoot", True, False),
        ("ZT-ADM-003", "image", f"{REGISTRY}zerotrust/compliant:1", ELSEWHERE),
    ],
)
def test_each_rule_is_broken_by_its_own_field(control, field, good, bad, list_name):
    made = pair(control, list_name)
    assert made.path[-1] == field
    assert value_at(made.good, made.path) == good
    assert value_at(made.bad, made.path) == bad


def broken_rules(pod: dict[str, Any]) -> set[str]:
    """The three rules of the reference scenario, over every list of containers."""
    found = set()
    for list_name in LISTS:
        for container in pod["spec"][list_name]:
            context = container["securityContext"]
            if context.get("privileged"):
                found.add("ZT-ADM-001")
            if not context.get("runAsNonRoot", False) or context.get("runAsUser") == 0:
                found.add("ZT-ADM-002")
            if not container["image"].startswith(REGISTRY):
                found.add("ZT-ADM-003")
    return found


@everywhere
@every_rule
def test_the_good_pod_breaks_no_rule_and_the_bad_one_only_its_own(control, list_name):
    made = pair(control, list_name)
    assert broken_rules(made.good) == set()
    assert broken_rules(made.bad) == {control}


@everywhere
@every_rule
def test_neither_pod_can_ever_run_or_carries_a_token(control, list_name):
    made = pair(control, list_name)
    for pod in (made.good, made.bad):
        assert pod["spec"]["schedulingGates"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["metadata"]["namespace"] == "ns"
        assert "nodeName" not in pod["spec"]


@everywhere
def test_no_pod_is_refused_by_the_api_for_privileged_beside_no_escalation(list_name):
    made = pair("ZT-ADM-001", list_name)
    for container in made.bad["spec"][list_name]:
        assert "allowPrivilegeEscalation" not in container["securityContext"]


@everywhere
def test_a_pod_that_may_run_as_root_has_no_user_id_that_forbids_it(list_name):
    made = pair("ZT-ADM-002", list_name)
    assert "runAsUser" not in made.bad["spec"][list_name][0]["securityContext"]
    assert "runAsUser" not in made.bad["spec"]["securityContext"]


@everywhere
@every_rule
def test_the_tested_field_is_found_again_after_a_mutation_put_others_before_it(control, list_name):
    made = pair(control, list_name)
    returned = copy.deepcopy(made.bad)
    returned["spec"][list_name].insert(0, {"name": "injected", "image": "proxy", "privileged": 1})
    assert value_at(returned, made.path) == value_at(made.bad, made.path)


@everywhere
@every_rule
def test_a_field_that_a_mutation_took_out_is_found_missing(control, list_name):
    made = pair(control, list_name)
    for strip in (
        lambda pod: pod["spec"].pop(list_name),
        lambda pod: pod.pop("spec"),
        lambda pod: pod["spec"][list_name].clear(),
        lambda pod: pod["spec"][list_name][0].clear(),
    ):
        returned = copy.deepcopy(made.bad)
        strip(returned)
        assert value_at(returned, made.path) is None


@pytest.mark.parametrize("answer", [{}, None, [], "text", {"spec": None}, {"message": "<html>"}])
def test_an_answer_that_is_no_pod_has_no_such_field(answer):
    assert value_at(answer, pair("ZT-ADM-001", "containers").path) is None
