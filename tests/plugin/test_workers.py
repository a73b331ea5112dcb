"""With two workers everything is the same, one process deletes, and a worker that dies is told."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.fakes.cluster import nobody
from tests.plugin.conftest import HASTE, NETWORK, Project, text_of

BOTH = NETWORK + "admission: {registries: [registry.company.com/]}\n"


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(BOTH)
    project.write("conftest.py", HASTE)
    project.api.cluster.world.allowed |= {("store", "gateway", 8080)}
    return project


def cases(file: Path) -> dict[str, tuple[str, tuple[tuple[str, str], ...]]]:
    """Outcome and properties of each test of a JUnit file, by its id."""
    found = {}
    for case in ElementTree.parse(file).iter("testcase"):
        kinds = {child.tag for child in case} - {"properties"}
        properties = tuple((p.get("name", ""), p.get("value", "")) for p in case.iter("property"))
        found[f"{case.get('classname')}::{case.get('name')}"] = (
            next(iter(kinds), "passed"),
            properties,
        )
    return found


def test_any_number_of_workers_runs_the_same_tests_with_the_same_verdicts(suite: Project):
    runs = {}
    for words in (("-n", "0"), ("-n", "2"), ("-n", "4"), ("-n", "2", "--dist", "worksteal")):
        file = suite.path / f"junit{len(runs)}.xml"
        result = suite.verify("--zt-conformance", f"--junitxml={file}", *words)
        assert result.ret == 1
        assert suite.api.cluster.made_by_runs() == []
        runs[words] = cases(file)
    alone, *others = runs.values()
    assert all(found == alone for found in others)
    outcomes = [outcome for outcome, _ in alone.values()]
    # By pod IP, by Service IP, and from the first moment of a new pod.
    assert outcomes.count("failure") == 3
    skipped = outcomes.count("skipped")
    assert outcomes.count("passed") == len(outcomes) - 3 - skipped
    assert skipped == 19


def test_only_one_process_deletes_and_only_after_the_last_test(suite: Project):
    suite.verify("--zt-conformance", "-n", "2", "-k", "ZT-NET")
    order = [(method, path) for method, path in suite.api.seen if "reviews" not in path]
    deletes = [i for i, (method, _) in enumerate(order) if method == "DELETE"]
    last_exec = max(i for i, (_, path) in enumerate(order) if path.endswith("/exec"))
    assert min(deletes) > last_exec
    collections = [order[i][1] for i in deletes if not order[i][1].endswith("zerotrust-probes")]
    assert len(collections) == len(set(collections))


def test_every_process_works_for_one_run_with_pods_of_one_name(suite: Project):
    suite.verify("--zt-conformance", "-n", "2", "-k", "ZT-NET")
    text_of_posts = [
        path for method, path in suite.api.seen if (method, path[-5:]) == ("POST", "/pods")
    ]
    assert text_of_posts
    # Three twins, two newborns, and two canaries on each node.
    assert len(suite.api.cluster.keys) == 3 + 2 + 2 * len(suite.api.cluster.nodes)


@pytest.mark.parametrize("restarts", ["0", "1"])
def test_a_worker_that_dies_is_never_green_and_leaves_nothing(suite: Project, restarts):
    suite.api.cluster.world.allowed -= {("store", "gateway", 8080)}
    suite.test("import os\ndef test_die(): os._exit(1)")
    result = suite.verify(
        "test_it.py", "--zt-conformance", "-n", "2", f"--max-worker-restart={restarts}",
        "-k", "die or ZT-NET",
    )  # fmt: skip
    assert result.ret not in (0, 1, 5)
    assert "crashed" in text_of(result)
    assert suite.api.cluster.made_by_runs() == []


def test_a_worker_that_dies_beside_a_violation_is_1(suite: Project):
    suite.api.cluster.admission = nobody
    suite.test("import os\ndef test_die(): os._exit(1)")
    result = suite.verify("test_it.py", "--zt-conformance", "-n", "2", "-k", "die or ZT-ADM")
    assert result.ret == 1


def test_the_first_failure_ends_a_run_with_two_workers_and_leaves_nothing(suite: Project):
    result = suite.verify("--zt-conformance", "-n", "2", "-x")
    assert result.ret in (1, 2)
    assert suite.api.cluster.made_by_runs() == []


@pytest.mark.parametrize("selection", [("-k", "ZT-NET-001"), ("--zt-level=1",)])
def test_a_selection_selects_the_same_in_every_process(suite: Project, selection):
    found = []
    for words in ((), ("-n", "2")):
        file = suite.path / f"junit{len(words)}.xml"
        suite.verify("--zt-conformance", f"--junitxml={file}", *selection, *words)
        found.append(set(cases(file)))
    assert found[0] == found[1]
    assert not [id_ for id_ in found[0] if "ZT-ADM" in id_]
