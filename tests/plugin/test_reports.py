"""What a run leaves for people and pipelines: JUnit, evidence, a table, RBAC; public names."""

from __future__ import annotations

import importlib
import json
from xml.etree import ElementTree

import pytest
import yaml

import pytest_zerotrust
from tests.fakes.cluster import nobody
from tests.plugin.conftest import ADMISSION, NETWORK, Project, paragraph, text_of


@pytest.fixture
def leaky(project: Project) -> Project:
    """A cluster that rejects nothing."""
    project.intent(ADMISSION)
    project.api.cluster.admission = nobody
    return project


def test_a_failure_says_first_what_was_expected_and_then_why_it_is_known(leaky: Project):
    result = leaky.verify("--zt-conformance", "-k", "privileged-in-containers")
    text = text_of(result)
    headline = "ZT-ADM-001 privileged in containers, namespace web was ADMITTED, expected REJECTED"
    assert "FAILED test_zt_admission.py::test_privileged_is_rejected" in text
    assert f"Violation: {headline}" in text
    for word in ("observed", "control", "remedy", "reproduce"):
        assert f"  {word:<10} " in text
    assert "facades.py" not in text


def test_junit_has_control_verdict_headline_level_and_severity(leaky: Project):
    file = leaky.path / "junit.xml"
    leaky.verify("--zt-conformance", "-k", "ZT-ADM-001 or ZT-MSH", f"--junitxml={file}")
    for case in ElementTree.parse(file).iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        control = str(properties["zt.control"])
        assert control in str(case.get("name"))
        level = {"ADM": "3", "MSH": "2"}[control[3:6]]
        assert properties["zt.level"] == level
        assert properties["zt.severity"] in ("critical", "high", "medium")
        assert str(properties["zt.headline"]).startswith(control)
        verdict = "violated" if level == "3" else "not applicable"
        assert properties["zt.verdict"] == verdict
        assert (case.find("failure") is not None) is (level == "3")
        assert (case.find("skipped") is not None) is (level == "2")


def test_the_evidence_of_every_check_is_written_as_json(leaky: Project):
    leaky.verify("--zt-conformance", "-k", "ZT-ADM-001", "--zt-artifacts=out/put")
    data = json.loads((leaky.path / "out" / "put" / "zerotrust.json").read_text())
    assert len(data["results"]) >= 2
    for result in data["results"]:
        assert result["verdict"] == "violated"
        manifest = result["evidence"]["manifest"]
        # A patch for ephemeral containers is no whole object.
        assert manifest.get("kind") == "Pod" or "ephemeralContainers" in manifest["spec"]
        assert result["control"] in result["test"]


def test_evidence_that_cannot_be_written_changes_no_verdict(leaky: Project):
    (leaky.path / "out").write_text("a file")
    result = leaky.verify("--zt-conformance", "-k", "ZT-ADM", "--zt-artifacts=out")
    assert result.ret == 1
    assert "could not be written" in text_of(result)


def test_a_green_run_without_the_evidence_that_was_asked_for_is_6(project: Project):
    project.intent(ADMISSION)
    project.write("out", "a file")
    result = project.verify("--zt-conformance", "-k", "ZT-ADM-001", "--zt-artifacts=out")
    assert result.ret == 6
    assert "could not be written" in text_of(result)


def test_the_table_counts_verdicts_by_level(leaky: Project):
    text = text_of(leaky.verify("--zt-conformance", "-k", "ZT-ADM or ZT-MSH"))
    rows = {line[0]: line.split() for line in text.splitlines() if line[:3] in ("2  ", "3  ")}
    assert rows["3"][-5:] == ["0", "55", "1", "2", "violated"]
    assert rows["2"][-6:] == ["0", "0", "0", "10", "not", "assessed"]


HOSTILE = "the server says \x1b[2J\r\x07]]>\x00\u202e&<x>"


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])
def test_words_of_strangers_cannot_write_to_the_terminal_or_break_the_files(leaky: Project, words):
    def admission(pod):
        bad = any(c["securityContext"].get("privileged") for c in pod["spec"]["containers"])
        return (500, HOSTILE) if bad else None

    leaky.api.cluster.admission = admission
    file = leaky.path / "junit.xml"
    result = leaky.verify(
        "--zt-conformance", "-k", "privileged-in-containers", f"--junitxml={file}",
        "--zt-artifacts=out", *words,
    )  # fmt: skip
    assert result.ret == 6
    text = text_of(result)
    for character in ("\x1b[2J", "\x07", "\x00", "\u202e"):
        assert character not in text
    ElementTree.parse(file)
    json.loads((leaky.path / "out" / "zerotrust.json").read_text())


def test_the_rbac_of_an_intent_is_printed_without_a_cluster(project: Project):
    project.intent(NETWORK)
    project.test("def test_a(): assert 0")
    result = project.run("--zt-rbac")
    assert result.ret == 0
    documents = list(yaml.safe_load_all(result.stdout.str()))
    kinds = [document["kind"] for document in documents]
    assert kinds[:2] == ["Namespace", "ServiceAccount"]
    assert {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} <= set(kinds)
    namespaces = {d["metadata"].get("namespace") for d in documents if d["kind"] == "Role"}
    # The last two are where the API server and the cluster's DNS are looked up.
    assert namespaces == {"web", "data", "zerotrust-probes", "default", "kube-system"}
    assert project.api.seen == []


def test_the_rbac_of_a_bad_intent_is_one_paragraph(project: Project):
    project.intent("version: 2\n")
    result = project.run("--zt-rbac")
    assert result.ret == 4
    assert "zerotrust.yaml:1:" in paragraph(result)


def test_all_public_names_are_there_and_nothing_else_is_public():
    assert pytest_zerotrust.__all__ == sorted(pytest_zerotrust.__all__, key=_order)
    assert len(set(pytest_zerotrust.__all__)) == len(pytest_zerotrust.__all__)
    for name in pytest_zerotrust.__all__:
        value = getattr(pytest_zerotrust, name)
        home = getattr(value, "__module__", "")
        if home.startswith("pytest_zerotrust"):
            assert getattr(importlib.import_module(home), name) is value
    with pytest.raises(AttributeError):
        pytest_zerotrust.nothing  # noqa: B018


def _order(name: str) -> tuple[bool, str]:
    return (not name.isupper(), name)


def test_a_star_import_gives_all_public_names(project: Project):
    project.test(
        "from pytest_zerotrust import *\n"
        "import pytest_zerotrust\n"
        "def test_a(): assert set(pytest_zerotrust.__all__) <= set(globals())"
    )
    project.run().assert_outcomes(passed=1)


def test_every_exception_of_ours_has_a_place_in_the_tree():
    z = pytest_zerotrust
    assert issubclass(z.Violation, AssertionError)
    assert not issubclass(z.Violation, z.ZeroTrustError)
    for name in ("Inconclusive", "UsageProblem"):
        assert issubclass(getattr(z, name), z.ZeroTrustError)
        assert not issubclass(getattr(z, name), AssertionError)
    for name in ("IntentProblem", "ClusterProblem", "PermissionProblem"):
        assert issubclass(getattr(z, name), z.UsageProblem)
