"""The exit status and the table of a run over several clusters."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from pytest_zerotrust.clusters import _parts
from pytest_zerotrust.report.clusters import ClusterRun, joint_status, read_run, table


def runs(*statuses: int | None) -> list[ClusterRun]:
    return [ClusterRun(context=f"c{i}", status=s, counts=Counter()) for i, s in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "joint"),
    [
        ((0, 0), 0),
        ((0, 1), 1),
        ((6, 1), 1),
        ((4, 1), 1),
        ((3, 1), 1),
        ((2, 1), 2),
        ((2, None), 2),
        ((0, 3), 3),
        ((0, 6), 6),
        ((0, 4), 6),
        ((4, 4), 4),
        ((0, 5), 6),
        ((5, 5), 5),
        ((0, None), 6),
        ((0, 99), 6),
    ],
)
def test_joint_status(statuses, joint):
    assert joint_status(runs(*statuses)) == joint


def test_only_green_and_green_is_green():
    for statuses in itertools.product((0, 1, 2, 3, 4, 5, 6, 99, None), repeat=3):
        assert (joint_status(runs(*statuses)) == 0) == (set(statuses) == {0})


def test_evidence_is_read_or_there_is_none(tmp_path: Path):
    file = tmp_path / "zerotrust.json"
    assert read_run("a", 4, file) == ClusterRun(context="a", status=4, counts=Counter())
    for broken in ("", "[]", '{"results": [{}], "level_reached": 1}', '{"results": []}'):
        file.write_text(broken)
        assert read_run("a", 0, file).level is None
    results = [{"verdict": "holds"}, {"verdict": "holds"}, {"verdict": "violated"}]
    file.write_text(json.dumps({"level_reached": 2, "results": results}))
    found = read_run("a", 1, file)
    assert (found.level, found.counts["holds"], found.counts["violated"]) == (2, 2, 1)


def test_the_table_has_a_line_for_each_and_no_number_that_nobody_counted():
    first = ClusterRun(context="prod-eu", status=0, level=3, counts=Counter(holds=12))
    lines = list(table([first, *runs(4, None)]))
    assert [line.split() for line in lines] == [
        ["context", "level", "holds", "violated", "inconclusive", "run"],
        ["prod-eu", "3", "12", "0", "0", "passed", "(0)"],
        ["c0", "-", "-", "-", "-", "not", "tested", "(4)"],
        ["c1", "-", "-", "-", "-", "not", "begun"],
    ]


def test_contexts_become_names_of_files_that_differ(tmp_path: Path):
    contexts = ["arn:aws:eks:eu:1:cluster/a", "arn:aws:eks:eu:1:cluster:a", "..", "...", "x"]
    names = [part.name for part in _parts(contexts, tmp_path)]
    assert len(set(names)) == len(contexts)
    for name in names:
        assert "/" not in name
        assert not name.startswith(".")
