"""The policies exist, but nobody enforces them: a lab of its own without a policy engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.support import DENY_NETWORK, HOLDS, VIOLATED, Cluster, run_suite, zt_lab

pytestmark = pytest.mark.live

NAME = "unenforced"


@pytest.fixture
def unenforced() -> Iterator[Cluster]:
    flags = ("--cni", "ptp", "--without", "mesh", "--without", "admission")
    zt_lab("up", "--name", NAME, *flags, "--scenario", "hardened")
    yield Cluster(NAME)
    zt_lab("down", "--name", NAME)


def test_hardened_manifests_without_enforcement_are_violated(unenforced: Cluster, tmp_path: Path):
    policies = unenforced.items("networkpolicies", "-A")
    assert len(policies) >= 5
    run = run_suite(tmp_path, "--zt-level", "1", config=unenforced.config)
    assert run.status == 1, run.output
    denials = run.of("ZT-NET-000", *DENY_NETWORK)
    assert set(denials.values()) == {VIOLATED}, run.output
    # The policies are there and deny these flows, and every failure says so first.
    for name, result in run.results.items():
        if result["control"] in ("ZT-NET-001", "ZT-NET-002"):
            policies = result["evidence"]["policies"]
            assert policies["finding"] == "declared-but-not-enforced", name
            assert "declared but not enforced" in result["headline"]
    assert set(run.of("ZT-NET-003", "ZT-NET-004", "ZT-NET-007").values()) == {HOLDS}
    assert unenforced.left_behind() == []
