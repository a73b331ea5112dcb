"""``--zt-draft`` reads a cluster, makes nothing in it, and overwrites no file."""

from __future__ import annotations

from pytest_zerotrust.intent import load_intent
from pytest_zerotrust.intent.load import intent_from_text
from tests.plugin.conftest import Project, paragraph

WHERE = ("--zt-namespace=web", "--zt-namespace=data")


def test_a_draft_is_written_that_can_be_loaded_and_run(project: Project):
    result = project.verify("--zt-draft", "zerotrust.yaml", *WHERE)
    assert result.ret == 0
    assert project.made() == []
    intent = load_intent(project.path / "zerotrust.yaml")
    assert {w.namespace for w in intent.workloads.values()} == {"web", "data"}
    labels = {w.labels["app"] for w in intent.workloads.values()}
    assert labels == {"gateway", "payments", "store"}
    image = "--zt-probe-image=registry.company.com/probe:1"
    run = project.verify("--zt-conformance", "-k", "ZT-NET-008 or ZT-NET-009", image)
    run.assert_outcomes(passed=5)


def test_without_a_file_it_is_printed_and_nothing_else(project: Project):
    result = project.verify("--zt-draft", *WHERE)
    assert result.ret == 0
    assert len(intent_from_text(result.stdout.str(), "printed").workloads) == 3


def test_a_file_that_is_there_is_kept(project: Project):
    file = project.write("mine.yaml", "mine")
    result = project.verify("--zt-draft=mine.yaml", *WHERE)
    assert result.ret == 4
    assert "mine.yaml: the file is there already" in paragraph(result)
    assert file.read_text() == "mine"
    assert project.api.seen == []


def test_a_draft_needs_a_cluster_and_namespaces_that_are_there(project: Project):
    assert "--kubeconfig FILE" in paragraph(project.run("--zt-draft"))
    result = project.verify("--zt-draft", "--zt-namespace=nowhere")
    assert result.ret == 4
    assert "nowhere: the cluster has no such namespace" in paragraph(result)


def test_pods_that_may_not_be_listed_are_told(project: Project):
    project.api.fail("GET", "/pods", status=403)
    result = project.verify("--zt-draft=new.yaml", *WHERE)
    assert result.ret == 4
    assert "403" in paragraph(result)
    assert not (project.path / "new.yaml").exists()
