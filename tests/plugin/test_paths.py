"""A kubeconfig on the command line is an option's value and never a test or the rootdir."""

from __future__ import annotations

import os

import pytest

from tests.plugin.conftest import ADMISSION, Project, paragraph, text_of

CONFTEST = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--mine", default="unset")

@pytest.fixture
def mine(request):
    return request.config.getoption("--mine")
"""
BODY = """
def test_mine(mine, request):
    assert mine == "given"
    assert str(request.config.rootpath) == {root!r}
"""
workers = pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])


@pytest.fixture
def mine(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with an option of its conftest, and a kubeconfig far away from it."""
    project.write("conftest.py", CONFTEST)
    project.test(BODY.format(root=str(project.path)))
    # A folder that looks like the root of another project.
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "pytest.ini").write_text("[pytest]\naddopts = --an-option-that-nobody-knows\n")
    (elsewhere / "conftest.py").write_text("raise SystemExit('this conftest is not yours')\n")
    project.kubeconfig = project.api.kubeconfig(elsewhere / "kube.yaml")
    return project


def good(project: Project, *words: str) -> None:
    result = project.run("--mine=given", *words)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    text = text_of(result)
    assert text.count("rootdir: ") == 1
    assert f"rootdir: {project.path}\n" in text
    assert "zerotrust: run " in text
    assert "Warning" not in text


@workers
def test_the_file_as_a_word_of_its_own_does_not_move_the_rootdir(mine: Project, words):
    good(mine, "--kubeconfig", str(mine.kubeconfig), *words)


@workers
def test_the_file_in_one_word_does_not_move_the_rootdir(mine: Project, words):
    good(mine, f"--kubeconfig={mine.kubeconfig}", *words)


@workers
@pytest.mark.parametrize("joined", [True, False], ids=["one-word", "two-words"])
def test_a_relative_path_starts_where_pytest_was_called(mine: Project, words, joined):
    relative = os.path.relpath(mine.kubeconfig, mine.path)
    given = [f"--kubeconfig={relative}"] if joined else ["--kubeconfig", relative]
    good(mine, *given, *words)


@workers
@pytest.mark.parametrize("form", ["--kubeconfig {}", "--kubeconfig={}", "-q --kubeconfig '{}' -v"])
def test_the_file_in_the_environments_options_does_not_move_the_rootdir(
    mine: Project, monkeypatch, form, words
):
    monkeypatch.setenv("PYTEST_ADDOPTS", form.format(mine.kubeconfig))
    good(mine, *words)


@workers
@pytest.mark.parametrize("form", ["--kubeconfig {}", "--kubeconfig={}"])
def test_the_file_in_the_projects_own_options_does_not_move_the_rootdir(mine: Project, form, words):
    mine.pytester.makeini(f"[pytest]\naddopts = {form.format(mine.kubeconfig)}\n")
    good(mine, *words)


@pytest.mark.parametrize("before", [True, False])
def test_tests_named_beside_the_file_are_the_ones_that_run(mine: Project, before):
    mine.test("def test_other(): assert 0", "test_other.py")
    option = ["--kubeconfig", str(mine.kubeconfig)]
    words = ["test_it.py", *option] if before else [*option, "test_it.py"]
    good(mine, *words)


def test_an_ini_file_of_ones_own_choice_still_counts(mine: Project):
    mine.write("other.ini", "[pytest]\naddopts = --mine=given\n")
    result = mine.run("-c", "other.ini", "--kubeconfig", str(mine.kubeconfig))
    result.assert_outcomes(passed=1)
    assert "configfile: other.ini" in text_of(result)


def test_a_subfolder_is_a_good_place_to_call_pytest_from(mine: Project, monkeypatch):
    sub = mine.path / "sub"
    sub.mkdir()
    (sub / "test_sub.py").write_text(BODY.format(root=str(mine.path)))
    monkeypatch.chdir(sub)
    relative = os.path.relpath(mine.kubeconfig, sub)
    result = mine.run("--mine=given", "--kubeconfig", relative, "test_sub.py")
    result.assert_outcomes(passed=1)


def test_the_exit_code_of_failing_tests_comes_through(mine: Project):
    mine.test("def test_a(): assert 0")
    assert mine.run("--kubeconfig", str(mine.kubeconfig)).ret == 1


def test_a_file_that_is_not_there_is_told_once_and_not_as_a_missing_test(mine: Project):
    result = mine.run("--kubeconfig", "nowhere/kube.yaml")
    assert result.ret == 4
    assert f"--kubeconfig {mine.path}/nowhere/kube.yaml: no such file" in paragraph(result)


def test_an_option_without_its_value_is_told_by_pytest(mine: Project):
    result = mine.run("--kubeconfig")
    assert result.ret == 4
    assert "expected one argument" in text_of(result)


@workers
@pytest.mark.parametrize("joined", [True, False], ids=["one-word", "two-words"])
def test_our_other_paths_do_not_move_the_rootdir_either(mine: Project, words, joined):
    elsewhere = mine.kubeconfig.parent
    (elsewhere / "intent.yaml").write_text(ADMISSION)
    given = []
    for option, value in (
        ("--kubeconfig", mine.kubeconfig),
        ("--zt-intent", elsewhere / "intent.yaml"),
        ("--zt-artifacts", elsewhere / "out"),
    ):
        given += [f"{option}={value}"] if joined else [option, str(value)]
    good(mine, *given, *words)
    assert (elsewhere / "out" / "zerotrust.json").is_file()


def test_interrupting_the_run_still_ends_with_2(mine: Project):
    mine.test("def test_a(): raise KeyboardInterrupt")
    assert mine.run("--kubeconfig", str(mine.kubeconfig)).ret == 2


def test_plugins_given_to_pytest_main_are_there_in_the_run_as_well(mine: Project):
    mine.write(
        "call.py",
        "import pytest, sys\n"
        "class Mine:\n"
        "    def pytest_report_header(self): return 'hello from main'\n"
        "sys.exit(pytest.main(sys.argv[1:], plugins=[Mine()]))\n",
    )
    result = mine.pytester.runpython_c(
        "import runpy, sys; "
        f"sys.argv = ['call.py', '--mine=given', '--kubeconfig', {str(mine.kubeconfig)!r}]; "
        "runpy.run_path('call.py', run_name='__main__')"
    )
    assert text_of(result).count("hello from main") == 1
    assert result.ret == 0
