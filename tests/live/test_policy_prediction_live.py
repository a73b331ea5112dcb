"""Some random cases; ``ci/soak-policies`` makes hundreds. ``ZT_SEED`` repeats a choice."""

from __future__ import annotations

import os
import time

import pytest

from tests.live.prediction import Tally, ground, run_case
from tests.live.support import Cluster

pytestmark = pytest.mark.live

CASES = 6


@pytest.mark.deep
def test_what_policies_imply_is_what_happens(lab: Cluster):
    seed = int(os.environ.get("ZT_SEED", time.time_ns() % 1_000_000_000))
    print(f"ZT_SEED={seed}")
    tally = Tally()
    with ground(lab.config) as found:
        for number in range(CASES):
            run_case(found, seed + number, tally)
    print(tally)
    assert tally.mistakes == [], "\n\n".join(tally.mistakes)
    assert tally.denied > 0
    assert tally.unknown * 2 < tally.flows
