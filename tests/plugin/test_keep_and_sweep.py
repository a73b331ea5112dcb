"""What is kept on demand is told with the way to look at it, and what expired is swept."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import HASTE, NETWORK, Project, text_of

CANARIES = ("--zt-conformance", "-k", "canaries")
RED = "def test_red(zt_network): assert 0"


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(NETWORK)
    project.write("conftest.py", HASTE)
    return project


def left(suite: Project) -> list[str]:
    return suite.api.cluster.made_by_runs()


@pytest.mark.parametrize(
    ("when", "green", "red"),
    [("never", False, False), ("failed", False, True), ("always", True, True)],
)
def test_the_objects_of_a_run_are_kept_as_asked(suite: Project, when, green, red):
    result = suite.verify(*CANARIES, f"--zt-keep={when}")
    assert result.ret == 0
    assert bool(left(suite)) == green
    assert ("kept for you" in text_of(result)) == green
    for objects in suite.api.cluster.objects.values():
        for name in [n for n in objects if n.startswith("zt-")]:
            del objects[name]
    suite.api.cluster.namespaces.pop("zerotrust-probes", None)
    suite.test(RED, "test_red.py")
    result = suite.verify("--zt-conformance", "test_red.py", "-k", "canaries or red",
                          f"--zt-keep={when}")  # fmt: skip
    assert result.ret == 1
    assert bool(left(suite)) == red
    if red:
        text = text_of(result)
        assert "inspect with: kubectl -n web get pods,services,networkpolicies -l" in text
        assert "delete with: kubectl -n zerotrust-probes delete pods,services" in text
        assert "left behind" not in text


def test_a_word_that_is_none_of_the_three_is_refused(suite: Project):
    assert suite.verify(*CANARIES, "--zt-keep=sometimes").ret == 4
    assert suite.made() == []


def test_a_sweep_without_a_cluster_is_refused(suite: Project):
    result = suite.run("--zt-sweep")
    assert result.ret == 4
    assert "--zt-sweep deletes objects, but no cluster was named" in text_of(result)


def age(suite: Project) -> None:
    """Let everything of earlier runs have expired."""
    cluster = suite.api.cluster
    for item in [*cluster.namespaces.values(), *(o for k in cluster.objects.values()
                                                 for o in k.values())]:  # fmt: skip
        notes = item["metadata"].get("annotations", {})
        if "zerotrust.dev/expires" in notes:
            notes["zerotrust.dev/expires"] = "2020-01-01T00:00:00Z"


def test_a_sweep_removes_what_has_expired_and_says_so(suite: Project):
    assert suite.verify(*CANARIES, "--zt-keep=always").ret == 0
    before = left(suite)
    assert before
    result = suite.verify("--zt-sweep")
    assert result.ret == 0
    assert left(suite) == before
    assert "not expired, not removed: Pod " in text_of(result)
    age(suite)
    result = suite.verify("--zt-sweep")
    assert result.ret == 0, text_of(result)
    assert left(suite) == []
    text = text_of(result)
    assert "removed: Namespace zerotrust-probes" in text
    assert f"{len(before)} removed, 0 not due, 0 could not be removed" in text
    assert "front" not in text
    assert "test session starts" not in text


def test_a_sweep_that_could_not_see_or_remove_is_6(suite: Project):
    assert suite.verify(*CANARIES, "--zt-keep=always").ret == 0
    age(suite)
    suite.api.fail("DELETE", "/pods", status=403, body={"message": "User cannot delete"})
    result = suite.verify("--zt-sweep")
    assert result.ret == 6
    assert "error: DELETE" in text_of(result)
    assert left(suite)


def test_a_sweep_of_a_server_that_is_away_is_4(suite: Project):
    suite.api.fail("GET", "/version", cut=True)
    result = suite.verify("--zt-sweep")
    assert result.ret == 4
    assert "Traceback" not in text_of(result)
