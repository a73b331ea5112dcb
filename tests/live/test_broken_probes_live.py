"""What breaks the probes instead of the cluster: never green, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.support import (
    INCONCLUSIVE,
    ROOT,
    Cluster,
    SuiteRun,
    differences,
    holding,
    read_run,
    suite_command,
)

pytestmark = pytest.mark.live

TWINS_OF_THE_LAB = 10
TWINS = ("-l", "zerotrust.dev/role=twin", "-A")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        suite_command(folder, *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A job in the background inherits a SIGINT that is ignored; a person's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[str], folder: Path) -> SuiteRun:
    output, _ = process.communicate(timeout=400)
    return read_run(process.returncode, output, folder)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline, "the moment for the fault never came"
        time.sleep(0.2)


def running_twins(lab: Cluster) -> list[dict[str, str]]:
    return [
        item["metadata"]
        for item in lab.items("pods", *TWINS)
        if item.get("status", {}).get("phase") == "Running"
    ]


def delete_first_twin_of(lab: Cluster, app: str) -> None:
    lab.kubectl(
        "delete", "pod", "-n", "production", "-l", f"zerotrust.dev/role=twin,app={app}", "--now"
    )


@pytest.mark.parametrize(
    "workers",
    [
        pytest.param((), id="one-process"),
        pytest.param(("-n", "2"), id="two-workers", marks=pytest.mark.deep),
    ],
)
def test_a_probe_pod_killed_in_mid_run_is_inconclusive(
    scenario, lab: Cluster, tmp_path: Path, workers: tuple[str, ...]
):
    scenario("hardened")
    process = start(tmp_path, "--zt-level", "1", *workers)
    wait_for(lambda: len(running_twins(lab)) >= TWINS_OF_THE_LAB, process)
    delete_first_twin_of(lab, "database")
    run = finish(process, tmp_path)
    assert run.status == 6, run.output
    # A new pod tries the database's twin among others.
    door = "ZT-NET-012-database-node-port"
    touched = run.about("database") | run.of("ZT-NET-011") | {door: run.verdicts[door]}
    assert set(touched.values()) == {INCONCLUSIVE}, run.output
    others = {n: v for n, v in run.verdicts.items() if n not in touched}
    assert differences(holding(others), others) == [], run.output
    assert "no level holds" in run.output


@pytest.mark.deep
def test_a_killed_agent_is_inconclusive(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    process = start(tmp_path, "--zt-level", "1")
    wait_for(lambda: len(running_twins(lab)) >= TWINS_OF_THE_LAB, process)
    (twin,) = [t for t in running_twins(lab) if t["labels"]["app"] == "api"]  # type: ignore[index]
    # Process 1 of the container ignores signals from inside; its listener dies with the rest.
    lab.kubectl(
        "exec", "-n", "production", twin["name"], "-c", "probe", "--",
        "python3", "-c", "import os,signal\nfor p in os.listdir('/proc'):\n"
        " if p.isdigit() and int(p) > 1 and int(p) != os.getpid():\n"
        "  os.kill(int(p), signal.SIGSTOP)",
        check=False,
    )  # fmt: skip
    lab.kubectl("delete", "pod", "-n", "production", twin["name"], "--now", check=False)
    run = finish(process, tmp_path)
    assert run.status == 6, run.output
    assert set(run.about("api").values()) == {INCONCLUSIVE}


def test_dead_canaries_make_every_denial_inconclusive(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    process = start(tmp_path, "--zt-level", "1")
    canary = ("pods", "-n", "zerotrust-probes", "-l", "zerotrust.dev/role=canary")

    def canaries_run() -> bool:
        return len(lab.items(*canary, "--field-selector", "status.phase=Running")) >= 2

    wait_for(canaries_run, process)
    lab.kubectl("delete", *canary, "--now")
    run = finish(process, tmp_path)
    assert run.status == 6, run.output
    denials = run.of("ZT-NET-000", "ZT-NET-001", "ZT-NET-002")
    assert set(denials.values()) == {INCONCLUSIVE}, run.output


@pytest.mark.parametrize(
    ("number", "workers"),
    [
        pytest.param(signal.SIGINT, (), id="Ctrl-C-one-process"),
        pytest.param(signal.SIGINT, ("-n", "2"), id="Ctrl-C-two-workers", marks=pytest.mark.deep),
        pytest.param(signal.SIGTERM, (), id="SIGTERM-one-process", marks=pytest.mark.deep),
        pytest.param(signal.SIGTERM, ("-n", "2"), id="SIGTERM-two-workers"),
    ],
)
def test_an_interrupted_run_leaves_nothing_and_exits_2(
    scenario, lab: Cluster, tmp_path: Path, number: signal.Signals, workers: tuple[str, ...]
):
    process = start(tmp_path, *workers)
    wait_for(lambda: len(running_twins(lab)) >= 2, process)
    process.send_signal(number)
    run = finish(process, tmp_path)
    assert run.status == 2, run.output
    assert lab.left_behind() == []


@pytest.mark.deep
def test_an_image_that_cannot_be_had_is_inconclusive_with_its_cause(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    process = start(
        tmp_path, "--zt-level", "1", "--zt-probe-image", "registry.company.com/no/such:1"
    )
    run = finish(process, tmp_path)
    assert run.status == 6, run.output
    assert set(run.probed().values()) == {INCONCLUSIVE}
    assert "no/such:1" in run.output


def test_a_probe_image_that_admission_rejects_is_inconclusive_with_its_cause(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    process = start(tmp_path, "--zt-level", "1", "--zt-probe-image", "docker.io/library/app:1")
    run = finish(process, tmp_path)
    assert run.status == 6, run.output
    assert set(run.probed().values()) == {INCONCLUSIVE}
    assert "was turned away: 403" in run.output
