"""Runs a small selection of the suite, and breaks something while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.conftest import LAB
from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    ROOT,
    Cluster,
    SuiteRun,
    read_run,
    suite_command,
)

NETWORK = ("-k", "canaries or (ZT-NET-001 and reports and web) or (ZT-NET-003 and frontend)")
"""Three controls, two namespaces; all hold on the hardened lab."""


def start(folder: Path, config: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a run in the background."""
    return subprocess.Popen(
        suite_command(folder, *arguments, config=config),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[str], folder: Path) -> SuiteRun:
    output, _ = process.communicate(timeout=400)
    assert "Traceback" not in output, output
    assert "INTERNALERROR" not in output, output
    return read_run(process.returncode, output, folder)


def run(folder: Path, config: str, *arguments: str, **environment: str) -> SuiteRun:
    return finish(start(folder, config, *arguments, **environment), folder)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline, "the moment for the fault never came"
        time.sleep(0.1)


def twins(lab: Cluster, phase: str = "Running") -> list[str]:
    """``namespace/name`` of the twins in a phase."""
    return [
        f"{item['metadata']['namespace']}/{item['metadata']['name']}"
        for item in lab.items("pods", "-A", "-l", "zerotrust.dev/role=twin")
        if item.get("status", {}).get("phase") == phase
    ]


def running(lab: Cluster, count: int = 3) -> Callable[[], bool]:
    return lambda: len(twins(lab)) >= count


def unearned(found: SuiteRun) -> None:
    """The run is not green, and nothing was called violated that a broken machinery caused."""
    assert found.status == 6, found.output
    assert set(found.verdicts.values()) <= {HOLDS, INCONCLUSIVE}, found.output
    assert INCONCLUSIVE in found.verdicts.values(), found.output


def green(found: SuiteRun) -> None:
    assert found.status == 0, found.output
    assert set(found.verdicts.values()) == {HOLDS}, found.output


def process_of(name: str) -> int:
    """The process id of a component of the lab."""
    import sys

    sys.path.insert(0, str(ROOT))
    try:
        from ci.lab import processes, settings
    finally:
        sys.path.remove(str(ROOT))
    found = processes.find(settings.load(LAB), name, processes.table())
    assert found is not None, f"{name} does not run"
    return int(found.pid)


@contextmanager
def stopped(name: str) -> Iterator[None]:
    """A component of the lab that hangs."""
    pid = process_of(name)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def scaled_down(lab: Cluster, namespace: str, name: str) -> Iterator[None]:
    """A Deployment without pods."""
    lab.kubectl("scale", "-n", namespace, f"deployment/{name}", "--replicas=0")
    lab.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=60s")
    try:
        deadline = time.monotonic() + 60
        while lab.items("pods", "-n", namespace, "-l", _selector(lab, namespace, name)):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        yield
    finally:
        lab.kubectl("scale", "-n", namespace, f"deployment/{name}", "--replicas=1")
        lab.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=100s")


def _selector(lab: Cluster, namespace: str, name: str) -> str:
    import json

    text = lab.kubectl("get", "deployment", "-n", namespace, name, "-o", "json")
    labels = json.loads(text)["spec"]["selector"]["matchLabels"]
    return ",".join(f"{k}={v}" for k, v in labels.items())
