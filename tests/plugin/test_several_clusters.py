"""Several contexts in one run: told apart, and one that is broken spoils no other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.fakes.apiserver import FakeApi, api_server, kubeconfig
from tests.fakes.cluster import Cluster
from tests.fakes.world import World
from tests.plugin.conftest import ALLOWED, HASTE, NETWORK, Project, text_of


@pytest.fixture
def other() -> Iterator[FakeApi]:
    """A second cluster, which enforces nothing."""
    cluster = Cluster(world=World(allowed=ALLOWED, enforced=False))
    cluster.add_workload("web", "gateway", 8080)
    cluster.add_workload("web", "payments", 8080)
    cluster.add_workload("data", "store", 5432)
    with api_server(cluster) as started:
        yield started


@pytest.fixture
def suite(project: Project, other: FakeApi) -> Project:
    config = kubeconfig(project.api.url)
    config["clusters"] += [
        {"name": "other", "cluster": {"server": other.url}},
        {"name": "dead", "cluster": {"server": "http://127.0.0.1:1"}},
    ]
    config["contexts"] += [
        {"name": "team/other", "context": {"cluster": "other", "user": "me"}},
        {"name": "dead", "context": {"cluster": "dead", "user": "me"}},
    ]
    project.kubeconfig.write_text(yaml.safe_dump(config))
    project.intent(NETWORK)
    project.write("conftest.py", HASTE)
    return project


def contexts(*names: str) -> list[str]:
    return [f"--kube-context={name}" for name in names]


def rows(text: str) -> dict[str, list[str]]:
    """The lines of the table of all clusters, by context."""
    _, _, end = text.partition(" zero trust: clusters ")
    lines = [re.split(r"\s{2,}", line.strip()) for line in end.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 6}


def test_each_cluster_gets_its_own_verdicts(suite: Project, other: FakeApi):
    result = suite.verify(
        "--zt-conformance", "-k", "ZT-NET", *contexts("lab", "team/other"),
        "--zt-artifacts=out", "--junitxml=junit.xml",
    )  # fmt: skip
    text = text_of(result)
    assert result.ret == 1, text
    assert " cluster lab " in text
    assert " cluster team/other " in text
    found = rows(text)
    assert found["lab"][0] == "1"
    assert found["lab"][-1] == "passed (0)"
    assert found["team/other"][0] == "0"
    assert found["team/other"][-1] == "failed (1)"
    for name, violated in (("lab", 0), ("team_other", 1)):
        data = json.loads((suite.path / "out" / name / "zerotrust.json").read_text())
        seen = {r["verdict"] for r in data["results"] if r["control"] == "ZT-NET-001"}
        assert ("violated" in seen) == bool(violated)
        (suite_,) = ET.parse(suite.path / f"junit-{name}.xml").getroot()
        assert suite_.get("name") == name
    assert suite.api.cluster.made_by_runs() == []
    assert other.cluster.made_by_runs() == []


def test_a_cluster_that_is_not_there_spoils_no_other(suite: Project):
    result = suite.verify("--zt-conformance", "-k", "NET-00", *contexts("dead", "lab"))
    text = text_of(result)
    assert result.ret == 6, text
    found = rows(text)
    assert found["dead"] == ["-", "-", "-", "-", "not tested (4)"]
    assert found["lab"][-1] == "passed (0)"
    assert "Traceback" not in text


def test_workers_test_each_cluster_as_well(suite: Project):
    result = suite.verify("--zt-conformance", "-k", "ZT-NET", "-n2", *contexts("lab", "team/other"))
    found = rows(text_of(result))
    assert (result.ret, found["lab"][0], found["team/other"][0]) == (1, "1", "0")


def test_all_unknown_is_bad_usage(suite: Project):
    result = suite.verify("--zt-conformance", *contexts("nowhere", "nobody"))
    assert result.ret == 4
    assert "Known: " in text_of(result)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (contexts("lab", "lab"), "--kube-context lab is given more than once"),
        ([*contexts("lab", "dead"), "--zt-draft=new.yaml"], "--zt-draft writes the draft of one"),
    ],
    ids=["twice", "draft"],
)
def test_bad_usage_is_told_before_anything_is_asked(suite: Project, words, told):
    result = suite.verify(*words)
    assert result.ret == 4
    assert told in text_of(result)
    assert suite.api.seen == []


def test_evidence_of_an_earlier_run_is_not_taken_for_this_ones(suite: Project):
    old = suite.write("out/dead/zerotrust.json", '{"level_reached": 3, "results": []}')
    result = suite.verify("--zt-conformance", "--zt-artifacts=out", *contexts("dead", "lab"))
    assert rows(text_of(result))["dead"][0] == "-"
    assert not old.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_ends_all_and_leaves_nothing(suite: Project, tmp_path: Path, number):
    suite.api.cluster.pods_start = False  # the run waits for its pods until it is interrupted
    suite.write("conftest.py", HASTE.replace("START_TIMEOUT = 1.0", "START_TIMEOUT = 60.0"))
    words = [f"--kubeconfig={suite.kubeconfig}", "--zt-conformance", *contexts("lab", "team/other")]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        cwd=suite.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not any(path.endswith("/pods") for path in suite.made()):
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number == signal.SIGINT:
        # A terminal sends it to the whole group.
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    found = rows(output)
    assert found["lab"][-1] == "interrupted (2)"
    assert found["team/other"][-1] == "not begun"
    assert suite.api.cluster.made_by_runs() == []
