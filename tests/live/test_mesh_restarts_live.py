"""Pods that restart while the mesh is observed: inconclusive is allowed, a wrong verdict is not.

A soak: ``ci/soak-mesh`` runs it. ``ZT_MESH_REPEATS`` makes more runs than two.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.live.support import HOLDS, INCONCLUSIVE, ROOT, Cluster, read_run, suite_command

pytestmark = pytest.mark.soak

PAUSE = 4.0
"""Seconds between two restarts."""


def wait_until_all_run(lab: Cluster, apps: tuple[str, ...]) -> None:
    """What has no running pod at the start is bad input, and ends a run before it begins."""
    end = time.monotonic() + 180
    for app in apps:
        chosen = ("-n", "production", "-l", f"app={app}", "--field-selector=status.phase=Running")
        while not lab.items("pods", *chosen):
            assert time.monotonic() < end, f"no pod of {app} runs"
            time.sleep(0.5)


def test_no_verdict_is_wrong_while_pods_restart(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    apps = ("payment-service", "database", "api", "api-gateway", "batch")
    seen: Counter[str] = Counter()
    for number in range(int(os.environ.get("ZT_MESH_REPEATS", "2"))):
        wait_until_all_run(lab, apps)
        folder = tmp_path / str(number)
        process = subprocess.Popen(
            suite_command(folder, "-k", "ZT-MSH"),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while process.poll() is None and not lab.items("pods", "-A", "-l", "zerotrust.dev/run"):
            time.sleep(0.2)
        restarted = 0
        while process.poll() is None:
            app = apps[restarted % len(apps)]
            chosen = ("-n", "production", "-l", f"app={app},!zerotrust.dev/run")
            lab.kubectl("delete", "pods", *chosen, "--wait=false")
            restarted += 1
            try:
                process.wait(PAUSE)
            except subprocess.TimeoutExpired:
                continue
        output, _ = process.communicate()
        run = read_run(process.returncode, output, folder)
        assert restarted > 1, output
        assert run.status in (0, 6), output
        wrong = {n: v for n, v in run.verdicts.items() if v not in (HOLDS, INCONCLUSIVE)}
        assert wrong == {}, output
        seen.update(run.verdicts.values())
    print(dict(seen))
    scenario("hardened")
