"""Hubble names who dropped what was refused, and a Hubble that fails changes no verdict."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.live.support import HOLDS, LAB, ROOT, VIOLATED, Cluster, run_suite
from tests.live.test_network_holes_live import added

pytestmark = pytest.mark.live

NO_ENTRY = {
    "apiVersion": "cilium.io/v2",
    "kind": "CiliumNetworkPolicy",
    "metadata": {"name": "no-entry", "namespace": "production"},
    "spec": {
        "endpointSelector": {"matchLabels": {"app": "payment-service"}},
        "ingressDeny": [{"fromEndpoints": [{"matchLabels": {"app": "api-gateway"}}]}],
    },
}


def hubbles() -> list[str]:
    """The options that name the Hubble of every node."""
    sys.path.insert(0, str(ROOT))
    try:
        from ci.lab import settings
    finally:
        sys.path.remove(str(ROOT))
    lab = settings.load(LAB)
    sockets = [lab.run / node.name / "cilium" / "hubble.sock" for node in lab.nodes]
    return [f"--zt-hubble=unix://{socket}" for socket in sockets]


def test_every_drop_on_hardened_is_named_with_node_and_direction(scenario, tmp_path: Path):
    scenario("hardened")
    run = run_suite(tmp_path, *hubbles(), "-k", "NET-001 or NET-002 or NET-006")
    assert run.status == 0, run.output
    flows = run.of("ZT-NET-001", "ZT-NET-002")
    assert flows
    for name in flows:
        found = run.results[name]["evidence"]["hubble"]
        assert found["problems"] == []
        assert {drop["reason"] for drop in found["drops"]} <= {"POLICY_DENIED", "POLICY_DENY"}
        assert found["drops"], name
        for drop in found["drops"]:
            assert drop["node"] in (f"{LAB}-node1", f"{LAB}-node2")
            assert drop["direction"] in ("egress", "ingress")
    # A way out has several addresses, each with its own drops.
    ways = [run.results[name]["evidence"] for name in run.of("ZT-NET-006")]
    assert any(drops["drops"] for way in ways for drops in way.get("hubble", {}).values())


def test_a_path_that_a_rule_cuts_names_the_rule_with_or_without_one_hubble(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    dead = "--zt-hubble=127.0.0.1:1"
    with added(lab, NO_ENTRY):
        run = run_suite(tmp_path, *hubbles(), dead, "-k", "NET-003-api-gateway")
    assert run.status == 1, run.output
    cut = [n for n in run.verdicts if "->payment-service:" in n]
    assert cut
    for name in cut:
        assert run.verdicts[name] == VIOLATED
        (drop,) = run.results[name]["evidence"]["hubble"]["drops"]
        assert (drop["reason"], drop["direction"]) == ("POLICY_DENY", "ingress")
        assert drop["policies"] == ["CiliumNetworkPolicy production/no-entry"]
        (problem,) = run.results[name]["evidence"]["hubble"]["problems"]
        assert problem.startswith("Hubble at 127.0.0.1:1 did not answer")
    assert (
        "at ingress for POLICY_DENY (a rule denies it) "
        "by CiliumNetworkPolicy production/no-entry" in run.output
    )
    others = {n: v for n, v in run.verdicts.items() if n not in cut}
    assert set(others.values()) <= {HOLDS}


@pytest.mark.deep
def test_a_hubble_that_is_not_there_changes_no_verdict(scenario, tmp_path: Path):
    scenario("hardened")
    run = run_suite(tmp_path, "--zt-hubble=127.0.0.1:1", "-k", "NET-002-batch")
    assert run.status == 0, run.output
    for result in run.results.values():
        assert result["evidence"]["hubble"]["drops"] == []
        assert len(result["evidence"]["hubble"]["problems"]) == 1
