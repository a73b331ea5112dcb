"""Runs that are interrupted at any moment leave nothing, and join no Service meanwhile.

A soak: ``ci/soak-interrupts`` runs it. ``ZT_INTERRUPTS`` is the number of runs, ``ZT_SEED`` the
seed of a series that is to be repeated. A run selects few checks, so that most of its time are the
moments that matter: pods that are made, asked and deleted.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.live.endpoints import EndpointWatch
from tests.live.support import ROOT, Cluster, SuiteRun, read_run, suite_command

pytestmark = pytest.mark.soak

EARLY = 3.0
"""Seconds within which a run may not yet have begun."""

TWICE_WITHIN = 0.8
"""Seconds within which the same interrupt is told again. Two that are further apart may make a
run give up its deletion, as it is meant to."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
FLOWS = "canaries or (ZT-NET-001 and reports and web) or (ZT-NET-003 and frontend)"
CHOICES = {
    ("-k", FLOWS): (4, 11.0),
    ("-k", FLOWS, "-n", "2"): (2, 12.0),
    ("-k", "canaries"): (1, 8.0),
    ("-k", "ZT-NET-011 and web"): (1, 13.0),
    ("-k", "ZT-MSH-003 and frontend"): (1, 12.0),
    ("-k", "ZT-ADM-001 and production"): (1, 2.5),
}
"""Selections, pods of all kinds, made at once or late, by one process or two. With each its weight,
and the seconds after which it is interrupted at the latest; whole it takes about as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """What befalls one run. ``again`` are the seconds after which it is told once more;
    ``everybody``: the whole group of processes gets it, as from a terminal."""

    words: tuple[str, ...]
    sign: signal.Signals
    moment: float
    again: tuple[float, ...]
    everybody: bool

    def __str__(self) -> str:
        who = "to all its processes" if self.everybody else "to the first process"
        times = f", {len(self.again) + 1} times" if self.again else ""
        return f"{' '.join(self.words)}: {self.sign.name} after {self.moment:.1f} s {who}{times}"


def draw(dice: random.Random) -> Interrupt:
    """The next interrupt of a series."""
    (words,) = dice.choices(list(CHOICES), [weight for weight, _ in CHOICES.values()])
    latest = CHOICES[words][1]
    early = dice.random() < 0.25 or latest < EARLY
    return Interrupt(
        words=words,
        sign=dice.choice(SIGNALS),
        moment=dice.uniform(0.3, min(EARLY, latest)) if early else dice.uniform(EARLY, latest),
        again=tuple(dice.uniform(0.0, TWICE_WITHIN / 2) for _ in range(dice.choice((0, 0, 1, 2)))),
        everybody=dice.random() < 0.5,
    )


def interrupted(folder: Path, config: str, what: Interrupt) -> SuiteRun:
    """Run the selection, interrupt it, and wait for its end."""
    folder.mkdir()
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(
            suite_command(folder, *what.words, config=config),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A job in the background inherits a SIGINT that is ignored; a terminal's does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        for pause in (what.moment, *what.again):
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                send = os.killpg if what.everybody else os.kill
                send(process.pid, what.sign)
        process.wait(timeout=200)
        output.seek(0)
        return read_run(process.returncode, output.read(), folder)


@dataclass(slots=True)
class Tally:
    """What became of all runs."""

    signs: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)

    def add(self, what: Interrupt, run: SuiteRun, left: list[str]) -> None:
        self.signs[what.sign.name] += 1
        self.ended[_word(run.status)] += 1
        self.left += left

    def line(self, watch: EndpointWatch, seconds: float) -> str:
        """The summary."""
        signs = ", ".join(f"{name} {count}" for name, count in sorted(self.signs.items()))
        ended = ", ".join(f"{count} {word}" for word, count in self.ended.most_common())
        return (
            f"{sum(self.signs.values())} runs in {seconds:.0f} s ({signs}; {ended}): "
            f"{len(self.left)} objects left, {len(watch.joined)} endpoints joined "
            f"({len(watch.seen)} endpoints of probe pods seen)"
        )


def _word(status: int) -> str:
    if status == 0:
        return "over before"
    return "interrupted" if status == 2 else "not begun or over" if status < 0 else f"with {status}"


def test_interrupted_runs_leave_nothing(scenario, lab: Cluster, tmp_path: Path):
    seed = int(os.environ.get("ZT_SEED", str(random.SystemRandom().randrange(10**6))))
    runs = int(os.environ.get("ZT_INTERRUPTS", "3"))
    print(f"{runs} runs, ZT_SEED={seed}", flush=True)
    dice = random.Random(seed)
    scenario("hardened")
    tally = Tally()
    began = time.monotonic()
    with EndpointWatch(lab) as watch:
        try:
            for number in range(runs):
                what = draw(dice)
                run = interrupted(tmp_path / str(number), lab.config, what)
                left = lab.left_behind()
                tally.add(what, run, left)
                told = f"run {number} of seed {seed}: {what}\n{run.output}"
                print(f"{number}: {what}: {_word(run.status)}", flush=True)
                assert left == [], told
                assert watch.joined == {}, told
                # In its first moments, and in its last, the signal itself ends a process: there
                # is nothing to be deleted then, as was just seen.
                assert run.status in (0, 2) or run.status < 0, told
                assert "INTERNALERROR" not in run.output, told
        finally:
            print(tally.line(watch, time.monotonic() - began), flush=True)
    assert tally.ended["interrupted"] > runs / 2
