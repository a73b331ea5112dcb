"""cyclonus on the same pods and ports: its own `probe` command, timed from outside.

It runs `agnhost connect` by one exec for each connection, 15 at a time. (Its batch mode is
switched off in this version by a constant, so there is no faster way to run it.)
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ci.lab import build, runtime
from ci.lab.images.archive import Config, File, Image, write_archive
from ci.lab.settings import Lab, LabError

from .field import AGNHOST, Field

NAMES = ("cyclonus", "agnhost")
_BEGIN = "running kube probe on try"
_END = "evaluating test case"
_COUNTS = re.compile(r"(\d+) wrong, (\d+) ignored, (\d+) correct")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """One run: how many probes, in how many seconds (set-up and deliberate waits left out)."""

    probes: int
    seconds: float
    wrong: int
    job_timeout: int

    @property
    def rate(self) -> float:
        """Probes a second."""
        return self.probes / self.seconds


def prepare(lab: Lab, log: Callable[[str], None]) -> None:
    """Build the programs if the cache lacks them, and bring the image into the nodes."""
    build.ensure(lab.cache, log, names=NAMES)
    binary = build.program(lab.cache, "agnhost", "agnhost")
    archive = lab.cache / "images" / f"agnhost-{binary.parent.name}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        layer = [File("/agnhost", binary, 0o755)]
        write_archive([Image([AGNHOST], [layer], Config(entrypoint=["/agnhost"]))], archive)
    runtime.import_images(lab, [archive], log)


def measure(lab: Lab, field: Field, *, spaces: int, job_timeout: int, log: Path) -> PeerRun:
    """Probe all ports between all pods of the first ``spaces`` namespaces.

    ``job_timeout`` is what each `agnhost connect` waits, in whole seconds. Timed from the line
    that begins the probe to the line that begins the printing of its results.
    """
    command = [
        str(build.program(lab.cache, "cyclonus", "cyclonus")),
        "probe",
        "--server-namespace", ",".join(field.namespaces[:spaces]),
        "--server-pod", ",".join(field.pod_names),
        "--server-port", ",".join(map(str, field.port_numbers)),
        "--server-protocol", "TCP",
        "--probe-mode", "pod-ip",
        "--job-timeout-seconds", str(job_timeout),
        "--ignore-loopback",
    ]  # fmt: skip
    began = ended = 0.0
    counts: re.Match[str] | None = None
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command,
            env={**os.environ, "KUBECONFIG": str(lab.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running,
    ):
        assert running.stdout is not None
        for line in running.stdout:
            if _BEGIN in line and not began:
                began = time.monotonic()
            elif line.startswith(_END) and not ended:
                ended = time.monotonic()
            counts = counts or _COUNTS.search(line)
            kept.write(line)
    if not (began and ended and counts):
        raise LabError(f"cyclonus did not get through its probe; see {log}")
    ends = spaces * len(field.pod_names)
    return PeerRun(
        probes=ends * ends * len(field.port_numbers),
        seconds=ended - began,
        wrong=int(counts[1]),
        job_timeout=job_timeout,
    )
