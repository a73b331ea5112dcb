"""The whole pytest run over the test ids of a field, timed and weighed from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ci.lab.settings import Lab, LabError

ROOT = Path(__file__).resolve().parents[2]
# By pod IP: one test for each flow.
_SELECTION = "pod-ip"
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped)")


# Pods vanish from the API server before their nodes have done with them.
_IDLE = 0.25
_LOOK = 3.0
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """One run: tests by outcome, wall and processor seconds, and the peak of resident memory."""

    passed: int
    other: int
    seconds: float
    cpu: float
    megabytes: float


def measure(lab: Lab, intent: str, log: Path) -> SuiteRun:
    """Run the shipped suite's flow tests as a user would, evidence included.

    Begins when the nodes have done with the pods of whatever came before.
    """
    _wait_until_idle()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "zerotrust.yaml"
        file.write_text(intent)
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"--kubeconfig={lab.kubeconfig}",
            f"--zt-intent={file}",
            f"--zt-artifacts={folder}",
            "-k", _SELECTION,
            str(ROOT / "conformance" / "test_zt_network.py"),
        ]  # fmt: skip
        began = time.monotonic()
        with (
            log.open("w") as kept,
            subprocess.Popen(command, cwd=ROOT, stdout=kept, stderr=subprocess.STDOUT) as running,
        ):
            # Of this one process alone: what other children used does not count.
            _, status, used = os.wait4(running.pid, 0)
            running.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
    last = log.read_text().strip().splitlines()[-1:]
    counts = {word: int(number) for number, word in _COUNTS.findall(" ".join(last))}
    if not counts:
        raise LabError(f"the run came to nothing; see {log}")
    return SuiteRun(
        passed=counts.pop("passed", 0),
        other=sum(counts.values()),
        seconds=seconds,
        cpu=used.ru_utime + used.ru_stime,
        megabytes=used.ru_maxrss / 1024,
    )


def _wait_until_idle() -> None:
    """Until the processors are idle for most of a few seconds, or patience is at its end."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        busy, all_ = _processors()
        time.sleep(_LOOK)
        busy_then, all_then = _processors()
        if busy_then - busy < _IDLE * (all_then - all_):
            return


def _processors() -> tuple[int, int]:
    """The ticks for which the processors were busy so far, and all ticks (proc(5), /proc/stat)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)
