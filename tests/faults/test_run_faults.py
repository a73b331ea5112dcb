"""What happens to the run itself: killed, doubled, with a wrong clock, without room on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.proxy import Proxy
from tests.faults.support import (
    NETWORK,
    delete_all,
    finish,
    green,
    nothing_shown,
    run,
    running,
    start,
    wait_for,
)
from tests.live.support import HOLDS, ROOT, Cluster, suite_command

pytestmark = pytest.mark.faults


def plugin(tmp_path: Path, text: str) -> dict[str, str]:
    folder = tmp_path / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / "zt_fault.py").write_text(text)
    return {"PYTHONPATH": str(folder), "PYTEST_PLUGINS": "zt_fault"}


def test_two_runs_with_the_same_id(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """The second finds the first one's pods, which do not prove themselves with its key, and
    deletes them in the end. Neither shows anything."""
    same = plugin(
        tmp_path,
        "import dataclasses\n"
        "import pytest_zerotrust.session as s\n"
        "new = s.new_run\n"
        "s.new_run = lambda owner: dataclasses.replace(new(owner), id='samesame')\n",
    )
    runs = []
    moment = proxy.in_the_batch(
        lambda: runs.append(run(tmp_path / "2", lab.config, *NETWORK, **same))
    )
    first = run(tmp_path / "1", proxy.kubeconfig(tmp_path / "proxy.yaml"), *NETWORK, **same)
    moment.finish()
    nothing_shown(runs[0])
    nothing_shown(first)


def skew(tmp_path: Path, days: int, *modules: str) -> dict[str, str]:
    """In these modules it is some days later or earlier."""
    return plugin(
        tmp_path,
        "import datetime, importlib\n"
        "class Skewed(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        f"        return datetime.datetime.now(tz) + datetime.timedelta(days={days})\n"
        "class module:\n"
        "    datetime, timedelta, UTC = Skewed, datetime.timedelta, datetime.UTC\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name).datetime = module\n",
    )


@pytest.mark.parametrize("days", [-1, 1])
def test_the_clock_of_the_runner_is_wrong(lab: Cluster, tmp_path: Path, days: int):
    """Expiry goes by the server's clock, so a sweep spares the run."""
    skewed = skew(tmp_path, days, "pytest_zerotrust.fleet.run")
    found = run(tmp_path, lab.config, *NETWORK, "--zt-keep=always", **skewed)
    green(found)
    left = lab.left_behind()
    assert left
    assert "0 removed" in run_sweep(lab)
    assert lab.left_behind() == left
    delete_all(lab)


@pytest.mark.parametrize("days", [-400, 400])
def test_certificates_are_measured_by_the_clusters_clock(lab: Cluster, tmp_path: Path, days: int):
    """Those of the proxies, and those that are forged for them."""
    skewed = skew(tmp_path, days, "pytest_zerotrust.cluster.api", "pytest_zerotrust.mesh.engine")
    selected = "frontend and (ZT-MSH-004 or ZT-MSH-007)"
    found = run(tmp_path, lab.config, "-k", selected, **skewed)
    assert len(found.verdicts) == 2, found.output
    assert set(found.verdicts.values()) == {HOLDS}, found.output
    assert found.status == 0


def run_sweep(lab: Cluster) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--kubeconfig={lab.config}", "--zt-sweep"],
        cwd=ROOT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_and_swept(lab: Cluster, tmp_path: Path):
    """SIGKILL leaves pods; the sweep removes them when they have expired, and not before."""
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    process.kill()
    process.wait()
    left = lab.left_behind()
    assert left
    assert "0 removed" in run_sweep(lab)
    assert lab.left_behind() == left
    for kind in ("pods", "services", "networkpolicies"):
        lab.kubectl("annotate", kind, "-A", "-l", "zerotrust.dev/run", "--overwrite",
                    "zerotrust.dev/expires=2020-01-01T00:00:00Z")  # fmt: skip
    lab.kubectl("annotate", "namespace", "zerotrust-probes", "--overwrite",
                "zerotrust.dev/expires=2020-01-01T00:00:00Z")  # fmt: skip
    applications = len(lab.items("pods", "-A"))
    pods = [one for one in left if one.startswith("pods ")]
    run_sweep(lab)
    assert lab.left_behind() == []
    assert len(lab.items("pods", "-A")) == applications - len(pods)


def test_pods_of_a_killed_run_end_by_themselves(lab: Cluster, tmp_path: Path):
    """The kubelet ends them when their time is up, here after twelve seconds."""
    brief = plugin(
        tmp_path,
        "import pytest_zerotrust.fleet.manifests as m\nm.LIFETIME = 12\n",
    )
    process = start(tmp_path, lab.config, *NETWORK, **brief)
    wait_for(running(lab), process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 90
    while phases := {pod["status"]["phase"] for pod in probe_pods(lab)} - {"Failed"}:
        assert time.monotonic() < deadline, phases
        time.sleep(1)
    assert {pod["status"]["reason"] for pod in probe_pods(lab)} == {"DeadlineExceeded"}
    delete_all(lab)


def probe_pods(lab: Cluster) -> list[dict[str, Any]]:
    return lab.items("pods", "-A", "-l", "zerotrust.dev/run")


@pytest.mark.parametrize("words", [("-n", "4"), ("-n", "2", "--dist", "worksteal")], ids=str)
def test_any_number_of_workers_gives_the_same_verdicts(
    lab: Cluster, tmp_path: Path, words: tuple[str, ...]
):
    green(run(tmp_path, lab.config, *NETWORK, *words))


def test_no_room_for_the_evidence(lab: Cluster, tmp_path: Path):
    """It is told, nothing half-written is left, and the run is not green without it."""
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], check=True)
    try:
        (folder / "filler").write_bytes(b"x" * 4096)
        done = subprocess.run(
            suite_command(folder, *NETWORK, config=lab.config),
            cwd=ROOT, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert [file.name for file in folder.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    output = done.stdout + done.stderr
    assert "the evidence could not be written" in output
    assert "Traceback" not in output
    assert done.returncode == 6, output
    assert "8 passed" in output


def test_no_room_for_the_junit_file(lab: Cluster, tmp_path: Path):
    """It is pytest that writes it, and pytest that fails; what the run made is deleted."""
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], check=True)
    try:
        (folder / "filler").write_bytes(b"x" * 4096)
        done = subprocess.run(
            suite_command(tmp_path, *NETWORK, f"--junitxml={folder}/junit.xml", config=lab.config),
            cwd=ROOT, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert "No space left on device" in done.stdout + done.stderr
    assert done.returncode != 0


def test_a_worker_is_killed(proxy: Proxy, tmp_path: Path):
    """The check in which it died is inconclusive, and all others are made by those that live."""
    children: list[int] = []
    processes: list[subprocess.Popen[str]] = []

    def kill() -> None:
        listed = subprocess.run(
            ["pgrep", "-P", str(processes[0].pid)], capture_output=True, text=True, check=True
        )
        children.extend(map(int, listed.stdout.split()))
        os.kill(children[0], signal.SIGKILL)

    proxy.in_the_batch(kill)
    config = proxy.kubeconfig(tmp_path / "proxy.yaml")
    processes.append(start(tmp_path, config, *NETWORK, "-n", "2"))
    found = finish(processes[0], tmp_path)
    assert len(children) == 2
    assert "crashed" in found.output
    assert found.status == 6, found.output
    assert len(found.verdicts) == 7, found.output
    assert set(found.verdicts.values()) == {HOLDS}, found.output


@pytest.mark.parametrize("words", [(), ("--maxfail=1",)])
def test_a_fixture_fails(lab: Cluster, tmp_path: Path, words: tuple[str, ...]):
    """A failure of the user's own; the two checks before it keep their verdicts."""
    broken = plugin(
        tmp_path,
        "import pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        "    zt_fault.append(item)\n"
        "    assert len(zt_fault) < 3, 'a fixture failed'\n"
        "zt_fault = []\n",
    )
    found = run(tmp_path, lab.config, *NETWORK, *words, **broken)
    assert found.status == 1, found.output
    assert list(found.verdicts.values()) == [HOLDS, HOLDS], found.output


@pytest.mark.parametrize(
    ("number", "times"),
    [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGHUP, 1)],
)
def test_a_run_is_interrupted_in_its_batch(
    proxy: Proxy, tmp_path: Path, number: signal.Signals, times: int
):
    """It shows nothing, says so with 2, and deletes what it made; a second Ctrl-C only waits."""
    processes: list[subprocess.Popen[str]] = []

    def interrupt() -> None:
        processes[0].send_signal(number)

    proxy.in_the_batch(interrupt)
    if times == 2:
        proxy.once("DELETE", "/pods", interrupt)
    processes.append(start(tmp_path, proxy.kubeconfig(tmp_path / "proxy.yaml"), *NETWORK))
    found = finish(processes[0], tmp_path)
    assert found.status == 2, found.output
    assert found.verdicts == {}, found.output
