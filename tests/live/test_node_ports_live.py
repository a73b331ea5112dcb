"""A Service with a node port: closed in the hardened lab, and a way around policies for egress."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.support import HOLDS, VIOLATED, Cluster, differences, holding, run_suite
from tests.live.test_network_holes_live import added, app, policy

pytestmark = pytest.mark.live

CHECK = "ZT-NET-012-database-node-port"
SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "database-outside", "namespace": "production"},
    "spec": {"type": "NodePort", "selector": {"app": "database"}, "ports": [{"port": 5432}]},
}
# Meant for an agent on the nodes; whatever a node passes on comes with it.
TO_NODES = policy(
    "production",
    "batch-to-nodes",
    {"endpointSelector": app("batch"), "egress": [{"toEntities": ["host", "remote-node"]}]},
    cilium=True,
)
# One half of a flow: harmless as long as the other half is denied.
FROM_BATCH = policy(
    "production",
    "database-from-batch",
    {
        "podSelector": app("database"),
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": app("batch")}]}],
    },
)
SELECTED = ("-k", "NET-002 or NET-012")


@pytest.fixture
def node_port(scenario, lab: Cluster) -> Iterator[None]:
    scenario("hardened")
    with added(lab, SERVICE):
        yield


def test_a_node_port_is_closed_and_then_a_way_around(node_port: None, lab: Cluster, tmp_path: Path):
    closed = run_suite(tmp_path / "closed", *SELECTED)
    expected = holding(closed.verdicts) | {CHECK: HOLDS}
    assert differences(expected, closed.verdicts) == [], closed.output
    assert closed.status == 0

    with added(lab, TO_NODES, FROM_BATCH):
        opened = run_suite(tmp_path / "open", *SELECTED)
    # By pod IP and by Service IP batch is still kept in by its own policies.
    assert differences(expected | {CHECK: VIOLATED}, opened.verdicts) == [], opened.output
    assert opened.status == 1
    headline = opened.results[CHECK]["headline"]
    assert "production/batch -> production/database:5432/tcp by node port at " in headline
    assert headline.endswith("REACHED, expected DENIED")
