"""How long each step of bringing a lab up took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One finished step; steps may overlap."""

    name: str
    begun: float
    ended: float


@dataclass(frozen=True)
class Stopwatch:
    """Collects the steps, in seconds since the watch was made."""

    log: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        begun = time.monotonic() - self.started
        yield
        self.steps.append(Step(name, begun, time.monotonic() - self.started))
        self.log(name)

    def table(self) -> str:
        """The steps as a table, in the order in which they ended."""
        lines = [f"{'step':34} {'from':>7} {'to':>7} {'took':>7}"]
        for step in sorted(self.steps, key=lambda step: step.ended):
            took = step.ended - step.begun
            lines.append(f"{step.name:34} {step.begun:6.1f}s {step.ended:6.1f}s {took:6.1f}s")
        total = time.monotonic() - self.started
        lines.append(f"{'all':34} {0:6.1f}s {total:6.1f}s {total:6.1f}s")
        return "\n".join(lines)
