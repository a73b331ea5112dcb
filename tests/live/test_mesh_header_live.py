"""A caller that writes another identity into its request: the application is told its own, unless
the proxies forward what it wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    VIOLATED,
    Cluster,
    SuiteRun,
    run_suite,
)

pytestmark = pytest.mark.live

CHECK = "ZT-MSH-010-api-gateway->payment-service:8080/tcp"
MANAGER = "envoy.filters.network.http_connection_manager"
TYPE = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


@contextmanager
def forwarding(lab: Cluster, app: str, way: str, how: str) -> Iterator[None]:
    """Let the proxies of a workload treat the header in another way, going out or coming in."""
    settings = {"@type": TYPE, "forward_client_cert_details": how}
    item: dict[str, Any] = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "forwarding", "namespace": "production"},
        "spec": {
            "workloadSelector": {"labels": {"app": app}},
            "configPatches": [
                {
                    "applyTo": "NETWORK_FILTER",
                    "match": {
                        "context": way,
                        "listener": {"filterChain": {"filter": {"name": MANAGER}}},
                    },
                    "patch": {"operation": "MERGE", "value": {"typed_config": settings}},
                }
            ],
        },
    }
    text = json.dumps(item)
    lab.kubectl("apply", "-f", "-", stdin=text)
    try:
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=text)


def run(folder: Path) -> SuiteRun:
    found = run_suite(folder, "-k", "ZT-MSH-010")
    assert set(found.verdicts) == {CHECK}, found.output
    return found


def test_a_caller_whose_word_is_forwarded_is_named(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    with forwarding(lab, "api-gateway", "SIDECAR_OUTBOUND", "ALWAYS_FORWARD_ONLY"):
        found = run(tmp_path)
    assert found.verdicts[CHECK] == VIOLATED, found.output
    assert "a caller inside the mesh wrote spiffe://cluster.local/" in found.output
    assert "the application was TOLD so" in found.output


@pytest.mark.deep
def test_only_the_truth_holds(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    sound = run(tmp_path / "sound")
    assert sound.verdicts[CHECK] == HOLDS, sound.output
    told = "is told spiffe://cluster.local/ns/production/sa/api-gateway, and no forged identity"
    assert told in sound.results[CHECK]["headline"]
    # Where the application is told nothing, nothing shows that it would be told the truth.
    with forwarding(lab, "payment-service", "SIDECAR_INBOUND", "FORWARD_ONLY"):
        silent = run(tmp_path / "silent")
    assert silent.verdicts[CHECK] == INCONCLUSIVE, silent.output
    assert silent.results[CHECK]["reason"] == "identity-not-shown"
