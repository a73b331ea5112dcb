"""The soak behind ``ci/soak-policies``: many random cases, and the mistakes as they come."""

from __future__ import annotations

import sys
import time

from tests.live.prediction import Tally, ground, run_case
from tests.live.support import kubeconfig


def main(cases: int, seed: int) -> int:
    """Return 0 if every prediction came true."""
    tally = Tally()
    started = time.monotonic()
    with ground(kubeconfig()) as found:
        for number in range(cases):
            run_case(found, seed + number, tally)
            tally.seconds = time.monotonic() - started
            if len(tally.mistakes) and tally.mistakes[-1].startswith(f"seed {seed + number}:"):
                print(tally.mistakes[-1], flush=True)
            if (number + 1) % 10 == 0:
                print(tally, flush=True)
    print(tally)
    return 1 if tally.mistakes else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
