"""Runs that are interrupted at any moment leave nothing, and join no Service meanwhile.

A soak: ``ci/soak-interrupts`` runs it. ``ZT_INTERRUPTS`` is the number of runs, ``ZT_SEED`` the
seed of a series that is to be repeated.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.live.support import Cluster
from tests.live.test_broken_probes_live import finish, start
from tests.live.test_harmless_live import ready_addresses

pytestmark = pytest.mark.soak

LONGEST = 30.0
"""Seconds after which a run is interrupted at the latest; a whole one takes about as long."""

EARLY = 4.0
"""Seconds within which a run may not yet have begun."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHOICES = (
    ("--zt-level", "1"),
    ("-k", "ZT-NET-002"),
    ("-k", "ZT-ADM"),
    ("--zt-level", "1", "-n", "2"),
)


def joined(lab: Cluster) -> dict[str, set[str]]:
    """Services of the user's of which a probe pod is a ready endpoint."""
    pods = lab.items("pods", "-A", "-l", "zerotrust.dev/run")
    ours = {p["status"]["podIP"] for p in pods if p.get("status", {}).get("podIP")}
    return {name: found & ours for name, found in ready_addresses(lab).items() if found & ours}


def test_interrupted_runs_leave_nothing(scenario, lab: Cluster, tmp_path: Path):
    seed = int(os.environ.get("ZT_SEED", str(random.SystemRandom().randrange(10**6))))
    runs = int(os.environ.get("ZT_INTERRUPTS", "3"))
    print(f"{runs} runs, ZT_SEED={seed}")
    dice = random.Random(seed)
    scenario("hardened")
    ended: Counter[int] = Counter()
    for number in range(runs):
        words, sign = dice.choice(CHOICES), dice.choice(SIGNALS)
        moment, again = dice.uniform(0.5, LONGEST), dice.random() < 0.2
        told = f"run {number} of seed {seed}: {words}, {sign.name} after {moment:.1f} s"
        process = start(tmp_path / str(number), *words)
        until = time.monotonic() + moment
        while process.poll() is None and time.monotonic() < until:
            assert joined(lab) == {}, told
            time.sleep(0.3)
        process.send_signal(sign)
        if again:
            # One more is only noted while the run deletes; it takes two to give up.
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                process.send_signal(sign)
        run = finish(process, tmp_path / str(number))
        ended[run.status] += 1
        # In its first moments Python itself ends it; then there is nothing to be deleted.
        early = moment < EARLY and run.status < 0
        assert run.status in (0, 2) or early, f"{told}\n{run.output}"
        assert lab.left_behind() == [], f"{told}\n{run.output}"
    print(f"ended with: {dict(ended)}")
    assert ended[2] > runs / 2
