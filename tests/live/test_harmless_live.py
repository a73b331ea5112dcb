"""Probe pods never take part in production: no endpoint, no owner, gone after the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.live.support import INCONCLUSIVE, Cluster, run_suite
from tests.live.test_broken_probes_live import finish, running_twins, start, wait_for

pytestmark = pytest.mark.live


def ready_addresses(lab: Cluster) -> dict[str, set[str]]:
    """The ready addresses of every Service that is not ours."""
    found: dict[str, set[str]] = {}
    for item in lab.items("endpointslices.discovery.k8s.io", "-A"):
        labels = item["metadata"].get("labels", {})
        service = labels.get("kubernetes.io/service-name", "")
        if service.startswith("zt-"):
            continue
        for endpoint in item.get("endpoints") or ():
            if endpoint.get("conditions", {}).get("ready"):
                name = f"{item['metadata']['namespace']}/{service}"
                found.setdefault(name, set()).update(endpoint["addresses"])
    return found


def test_a_twin_is_never_an_endpoint_and_never_adopted(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    process = start(tmp_path)
    wait_for(lambda: len(running_twins(lab)) >= 8, process)
    looks = 0
    while process.poll() is None:
        pods = lab.items("pods", "-A", "-l", "zerotrust.dev/run")
        ours = {p["status"]["podIP"] for p in pods if p.get("status", {}).get("podIP")}
        # A probe in a node's own network has the node's address, which is not ours to claim.
        ours -= {p["status"].get("hostIP") for p in pods if p["spec"].get("hostNetwork")}
        joined = {n: a & ours for n, a in ready_addresses(lab).items() if a & ours}
        assert joined == {}
        owners = {p["metadata"]["name"]: p["metadata"].get("ownerReferences") for p in pods}
        assert set(owners.values()) <= {None}
        looks += 1
    run = finish(process, tmp_path)
    assert looks > 3
    assert run.status == 0, run.output


def test_a_service_that_publishes_unready_addresses_keeps_the_twin_from_being_made(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "greedy", "namespace": "legacy"},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"app": "web"},
            "ports": [{"port": 8080}],
        },
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(service))
    try:
        run = run_suite(tmp_path, "--zt-level", "1")
    finally:
        lab.kubectl("delete", "service", "greedy", "-n", "legacy")
    assert run.status == 6, run.output
    assert set(run.about("web").values()) == {INCONCLUSIVE}
    assert "Service legacy/greedy publishes addresses that are not ready" in run.output
