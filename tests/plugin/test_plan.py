"""``--zt-plan`` tells beforehand what a run then does, and does nothing itself."""

from __future__ import annotations

import re

import pytest

from tests.plugin.conftest import HASTE, NETWORK, Project, text_of


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(NETWORK + "admission: {registries: [registry.company.com/]}\n")
    project.write("conftest.py", HASTE)
    return project


def without_run(name: str) -> str:
    return re.sub(r"^zt-[a-z0-9]{8}-", "", name)


@pytest.mark.parametrize("chosen", ["ZT-NET", "ZT-NET-002", "ZT-NET-000", "ZT-ADM"])
def test_the_pods_of_a_plan_are_those_of_the_run_and_nothing_is_made_before(
    suite: Project, chosen: str
):
    plan = suite.verify("--zt-conformance", "--zt-plan", "-k", chosen)
    assert plan.ret == 0
    assert suite.made() == []
    assert not [path for method, path in suite.api.seen if method in ("DELETE", "PATCH", "PUT")]
    assert not [path for _, path in suite.api.seen if path.endswith("/exec")]
    assert " passed" not in text_of(plan)
    planned = re.findall(r"^create Pod [^/]+/(\S+):", text_of(plan), re.MULTILINE)
    suite.verify("--zt-conformance", "-k", chosen, "--zt-keep=always")
    made = [
        name
        for (_, resource), pods in suite.api.cluster.objects.items()
        for name, pod in pods.items()
        if resource == "pods" and "zerotrust.dev/run" in pod["metadata"]["labels"]
    ]
    assert made
    assert sorted(map(without_run, planned)) == sorted(map(without_run, made))


def test_a_plan_tells_targets_services_rights_and_what_counts_pods(suite: Project):
    budget = {
        "metadata": {"name": "two"},
        "spec": {"selector": {"matchLabels": {"app": "payments"}}},
    }
    suite.api.fail(
        "GET", "/web/poddisruptionbudgets", status=200, body={"items": [budget]}, times=None
    )
    plan = suite.verify("--zt-conformance", "--zt-plan", "-k", "ZT-NET-003 and gateway")
    text = text_of(plan)
    assert "plan for 3 checks; nothing is created" in text
    assert "target ZT-NET-003-gateway->payments:8080/tcp-pod-ip" in text
    assert "create Service in web before web/zt-" in text
    assert "create NetworkPolicy in zerotrust-probes" in text
    assert re.search(r"^counts: PodDisruptionBudget web/two selects web/zt-\S+payments", text, re.M)
    assert "permission create pods in namespace web" in text
    assert "permission create pods in namespace data" not in text


def test_a_plan_without_a_cluster_is_refused(suite: Project):
    result = suite.run("--zt-conformance", "--zt-plan")
    assert result.ret == 4
    assert "no cluster was named" in text_of(result)
