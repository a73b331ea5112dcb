"""A project or plugin that has a --kubeconfig of its own goes on working, in any order."""

from __future__ import annotations

import pytest

from pytest_zerotrust.checks import checks_of
from pytest_zerotrust.intent.load import intent_from_text
from tests.plugin.conftest import ADMISSION, Project, paragraph, text_of

OPTION = """
def pytest_addoption(parser):
    parser.addoption("--kubeconfig", {more}help="theirs")
"""
SEES = "def test_a(request): assert request.config.getoption('kubeconfig') == {value!r}"
workers = pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])


def foreign(
    project: Project, where: str, monkeypatch: pytest.MonkeyPatch, more: str = ""
) -> list[str]:
    """Declare --kubeconfig elsewhere; returns the words that load it."""
    text = OPTION.replace("{more}", more)
    if where == "conftest":
        project.write("conftest.py", text)
        return []
    project.write("foreign.py", text)
    monkeypatch.setenv("PYTHONPATH", str(project.path))
    if where == "plugin loaded before":
        return ["-p", "foreign"]
    if where == "plugin loaded after":
        monkeypatch.setenv("PYTEST_PLUGINS", "foreign")
    else:
        project.write("conftest.py", "pytest_plugins = ['foreign']")
    return []


everywhere = pytest.mark.parametrize(
    "where",
    ["conftest", "plugin loaded before", "plugin loaded after", "plugin of a conftest"],
)


@workers
@everywhere
def test_their_option_keeps_its_default_and_chooses_no_cluster(
    project: Project, monkeypatch, where, words
):
    default = str(project.kubeconfig)
    load = foreign(project, where, monkeypatch, f"default={default!r}, ")
    project.test(SEES.format(value=default))
    result = project.run(*load, *words)
    result.assert_outcomes(passed=1)
    assert project.api.seen == []
    assert "zerotrust: " not in text_of(result)


@workers
@everywhere
@pytest.mark.parametrize("joined", [True, False], ids=["one-word", "two-words"])
def test_their_option_gets_the_value_that_was_given_and_nobody_connects(
    project: Project, monkeypatch, where, words, joined
):
    load = foreign(project, where, monkeypatch)
    value = str(project.kubeconfig)
    project.test(SEES.format(value=value))
    given = [f"--kubeconfig={value}"] if joined else ["--kubeconfig", value]
    project.run(*load, *given, *words).assert_outcomes(passed=1)
    assert project.api.seen == []


PRIVILEGED = len(checks_of("privileged", intent_from_text(ADMISSION, "zerotrust.yaml")))
SENTENCE = """
def test_rule(zt_admission):
    from pytest_zerotrust.admission.pairs import PairCheck
    check = PairCheck(control="ZT-ADM-001", namespace="web", list_name="containers")
    zt_admission.verify(check)
"""
EACH = """
@pytest.mark.zt_each("privileged")
def test_rule(zt_admission, check):
    zt_admission.verify(check)
"""


@pytest.mark.parametrize(
    ("body", "words", "count"),
    [
        (SENTENCE, (), 1),
        (SENTENCE, ("-n", "2"), 1),
        (EACH, (), PRIVILEGED),
        (EACH, ("-n", "2"), PRIVILEGED),
        (EACH, ("--zt-intent=zerotrust.yaml",), PRIVILEGED),
        (EACH, ("--zt-intent=zerotrust.yaml", "-n", "2"), PRIVILEGED),
    ],
)
def test_their_option_names_the_cluster_for_tests_that_use_ours(
    project: Project, monkeypatch, body, words, count
):
    foreign(project, "conftest", monkeypatch)
    project.intent(ADMISSION)
    project.test(body)
    result = project.verify(*words)
    result.assert_outcomes(passed=count)
    assert result.ret == 0


def test_the_cluster_is_shown_before_anything_is_made_with_their_option_too(
    project: Project, monkeypatch
):
    foreign(project, "conftest", monkeypatch)
    project.intent(ADMISSION)
    project.test(SENTENCE)
    assert "user tester" in text_of(project.verify())


def test_their_default_is_no_cluster_for_tests_that_use_ours(project: Project, monkeypatch):
    foreign(project, "conftest", monkeypatch, f"default={str(project.kubeconfig)!r}, ")
    project.intent(ADMISSION)
    project.test(SENTENCE)
    result = project.run()
    assert result.ret == 4
    assert "no cluster was named" in paragraph(result)
    assert project.api.seen == []


def test_their_help_stands_and_ours_does_not(project: Project, monkeypatch):
    foreign(project, "conftest", monkeypatch)
    text = text_of(project.run("--help"))
    assert "theirs" in text
    assert "Kubeconfig of the cluster to verify" not in text


def test_their_option_of_another_kind_does_no_harm(project: Project, monkeypatch):
    foreign(project, "conftest", monkeypatch, "action='store_true', ")
    project.test(SEES.format(value=False))
    project.run().assert_outcomes(passed=1)
