"""Snippets that need no cluster: intent files, YAML, commands, and test modules as far as pytest
collects them. What they do in a cluster is tested in ``test_docs_live``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.intent import load_intent
from pytest_zerotrust.intent.load import intent_from_text
from tests.docs.pages import ROOT, Snippet, snippets
from tests.docs.shell import commands, problems, pytest_run


def each(*kinds: str) -> pytest.MarkDecorator:
    """Run a test for each snippet of these kinds; there must be one."""
    found = snippets(*kinds)
    assert found, f"no page has a snippet {kinds}"
    return pytest.mark.parametrize("snippet", found, ids=[snippet.id for snippet in found])


@each("yaml intent")
def test_an_intent_snippet_is_a_whole_intent_file(snippet: Snippet):
    intent = intent_from_text(snippet.text, snippet.id)
    assert isinstance(intent, Intent)
    assert intent.workloads


@each("yaml intent part")
def test_a_part_of_an_intent_stands_in_the_shipped_file(snippet: Snippet):
    assert snippet.text in (ROOT / "zerotrust.yaml").read_text("utf-8")


def test_what_the_tutorial_says_about_the_shipped_intent_is_so():
    intent = load_intent(ROOT / "zerotrust.yaml")
    assert len(intent.workloads) == 10
    assert len(intent.flows) == 4


def _scripts(node: object) -> list[str]:
    """Every command in a pipeline's file: the values of script keys and of run."""
    found: list[str] = []
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("script", "before_script"):
                found += value
            elif key == "run":
                found.append(value)
            else:
                found += _scripts(value)
    elif isinstance(node, list):
        for item in node:
            found += _scripts(item)
    return found


@each("yaml gitlab")
def test_a_gitlab_snippet_is_a_job_that_keeps_its_reports(snippet: Snippet):
    (job,) = yaml.safe_load(snippet.text).values()
    assert set(job) <= {"image", "stage", "before_script", "script", "artifacts"}
    junit = job["artifacts"]["reports"]["junit"]
    assert job["artifacts"]["when"] == "always"
    assert any(f"--junit-xml={junit}" in line for line in job["script"])


@each("yaml github")
def test_a_github_snippet_is_a_workflow(snippet: Snippet):
    workflow = yaml.safe_load(snippet.text)
    # YAML 1.1 takes the key 'on' for a truth value.
    assert set(workflow) == {"name", True, "permissions", "jobs"}
    for job in workflow["jobs"].values():
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


@each("yaml gitlab", "yaml github")
def test_commands_of_a_pipeline_can_be_typed(snippet: Snippet):
    scripts = _scripts(yaml.safe_load(snippet.text))
    assert any("pytest --" in script for script in scripts)
    for script in scripts:
        for line in script.splitlines():
            if line.startswith(("pytest", "pip")):
                assert [p for words in commands(line) for p in problems(words)] == []


@each("shell")
def test_commands_can_be_typed(snippet: Snippet):
    found = commands(snippet.text)
    assert found
    assert [p for words in found for p in problems(words)] == []


@each("shell")
def test_paths_in_commands_exist_in_the_checkout(snippet: Snippet):
    for words in commands(snippet.text):
        for word in words[1:]:
            if re.match(r"(ci|tests|probes|docs)/", word):
                assert (ROOT / word).exists(), word


@each("python test", "python test open")
def test_a_test_module_compiles_and_is_collected(snippet: Snippet, tmp_path: Path):
    tree = ast.parse(snippet.text)
    assert any(isinstance(node, ast.FunctionDef) for node in tree.body)
    file = tmp_path / "test_snippet.py"
    file.write_text(snippet.text, "utf-8")
    done = pytest_run(
        "--collect-only", "-q", f"--rootdir={tmp_path}", f"--zt-intent={ROOT / 'zerotrust.yaml'}",
        str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_snippet.py::test_" in done.stdout


def test_the_first_test_of_the_readme_has_about_ten_lines():
    first = snippets("python test")[0]
    assert first.page == "README.md"
    assert len(first.text.splitlines()) <= 10


# -- harmless commands, run as they stand in the pages


def test_listing_checks_contacts_no_cluster():
    stands_in = [s for s in snippets("shell") if "--zt-conformance --collect-only -q" in s.text]
    assert stands_in
    done = pytest_run("--zt-conformance", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "597 tests collected" in done.stdout


@pytest.mark.parametrize("expression", ["ZT-NET-001", "ZT-NET-002 and batch"])
def test_a_selection_of_the_pages_selects_something(expression: str):
    assert [s for s in snippets("shell") if expression in s.text]
    done = pytest_run("--zt-conformance", "--collect-only", "-q", "-k", expression)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in expression.split(" and "):
        lines = [line for line in done.stdout.splitlines() if "::" in line]
        assert lines
        assert [line for line in lines if word not in line] == []


def test_the_printed_rbac_is_the_shipped_file():
    done = pytest_run("--zt-rbac")
    assert done.returncode == 0, done.stderr
    shipped = (ROOT / "ci" / "rbac" / "zerotrust-verifier.yaml").read_text("utf-8")
    printed = [d for d in yaml.safe_load_all(done.stdout) if d]
    assert printed == [d for d in yaml.safe_load_all(shipped) if d]


def test_what_the_page_on_privileges_says_is_what_is_printed():
    done = pytest_run("--zt-rbac")
    documents = {
        (d["kind"], d["metadata"].get("namespace", "")): d
        for d in yaml.safe_load_all(done.stdout)
        if d and not d["kind"].endswith("Binding")
        if not d["metadata"]["name"].endswith("-explaining")
    }
    explaining = [
        rule
        for d in yaml.safe_load_all(done.stdout)
        if d["metadata"]["name"] == "zerotrust-verifier-explaining"
        for rule in d.get("rules", ())
    ]
    assert explaining
    one_by_one = {"constraints.gatekeeper.sh", "config.gatekeeper.sh"}
    for rule in explaining:
        assert rule["verbs"] == (["get"] if one_by_one & set(rule["apiGroups"]) else ["list"])
    assert {kind for kind, _ in documents} == {"Namespace", "ServiceAccount", "Role", "ClusterRole"}

    def rights(namespace: str) -> dict[str, set[str]]:
        rules = documents[("Role", namespace)]["rules"]
        return {rule["resources"][0]: set(rule["verbs"]) for rule in rules}

    made = {"create", "list", "deletecollection"}
    probes = {"pods": made, "services": made | {"get"}, "pods/exec": {"create", "get"}}
    changed = {"pods": made | {"patch"}, "pods/ephemeralcontainers": {"patch"}}
    kinds = (
        "cronjobs", "daemonsets", "deployments", "jobs", "replicasets", "replicationcontrollers",
        "statefulsets",
    )  # fmt: skip
    workloads = {kind: {"create"} for kind in kinds}
    assert rights("legacy") == probes | changed
    assert rights("production") == probes | changed | workloads | {"configmaps": {"get"}}
    assert rights("zerotrust-probes") == probes | {"networkpolicies": made}
    cluster_wide = documents[("ClusterRole", "")]["rules"]
    assert {rule["resources"][0]: rule["verbs"] for rule in cluster_wide} == {
        "namespaces": ["get"],
        "validatingwebhookconfigurations": ["list"],
        "validatingadmissionpolicies": ["get"],
        "validatingadmissionpolicybindings": ["list"],
    }


def test_switching_the_plugin_off_leaves_pytest_alone(tmp_path: Path):
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass\n")
    done = pytest_run("-p", "no:zerotrust", f"--rootdir={tmp_path}", "-c", "/dev/null", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "zerotrust" not in done.stdout.replace("no:zerotrust", "").replace(str(tmp_path), "")


@each("toml pytest")
def test_a_part_of_a_configuration_is_understood(snippet: Snippet, tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(snippet.text)
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    done = pytest_run("-c", tmp_path / "pyproject.toml", tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "verify.kubeconfig: no such file" in done.stderr


def test_the_environment_chooses_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    (tmp_path / "test_own.py").write_text("def test_own(zt_network): pass\n")
    done = pytest_run("-c", "/dev/null", f"--rootdir={tmp_path}", tmp_path)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "no cluster was named" in done.stderr


def test_a_foreign_kubeconfig_option_goes_on_working(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--kubeconfig', default='theirs')\n"
    )
    (tmp_path / "test_own.py").write_text(
        "def test_own(pytestconfig):\n    assert pytestconfig.getoption('kubeconfig') == 'theirs'\n"
    )
    done = pytest_run("-c", "/dev/null", f"--rootdir={tmp_path}", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_probe_image_is_minimal_and_not_root():
    lines = (ROOT / "probes" / "Containerfile").read_text("utf-8").splitlines()
    orders = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert [word for word, _ in orders] == ["ARG", "FROM", "RUN", "USER", "ENTRYPOINT"]
    values = dict(orders)
    assert values["FROM"] == "${BASE}"
    user = values["USER"].partition(":")[0]
    assert user.isdigit()
    assert int(user) > 0
