"""Probe pods never take part in production: no endpoint, no owner, gone after the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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


BUDGETS = {"database": {"minAvailable": 1}, "api-gateway": {"maxUnavailable": 1}}
COUNTS = ("currentHealthy", "desiredHealthy", "disruptionsAllowed")
"""What decides about a disruption. ``expectedPods`` counts whatever is selected, and decides
nothing where the budget is a number."""


def counts(lab: Cluster) -> dict[str, dict[str, int]]:
    """What the disruption controller makes of the budgets, once it has seen them."""
    items = lab.items("poddisruptionbudgets", "-n", "production")
    statuses: dict[str, Mapping[str, Any]] = {i["metadata"]["name"]: i["status"] for i in items}
    return {name: {c: status.get(c, -1) for c in COUNTS} for name, status in statuses.items()}


@pytest.fixture
def budgets(lab: Cluster) -> Iterator[None]:
    """One budget that allows no disruption, and one that allows one."""
    for app, words in BUDGETS.items():
        spec = {"selector": {"matchLabels": {"app": app}}, **words}
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": app, "namespace": "production"},
            "spec": spec,
        }
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    yield
    lab.kubectl("delete", "poddisruptionbudgets", "-n", "production", *BUDGETS)


def twins_by_app(lab: Cluster) -> dict[str, str]:
    """The names of the running twins."""
    return {twin["labels"]["app"]: twin["name"] for twin in running_twins(lab)}  # type: ignore[index]


def may_evict(lab: Cluster, pod: str) -> bool:
    """Whether a drain would be let evict a pod (asked as a dry run)."""
    path = f"/api/v1/namespaces/production/pods/{pod}/eviction?dryRun=All"
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": "production"},
    }
    said = lab.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body), check=False)
    return "Success" in said


@pytest.mark.deep
def test_no_disruption_budget_counts_a_twin_and_drains_go_on(
    scenario, lab: Cluster, budgets: None, tmp_path: Path
):
    scenario("hardened")
    wanted = {"database": (1, 1, 0), "api-gateway": (1, 0, 1)}
    before = {name: dict(zip(COUNTS, numbers, strict=True)) for name, numbers in wanted.items()}
    process = start(tmp_path, "-k", "NET-002-database or NET-002-api-gateway or NET-000")
    wait_for(lambda: BUDGETS.keys() <= twins_by_app(lab).keys(), process)
    twins = twins_by_app(lab)
    pods = lab.items("pods", "-n", "production", "-l", "!zerotrust.dev/run")
    names = {pod["metadata"]["labels"]["app"]: pod["metadata"]["name"] for pod in pods}
    # As without us: the application with a budget of nothing stays, the other may go.
    assert may_evict(lab, names["api-gateway"])
    assert not may_evict(lab, names["database"])
    # A twin stands in nobody's way, whatever the budget of the application it stands for.
    assert may_evict(lab, twins["database"])
    looks = 0
    while process.poll() is None:
        assert counts(lab) == before
        looks += 1
    run = finish(process, tmp_path)
    assert run.status == 0, run.output
    assert looks > 2
    assert counts(lab) == before
