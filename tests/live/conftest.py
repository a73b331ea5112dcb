"""The lab for live tests: brought up once if it is not there, changed only by ``scenario``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.live.support import LAB, Cluster, zt_lab


@pytest.fixture(scope="session")
def lab() -> Cluster:
    """The running lab (``ZT_LAB`` names another one, ``ZT_LAB_FLAGS`` are its choices)."""
    zt_lab("up", "--name", LAB, *os.environ.get("ZT_LAB_FLAGS", "").split(), timeout=3000)
    return Cluster()


@pytest.fixture
def scenario(lab: Cluster) -> Iterator[Callable[[str], None]]:
    """Bring the lab to a scenario; nothing of a run may be left in it afterwards."""

    def apply(name: str) -> None:
        zt_lab("scenario", name, "--name", LAB)

    yield apply
    assert lab.left_behind() == []
