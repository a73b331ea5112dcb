"""Several contexts in one run: told apart, and one that is broken spoils no other."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.fakes.apiserver import FakeApi, api_server, kubeconfig
from tests.fakes.cluster import Cluster
from tests.fakes.world import World
from tests.plugin.conftest import ALLOWED, HASTE, NETWORK, Project, text_of


@pytest.fixture(autouse=True)
def hang_up_is_not_ignored() -> Iterator[None]:
    """Where all this was started by nohup, the processes of the tests would inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


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


def test_a_setting_of_a_plugin_that_is_switched_off_is_not_given(suite: Project):
    suite.pytester.makeini("[pytest]\nstrict_config = true\n")
    result = suite.verify("--zt-conformance", "-k", "canaries", *contexts("lab", "dead"))
    assert rows(text_of(result))["lab"][-1] == "passed (0)", text_of(result)


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


ENDINGS = pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)


def begin(suite: Project, *words: str) -> subprocess.Popen[str]:
    """A run of two contexts in a process group of its own."""
    given = [f"--kubeconfig={suite.kubeconfig}", "--zt-conformance", *words]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *given,
         *contexts("lab", "team/other")],
        cwd=suite.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def child_of(process: subprocess.Popen[str]) -> int:
    listed = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    )
    return int(listed.stdout.split()[0])


def ended_by_it(suite: Project, process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    found = rows(output)
    assert found["lab"][-1] == "interrupted (2)"
    assert found["team/other"][-1] == "not begun"
    assert "Traceback" not in output
    assert suite.api.cluster.made_by_runs() == []


@pytest.fixture
def waiting(suite: Project) -> Project:
    """A run waits for its pods until it is interrupted."""
    suite.api.cluster.pods_start = False
    suite.write("conftest.py", HASTE.replace("START_TIMEOUT = 1.0", "START_TIMEOUT = 60.0"))
    return suite


def pods_made(suite: Project) -> bool:
    return any(path.endswith("/pods") for path in suite.made())


@ENDINGS
def test_an_interrupt_ends_all_and_leaves_nothing(waiting: Project, number):
    process = begin(waiting)
    wait_for(process, lambda: pods_made(waiting))
    # A terminal sends it to the whole group.
    os.killpg(process.pid, number)
    ended_by_it(waiting, process)


@ENDINGS
def test_one_that_reaches_the_child_as_well_does_not_cut_its_end_short(waiting: Project, number):
    """A service manager, or a shell whose terminal is closed, sends it to every process."""
    process = begin(waiting)
    wait_for(process, lambda: pods_made(waiting))
    burst(process, number)
    ended_by_it(waiting, process)


@ENDINGS
def test_nor_its_deletion(suite: Project, number):
    suite.api.cluster.undeletable = True
    process = begin(suite, "-k", "canaries")
    wait_for(process, lambda: any(method == "DELETE" for method, _ in suite.api.seen))
    burst(process, number)
    suite.api.cluster.undeletable = False
    ended_by_it(suite, process)


def burst(process: subprocess.Popen[str], number: int) -> None:
    child = child_of(process)
    for _ in range(3):
        os.kill(child, number)
        process.send_signal(number)
        time.sleep(0.05)


def test_a_child_has_no_part_in_what_the_terminal_sends(waiting: Project):
    process = begin(waiting)
    wait_for(process, lambda: pods_made(waiting))
    child = child_of(process)
    assert os.getsid(child) == child != os.getsid(process.pid)
    process.send_signal(signal.SIGINT)
    ended_by_it(waiting, process)


def test_plugins_that_a_child_would_not_get_are_refused(suite: Project):
    suite.write(
        "main.py",
        "import pytest, sys\nsys.exit(pytest.main(sys.argv[1:], plugins=[object()]))\n",
    )
    done = subprocess.run(
        [sys.executable, "main.py", f"--kubeconfig={suite.kubeconfig}", "--zt-conformance",
         *contexts("lab", "team/other")],
        cwd=suite.path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stdout + done.stderr
    assert "pytest.main(plugins=...)" in done.stderr
    assert "-p MODULE" in done.stderr
    assert "Traceback" not in done.stderr
    assert suite.api.seen == []
