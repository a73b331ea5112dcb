"""Installing the plugin changes nothing in a project that does not use it."""

from __future__ import annotations

import re

import pytest

from tests.plugin.conftest import Project, text_of

HEAVY = ("kubernetes", "yaml", "requests", "jsonschema", "cryptography", "websocket", "urllib3")
LIGHT = """
import sys

def test_nothing_heavy_was_imported():
    heavy = {heavy} & set(sys.modules)
    assert not heavy, heavy

def test_little_of_ours_was_imported():
    ours = sorted(name for name in sys.modules if name.startswith("pytest_zerotrust"))
    assert ours == [
        "pytest_zerotrust",
        "pytest_zerotrust.options",
        "pytest_zerotrust.plugin",
        "pytest_zerotrust.usage",
    ], ours
"""
workers = pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])


@workers
def test_a_project_that_does_not_use_it_imports_next_to_nothing_and_sees_no_line_of_ours(
    project: Project, words
):
    project.test(LIGHT.replace("{heavy}", repr(set(HEAVY))))
    result = project.run(*words)
    result.assert_outcomes(passed=2)
    said = [line for line in text_of(result).splitlines() if "zerotrust" in line]
    assert [line for line in said if not line.startswith("plugins: ")] == []


@workers
def test_an_intent_file_in_the_rootdir_alone_asks_for_nothing(project: Project, words):
    project.intent("this: is not even an intent\n")
    project.test(LIGHT.replace("{heavy}", repr(set(HEAVY))))
    project.run(*words).assert_outcomes(passed=2)
    assert project.api.seen == []


@workers
def test_the_environment_alone_never_chooses_a_cluster(project: Project, monkeypatch, words):
    monkeypatch.setenv("KUBECONFIG", str(project.kubeconfig))
    project.test("def test_a(): pass")
    result = project.run(*words)
    assert result.ret == 0
    assert project.api.seen == []


def normal(result: pytest.RunResult) -> str:
    text = re.sub(r"in \d+\.\d+s", "in no time", result.stdout.str())
    return re.sub(r"^plugins: .*\n", "", text, flags=re.MULTILINE).replace("=", "")


TESTS = {
    "passes": ("def test_a(): pass", 0),
    "fails": ("def test_a(): assert 1 == 2", 1),
    "does not even import": ("import nobody", 2),
    "holds no tests": ("x = 1", 5),
    "skips": ("@pytest.mark.skip(reason='r')\ndef test_a(): pass", 0),
    "expects to fail": ("@pytest.mark.xfail\ndef test_a(): assert 0", 0),
    "fails to set up": ("@pytest.fixture\ndef f(): 1 / 0\ndef test_a(f): pass", 1),
    "warns": ("import warnings\ndef test_a(): warnings.warn('w')", 0),
    "is interrupted": ("def test_a(): raise KeyboardInterrupt", 2),
    "ends pytest": ("def test_a(): pytest.exit('enough', returncode=77)", 77),
}


@pytest.mark.parametrize("what", TESTS)
def test_output_and_exit_code_are_those_of_bare_pytest(project: Project, what):
    body, code = TESTS[what]
    project.test(body)
    bare, ours = project.run("-p", "no:zerotrust"), project.run()
    assert (bare.ret, ours.ret) == (code, code)
    assert normal(ours) == normal(bare)


def test_a_strict_project_with_settings_of_its_own_conftest_still_works(project: Project):
    project.pytester.makeini(
        "[pytest]\nstrict_config = true\nstrict_markers = true\nfilterwarnings = error\nown = 3\n"
    )
    project.write("conftest.py", "def pytest_addoption(parser): parser.addini('own', 'mine')")
    project.test("def test_a(request): assert request.config.getini('own') == '3'")
    project.run("-W", "error").assert_outcomes(passed=1)
    project.verify("-W", "error").assert_outcomes(passed=1)
    project.run("--kubeconfig", str(project.kubeconfig), "-W", "error").assert_outcomes(passed=1)


@pytest.mark.parametrize("option", ["--help", "--version", "--markers", "--fixtures"])
def test_what_only_informs_goes_on_working_and_knows_us(project: Project, option):
    project.test("def test_a(): pass")
    result = project.run(option)
    assert result.ret == 0
    if option != "--version":
        assert "zt_" in text_of(result) or "--zt-" in text_of(result)


def test_the_help_tells_every_option(project: Project):
    text = project.run("--help").stdout.str()
    for option in (
        "--kubeconfig", "--kube-context", "--in-cluster", "--zt-intent", "--zt-conformance",
        "--zt-level", "--zt-probe-image", "--zt-namespace", "--zt-artifacts", "--zt-rbac",
    ):  # fmt: skip
        assert option in text
