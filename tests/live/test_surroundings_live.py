"""What is told without judgement about the surroundings: nodes to pods, IPv6, the host network."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.live.support import HOLDS, LAB, ROOT, Cluster, run_suite

pytestmark = pytest.mark.live

OWN = "zerotrust-host"
NODES = (f"{LAB}-node1", f"{LAB}-node2")


def test_nodes_ipv6_and_the_host_network_are_told(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    intent = yaml.safe_load((ROOT / "zerotrust.yaml").read_text("utf-8"))
    # In a namespace of this test: the standing one takes no pod in a node's network.
    intent["probe"] |= {"namespace": OWN, "hostNetwork": True}
    file = tmp_path / "zerotrust.yaml"
    file.write_text(yaml.safe_dump(intent))
    try:
        run = run_suite(tmp_path / "run", f"--zt-intent={file}", "-k", "ZT-NET-000")
    finally:
        lab.kubectl("delete", "namespace", OWN, "--ignore-not-found")
    canaries = run.results["ZT-NET-000-canaries"]
    assert canaries["verdict"] == HOLDS, run.output
    evidence = canaries["evidence"]
    for node in NODES:
        assert evidence["ipv6"][node].startswith("there is no address")
        # Cilium lets a node reach its own pods, whatever the policies say.
        assert evidence["node_to_pod"][node].startswith("passes, although")
        reached, _, kept = evidence["host_network"][node].partition("; does not reach ")
        assert reached.startswith("reaches sealed canary on"), evidence["host_network"]
        assert f"sealed canary on {node}:" in reached
        assert kept
