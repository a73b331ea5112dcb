"""The checks that no pod is left out, as a run shows them."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import NETWORK, Project, paragraph, text_of

workers = pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])
CHECKS = ("--zt-conformance", "-k", "ZT-NET-008 or ZT-NET-009")


@workers
def test_where_every_pod_is_named_nothing_is_made_and_all_hold(project: Project, words):
    project.intent(NETWORK)
    result = project.verify(*CHECKS, *words)
    result.assert_outcomes(passed=5)
    assert result.ret == 0
    assert project.made() == []


@workers
def test_a_pod_that_nobody_named_is_a_violation(project: Project, words):
    project.intent(NETWORK)
    project.api.cluster.add_workload("data", "intruder", 80)
    result = project.verify(*CHECKS, *words)
    result.assert_outcomes(passed=4, failed=1)
    assert result.ret == 1
    assert "ZT-NET-008 namespace data runs what the intent does not name: Pod intruder-1" in (
        text_of(result)
    )


def test_pods_that_cannot_be_listed_are_inconclusive(project: Project):
    project.intent(NETWORK)
    project.write(
        "conftest.py",
        "import pytest_zerotrust.network.inventory as i\n"
        "from pytest_zerotrust.cluster.api import ApiUnreachable\n"
        "def broken(api, namespace):\n    raise ApiUnreachable('no answer')\n"
        "i.pods_in = broken\n",
    )
    result = project.verify(*CHECKS)
    result.assert_outcomes(failed=5)
    assert result.ret == 6
    assert "not tested: no answer" in text_of(result)


def test_an_empty_list_is_not_believed(project: Project):
    project.intent(NETWORK)
    project.write(
        "conftest.py",
        "import pytest_zerotrust.network.inventory as i\ni.pods_in = lambda api, namespace: []\n",
    )
    result = project.verify(*CHECKS)
    result.assert_outcomes(failed=5)
    assert result.ret == 6


def test_a_pod_of_two_workloads_is_told_before_anything_is_made(project: Project):
    intent = NETWORK.replace("labels: {app: gateway}", "labels: {app: gateway, a: b}").replace(
        "labels: {app: payments}", "labels: {c: d}"
    )
    project.intent(intent)
    cluster = project.api.cluster
    for name in ("gateway-1", "payments-1"):
        labels = cluster.objects[("web", "pods")][name]["metadata"]["labels"]
        labels.update({"app": "gateway", "a": "b", "c": "d"})
    result = project.verify("--zt-conformance")
    assert result.ret == 4
    assert "belongs to 2 workloads: gateway, payments" in paragraph(result)
    assert project.made() == []
