"""The suite without an intent file: what the network does with policies, on pods of our own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import PROBES
from tests.live.support import (
    HOLDS,
    VIOLATED,
    Cluster,
    SuiteRun,
    read_run,
    suite_command,
    zt_lab,
)

pytestmark = pytest.mark.live

NAME = "ztnet"
ALLOWED = (
    "baseline-client->baseline-server:8080",
    "baseline-guest->baseline-server:8080",
    "baseline-client->baseline-stranger:8080",
)
DENIED = (
    "baseline-stranger->baseline-server:8080",
    "baseline-outsider->baseline-server:8080",
    "baseline-client->baseline-server:8081",
    "baseline-client->baseline-closed:8080",
    "baseline-closed->baseline-stranger:8080",
)


def checks(flows: tuple[str, ...]) -> list[str]:
    return [f"ZT-NET-000-{flow}/tcp-pod-ip" for flow in flows]


def run_without_a_file(folder: Path, config: str, *arguments: str) -> SuiteRun:
    """The suite in an empty folder, as on the first day."""
    image = "--zt-probe-image=registry.company.com/zerotrust/probe:1"
    command = suite_command(folder / "out", "--zt-conformance", image, *arguments, config=config)
    place = folder / "empty"
    place.mkdir()
    done = subprocess.run(
        [*command, "-c", "/dev/null", f"--rootdir={place}"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return read_run(done.returncode, done.stdout + done.stderr, folder / "out")


def test_an_enforcing_network_is_shown_and_what_is_not_shown_is_said(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    run = run_without_a_file(tmp_path, lab.config)
    asked = {name: v for name, v in run.verdicts.items() if name.startswith("ZT-NET-000")}
    wanted = ["ZT-NET-000-canaries", *checks(ALLOWED), *checks(DENIED)]
    assert asked == dict.fromkeys(wanted, HOLDS), run.output
    assert run.status == 0, run.output
    # Nothing of it lets a level hold: the workloads of the cluster were not looked at.
    assert "no level holds (level 0)" in run.output
    assert "Nothing is shown about your workloads" in run.output
    nodes = {line.partition(" ->")[0] for line in run.results["ZT-NET-000-canaries"]["observed"]}
    assert len([node for node in nodes if node.endswith(("-node1", "-node2"))]) == 2
    left = [n["metadata"]["name"] for n in lab.items("namespaces")]
    assert [name for name in left if name.startswith(PROBES)] == [PROBES]


@pytest.fixture
def unenforced() -> Iterator[Cluster]:
    flags = ("--cni", "ptp", "--without", "mesh", "--without", "admission")
    try:
        zt_lab("up", "--name", NAME, *flags, "--scenario", "open")
        yield Cluster(NAME)
    finally:
        zt_lab("down", "--name", NAME)


@pytest.mark.deep
def test_a_network_that_enforces_nothing_is_violated(unenforced: Cluster, tmp_path: Path):
    run = run_without_a_file(tmp_path, unenforced.config)
    assert run.status == 1, run.output
    assert {run.verdicts[name] for name in checks(DENIED)} == {VIOLATED}, run.output
    assert {run.verdicts[name] for name in checks(ALLOWED)} == {HOLDS}, run.output
    assert run.verdicts["ZT-NET-000-canaries"] == VIOLATED
    for name in checks(DENIED):
        assert "declared but not enforced" in run.results[name]["headline"]
    assert unenforced.left_behind() == []
