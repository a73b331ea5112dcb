"""The lab of the fault suite (``ZT_LAB`` names it), mended and clean before every fault."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.proxy import Proxy, proxied
from tests.live.support import Cluster, zt_lab

LAB = os.environ.get("ZT_LAB", "flt")


@pytest.fixture(scope="session")
def lab() -> Cluster:
    zt_lab("up", "--name", LAB, timeout=3000)
    zt_lab("scenario", "hardened", "--name", LAB)
    return Cluster(LAB)


@pytest.fixture(autouse=True)
def clean(lab: Cluster) -> Iterator[None]:
    """Nothing may be left of a run, except where the test itself cleans up what was told."""
    assert lab.left_behind() == []
    yield
    assert lab.left_behind() == []


@pytest.fixture
def mended(lab: Cluster) -> Iterator[None]:
    """Brings the lab back to health after a test that breaks a part of it."""
    yield
    zt_lab("up", "--name", LAB, timeout=600)


@pytest.fixture
def proxy(lab: Cluster) -> Iterator[Proxy]:
    with proxied(lab.config) as made:
        yield made


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the faults, and how many of them were survived."""
    stats = terminalreporter.stats
    broken = {report.nodeid for word in ("failed", "error") for report in stats.get(word, ())}
    ran = sorted({report.nodeid for report in stats.get("passed", ())} | broken)
    survived = [nodeid for nodeid in ran if nodeid not in broken]
    terminalreporter.section(f"{len(survived)} of {len(ran)} faults survived")
    for nodeid in ran:
        word = "survived" if nodeid in survived else "NOT SURVIVED"
        terminalreporter.write_line(f"{word:<14}{nodeid.partition('::')[2]}")
