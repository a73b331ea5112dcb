"""The soak behind ``ci/soak-matrix``: the same verdicts again and again, on a busy machine.

Every matrix is a batch of its own with nonces of its own, and its verdicts are compared with those
that the unchanged lab must give: all of them hold.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ci.lab.settings import load
from pytest_zerotrust.checks import KINDS
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.intent.load import load_intent
from pytest_zerotrust.network.checks import Check, NewbornCheck
from pytest_zerotrust.network.judge import Judge

from . import ours

BUSY = 2
"""Processes that do nothing but use the processor."""

EACH_FLEET = 50
"""Matrices for one set of probe pods, which end by themselves after an hour."""


@dataclass(slots=True)
class Tally:
    """What the matrices came to. ``differing`` names every verdict that did not hold."""

    matrices: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{count} {word}" for word, count in sorted(self.verdicts.items()))
        rounds = ", ".join(f"{count} of {n} rounds" for n, count in sorted(self.rounds.items()))
        return (
            f"{self.matrices} matrices ({rounds}), {self.verdicts.total()} verdicts: {told}; "
            f"{len(self.differing)} differ; {self.seconds:.0f} s"
        )


def checks_for(intent: Intent) -> list[Check]:
    """Every check that a matrix of probe pods answers. The first seconds of a new pod are none of
    them: a pod is new once."""
    return [
        check
        for kind in KINDS.values()
        for check in kind.make(intent)
        if isinstance(check, Check) and not isinstance(check, NewbornCheck)
    ]


def soak(lab_name: str, intent: Intent, matrices: int) -> Tally:
    """Make so many matrices on the lab, and count."""
    api = ours.connect(load(lab_name))
    checks = checks_for(intent)
    tally = Tally()
    began = time.monotonic()
    while tally.matrices < matrices:
        with ours.prepared(api, intent, checks) as ground:
            for _ in range(min(EACH_FLEET, matrices - tally.matrices)):
                _one(ground, tally)
                tally.seconds = time.monotonic() - began
                if tally.matrices % 10 == 0:
                    print(tally, flush=True)
    return tally


def _one(ground: ours.Ground, tally: Tally) -> None:
    engine = ground.again()
    snapshot = engine.snapshot(ground.checks[0], ground.checks)
    judge = Judge(engine, snapshot)
    tally.matrices += 1
    tally.rounds[len(snapshot.rounds)] += 1
    for check in ground.checks:
        result = judge.of(check)
        tally.verdicts[result.verdict.value] += 1
        if result.verdict is not Verdict.HOLDS:
            line = f"matrix {tally.matrices}: {result.headline}"
            tally.differing.append(line)
            print(line, flush=True)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processors busy."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main(matrices: int, lab_name: str) -> int:
    """Return 0 if no verdict differed."""
    intent = load_intent(Path(__file__).parents[2] / "zerotrust.yaml")
    with busy(BUSY):
        tally = soak(lab_name, intent, matrices)
    print(tally)
    return 1 if tally.differing or not tally.verdicts else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
