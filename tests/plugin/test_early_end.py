"""What a run made goes while its last tests only read, and never while a test may still ask."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import ADMISSION, HASTE, NETWORK, Project, text_of

BOTH = NETWORK + "admission: {registries: [registry.company.com/], engine: gatekeeper}\n"
# Each test notes whether the run has begun to delete when it is over.
WATCH = (
    HASTE
    + """
from pathlib import Path
from pytest_zerotrust.plugin import SESSION

class Notes:
    def __init__(self, config):
        self.config = config

    def pytest_runtest_logfinish(self, nodeid):
        session = self.config.stash.get(SESSION, None)
        if hasattr(self.config, "workerinput") or session is None:
            return
        with Path("early.txt").open("a") as file:
            file.write(f"{nodeid} {session._early is not None}\\n")

def pytest_configure(config):
    config.pluginmanager.register(Notes(config))
"""
)


SENTENCE = """
def test_own(zt_network):
    gateway = zt_network.workload("web", app="gateway")
    zt_network.expect(gateway).cannot_reach(zt_network.workload("data", app="store"), 5432)
"""


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(BOTH)
    project.write("conftest.py", WATCH)
    return project


def early(project: Project) -> list[bool]:
    lines = (project.path / "early.txt").read_text().splitlines()
    return [line.endswith(" True") for line in lines]


def test_it_goes_when_the_shipped_suite_only_reads_any_more(suite: Project):
    result = suite.verify("--zt-conformance")
    assert result.ret == 0, text_of(result)
    seen = early(suite)
    # Network comes last; its first test makes the batch for all.
    assert seen.count(True) > 20
    assert seen == sorted(seen)
    assert suite.api.cluster.made_by_runs() == []


def test_nothing_goes_before_a_test_of_somebodys_own(suite: Project):
    suite.write("test_own.py", SENTENCE)
    result = suite.verify("--zt-conformance", "test_own.py", "-k", "NET-002 or test_own")
    assert not any(early(suite)), text_of(result)
    assert suite.api.cluster.made_by_runs() == []


@pytest.mark.parametrize("words", [("--zt-keep=failed",), ("-n2",), ("--pdb",)], ids=str)
def test_nothing_goes_where_somebody_may_want_to_look(suite: Project, words):
    result = suite.verify("--zt-conformance", "-k", "NET-002", *words)
    assert result.ret == 0, text_of(result)
    assert not any(early(suite))
    assert suite.api.cluster.made_by_runs() == []


def test_what_does_not_go_early_is_tried_again_and_told(suite: Project):
    suite.api.cluster.undeletable = True
    suite.write("conftest.py", WATCH + "\npytest_zerotrust.fleet.cleanup.TIMEOUT = 1.0\n")
    result = suite.verify("--zt-conformance", "-k", "NET-002")
    assert any(early(suite))
    assert result.ret == 6
    assert "left behind: Pod web/" in text_of(result)


def test_violations_are_told_as_ever(suite: Project):
    suite.api.cluster.world.enforced = False
    result = suite.verify("--zt-conformance", "-k", "NET-00")
    assert result.ret == 1
    assert any(early(suite))
    assert "REACHED, expected DENIED" in text_of(result)
    assert suite.api.cluster.made_by_runs() == []


def test_dry_runs_that_are_still_to_come_keep_the_run_open(suite: Project):
    suite.intent(ADMISSION)
    result = suite.verify("--zt-conformance", "-k", "ZT-ADM")
    assert result.ret == 0, text_of(result)
    # What nothing is declared for needs no dry run.
    assert not any(early(suite)[:-3])


LATE = SENTENCE.replace(
    "(zt_network):", "(request):\n    zt_network = request.getfixturevalue('zt_network')"
)


def test_a_test_that_may_ask_for_a_fixture_while_it_runs_keeps_the_run_open(suite: Project):
    suite.write("test_own.py", LATE)
    result = suite.verify("--zt-conformance", "test_own.py", "-k", "NET-002 or test_own")
    assert result.ret == 0, text_of(result)
    assert not any(early(suite))
    assert suite.api.cluster.made_by_runs() == []


@pytest.mark.parametrize(
    "words", [(), ("--zt-conformance", "-k", "ZT-ADM-001 or test_own")], ids=str
)
def test_such_a_test_makes_nothing_without_the_right_to_delete_it(suite: Project, words):
    suite.write("test_own.py", LATE)
    suite.api.cluster.denied = lambda a: (
        a.get("verb") == "deletecollection" and a.get("namespace") == "data"
    )
    result = suite.verify("test_own.py", *words)
    assert result.ret != 0
    assert "deletecollection" in text_of(result)
    assert [path for path in suite.made() if "/data/pods" in path] == []


def test_a_run_of_dry_runs_never_touches_the_own_namespace(suite: Project):
    result = suite.verify("--zt-conformance", "-k", "ZT-ADM")
    assert result.ret == 0, text_of(result)
    assert [p for _, p in suite.api.seen if "/namespaces/zerotrust-probes" in p] == []
