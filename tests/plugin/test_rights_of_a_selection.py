"""A run needs the rights of the tests that were selected, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.plugin.conftest import ADMISSION, HASTE, NETWORK, Project, paragraph, text_of

BOTH = NETWORK + "admission: {registries: [registry.company.com/], engine: gatekeeper}\n"


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(BOTH)
    project.write("conftest.py", HASTE)
    return project


def rights(file: Path) -> dict[str, set[str]]:
    """What the Roles of a file allow, by namespace: verb and resource."""
    found: dict[str, set[str]] = {}
    for document in yaml.safe_load_all(file.read_text()):
        name = document["metadata"].get("name", "")
        if document["kind"] in ("Role", "ClusterRole") and not name.endswith("explaining"):
            namespace = document["metadata"].get("namespace", "")
            for rule in document["rules"]:
                words = {f"{v} {r}" for v in rule["verbs"] for r in rule["resources"]}
                found.setdefault(namespace, set()).update(words)
    return found


def written(suite: Project, *words: str) -> dict[str, set[str]]:
    result = suite.run("--zt-conformance", "--zt-rbac-file=rights.yaml", *words)
    assert result.ret == 0, text_of(result)
    assert "are in rights.yaml" in text_of(result)
    assert suite.api.seen == []
    return rights(suite.path / "rights.yaml")


def test_dry_runs_need_no_probe_pods(suite: Project):
    found = written(suite, "-k", "ZT-ADM-001")
    assert "create pods/exec" not in {word for words in found.values() for word in words}
    assert "create pods" in found["web"]


def test_flows_within_a_namespace_need_nothing_in_another(suite: Project):
    found = written(suite, "-k", "ZT-NET-002")
    assert "create pods/exec" in found["web"]
    assert found["data"] == {"list pods", "get services"}


def test_without_a_selection_it_is_what_zt_rbac_prints(suite: Project):
    written(suite)
    printed = suite.run("--zt-rbac")
    assert printed.stdout.str().strip() == (suite.path / "rights.yaml").read_text().strip()


def test_a_file_that_is_there_is_not_written_over(suite: Project):
    suite.write("rights.yaml", "mine")
    result = suite.run("--zt-conformance", "--zt-rbac-file=rights.yaml")
    assert result.ret == 4
    assert "rights.yaml" in paragraph(result)
    assert (suite.path / "rights.yaml").read_text() == "mine"


def nothing_in_data(attributes: Any) -> bool:
    """Whether a right is refused: all in the namespace data but looking at what runs there."""
    looks = attributes.get("verb") in ("list", "get") and attributes.get("resource") in (
        "pods",
        "services",
    )
    return attributes.get("namespace") == "data" and not looks


def test_a_run_with_the_rights_of_its_selection_passes_and_another_does_not(suite: Project):
    suite.api.cluster.denied = nothing_in_data
    result = suite.verify("--zt-conformance", "-k", "ZT-NET-002")
    assert result.ret == 0, text_of(result)
    deleted = {path for method, path in suite.api.seen if method == "DELETE"}
    assert deleted
    assert not [path for path in deleted if "/namespaces/data/" in path]
    assert suite.api.cluster.made_by_runs() == []
    for words in (("-k", "ZT-NET-001"), ("-k", "ZT-NET-002", "-n2"), ()):
        suite.api.seen.clear()
        result = suite.verify("--zt-conformance", *words)
        assert result.ret == 4, text_of(result)
        assert "in namespace data" in paragraph(result)
        assert suite.made() == []


def test_a_right_that_is_missing_is_named_before_anything_is_made(project: Project):
    project.intent(ADMISSION)
    project.api.cluster.denied = lambda a: a.get("verb") == "create" and a.get("resource") == "pods"
    result = project.verify("--zt-conformance", "-k", "ZT-ADM-001")
    assert result.ret == 4
    assert "create pods" in paragraph(result)
    assert project.made() == []
