"""Something refuses that nobody declared: a packet filter on the nodes, as if left there by hand.

The verdict is inconclusive and says so; with a policy that denies the same it holds.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    LAB,
    ROOT,
    VIOLATED,
    Cluster,
    differences,
    run_suite,
)
from tests.live.test_hubble_live import hubbles
from tests.live.test_network_holes_live import added, app, policy

pytestmark = pytest.mark.live

INTENT = """
version: 1
workloads:
  left: {namespace: zt-stray, labels: {app: left}, ports: [8080]}
  right: {namespace: zt-stray, labels: {app: right}, ports: [9009]}
probe: {image: "registry.company.com/zerotrust/probe:1"}
"""
# In mangle, where Cilium has no chain: each half hour it puts its own first in filter/FORWARD.
RULE = ("FORWARD", "-p", "tcp", "--dport", "9009", "-j", "DROP")
LEFT_IN = policy("zt-stray", "left-in", {"podSelector": app("left"), "policyTypes": ["Ingress"]})
RIGHT_IN = policy("zt-stray", "right-in", {"podSelector": app("right"), "policyTypes": ["Ingress"]})
SELECTED = ("-k", "NET-000 or NET-002 or NET-011")


def on_each_node(*command: str) -> None:
    """Run a program in the network of every node."""
    sys.path.insert(0, str(ROOT))
    try:
        from ci.lab import nodes, settings
    finally:
        sys.path.remove(str(ROOT))
    lab = settings.load(LAB)
    machines = nodes.running(lab)
    for node in lab.nodes:
        enter = ["nsenter", f"--target={machines[node.name].pid}", "--net", "--"]
        subprocess.run([*enter, *command], check=True, timeout=30)


@contextlib.contextmanager
def filtered() -> Iterator[None]:
    """Drop what goes to the port of ``right``, on all nodes."""
    on_each_node("iptables", "-w", "-t", "mangle", "-I", *RULE)
    try:
        yield
    finally:
        on_each_node("iptables", "-w", "-t", "mangle", "-D", *RULE)


@pytest.fixture
def stray(lab: Cluster) -> Iterator[None]:
    """A namespace with one workload on each node; nothing denies what comes to ``right``."""
    lab.kubectl("create", "namespace", "zt-stray")
    try:
        for name, node in (("left", f"{LAB}-node1"), ("right", f"{LAB}-node2")):
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "zt-stray", "labels": {"app": name}},
                "spec": {
                    "nodeName": node,
                    "terminationGracePeriodSeconds": 0,
                    "securityContext": {"runAsNonRoot": True, "runAsUser": 65532},
                    "containers": [
                        {
                            "name": "app",
                            "image": "registry.company.com/zerotrust/probe:1",
                            "command": ["python3", "-c", "import time; time.sleep(3600)"],
                        }
                    ],
                },
            }
            lab.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        lab.kubectl("wait", "-n", "zt-stray", "pod", "--all", "--for=condition=Ready")
        with added(lab, LEFT_IN):
            yield
    finally:
        lab.kubectl("delete", "namespace", "zt-stray", "--wait=true")


@pytest.mark.deep
def test_what_nobody_declared_earns_no_verdict(scenario, lab: Cluster, stray: None, tmp_path: Path):
    intent = tmp_path / "stray.yaml"
    intent.write_text(INTENT)
    arguments = ("--zt-intent", str(intent), *SELECTED)
    to_right = (
        "ZT-NET-002-left->right:9009/tcp-pod-ip",
        "ZT-NET-002-left->right:9009/tcp-service-ip",
    )
    undeclared = dict.fromkeys((*to_right, "ZT-NET-011-left"))

    free = run_suite(tmp_path / "free", *arguments)
    expected = dict.fromkeys(free.verdicts, HOLDS) | dict.fromkeys(undeclared, VIOLATED)
    assert differences(expected, free.verdicts) == [], free.output

    with filtered():
        run = run_suite(tmp_path / "filtered", *arguments, *hubbles())
        with added(lab, RIGHT_IN):
            declared = run_suite(tmp_path / "declared", *arguments, *hubbles())
        intent.write_text(f"{INTENT}flows: [left -> right:9009]\n")
        wanted = run_suite(tmp_path / "wanted", "--zt-intent", str(intent), "-k", "NET-003")
    expected = dict.fromkeys(run.verdicts, HOLDS) | dict.fromkeys(undeclared, INCONCLUSIVE)
    assert differences(expected, run.verdicts) == [], run.output
    assert run.status == 6, run.output
    for name in undeclared:
        assert run.results[name]["reason"] == "denied-by-nothing-declared"
        assert "but by nothing that is declared" in run.results[name]["headline"]
    assert (
        "zt-stray/left -> zt-stray/right:9009/tcp by pod IP denied (dropped), "
        "but by nothing that is declared" in run.output
    )
    # What Cilium did not drop, it does not claim; with the policy, the filter still is the first.
    for name in to_right:
        for found in (run, declared):
            assert found.results[name]["evidence"]["hubble"] == {"drops": [], "problems": []}
        assert "refuser: Hubble shows no drop of this flow" in run.results[name]["objects"]
    assert set(declared.verdicts.values()) == {HOLDS}, declared.output
    assert declared.status == 0
    cut = wanted.results["ZT-NET-003-left->right:9009/tcp-pod-ip"]
    assert cut["verdict"] == VIOLATED
    assert cut["headline"].endswith("and no declared policy denies it")


def test_every_verdict_on_the_hardened_lab_is_explained(scenario, tmp_path: Path):
    scenario("hardened")
    run = run_suite(tmp_path, "-k", "NET-004 or NET-006 or NET-007 or NET-011")
    assert run.status == 0, run.output
    denied = run.of("ZT-NET-006")
    assert denied
    for name in run.verdicts:
        found = run.results[name]["evidence"]["policies"]
        parts = found.values() if "complete" not in found else [found]
        implied = "allowed" if name.startswith(("ZT-NET-004", "ZT-NET-007")) else "denied"
        assert all(part["complete"] for part in parts), (name, found)
        assert {part["implied"] for part in parts} == {implied}, (name, found)
