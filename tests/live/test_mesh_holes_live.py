"""Ways around the mesh, each on a workload of its own: exactly their checks change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.support import (
    INCONCLUSIVE,
    VIOLATED,
    Cluster,
    differences,
    holding,
    run_suite,
)

pytestmark = pytest.mark.live

MESH = ("-k", "ZT-MSH")
APP = "registry.company.com/apps/app:1"
TRAFFIC = "traffic.sidecar.istio.io"
SECURITY = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def listener(port: int, *, named: bool = True) -> dict[str, Any]:
    """One more container that answers on a port which no Service and no intent names, nor itself
    unless ``named``."""
    dropped = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "name": "extra",
        "image": APP,
        "args": ["lines", str(port)],
        **({"ports": [{"containerPort": port}]} if named else {}),
        "securityContext": {**dropped, "readOnlyRootFilesystem": True},
    }


def template(**words: Any) -> dict[str, Any]:
    return {"spec": {"template": words}}


def spec(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"containers": list(containers)}


PATCHES: dict[str, dict[str, Any]] = {
    # A port that the proxy never sees.
    "batch": template(
        metadata={"annotations": {f"{TRAFFIC}/excludeInboundPorts": "9300"}},
        spec=spec(listener(9300)),
    ),
    # A port that nothing names but the PeerAuthentication that makes an exception for it.
    "payment-service": template(spec=spec(listener(9277, named=False))),
    # A container port without a Service is no hole: the proxy is strict there as well.
    "api": template(spec=spec(listener(9100))),
    # Ways out of the mesh that show on no port.
    "api-gateway": template(metadata={"annotations": {f"{TRAFFIC}/excludeOutboundPorts": "5432"}}),
    "database": template(
        spec=spec({"name": "app", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}})
    ),
}
OBJECTS: list[dict[str, Any]] = [
    {
        **SECURITY,
        "metadata": {"name": "hole", "namespace": "production"},
        "spec": {
            "selector": {"matchLabels": {"app": "payment-service"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"9277": {"mode": "DISABLE"}},
        },
    },
    # The proxy of api demands a certificate, and takes whatever it is shown.
    {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "trusting", "namespace": "production"},
        "spec": {
            "workloadSelector": {"labels": {"app": "api"}},
            "configPatches": [
                {
                    "applyTo": "FILTER_CHAIN",
                    "match": {
                        "context": "SIDECAR_INBOUND",
                        "listener": {"filterChain": {"destinationPort": 8080}},
                    },
                    "patch": {
                        "operation": "MERGE",
                        "value": {
                            "transport_socket": {
                                "name": "envoy.transport_sockets.tls",
                                "typed_config": {
                                    "@type": TLS,
                                    "common_tls_context": {
                                        "combined_validation_context": {
                                            "default_validation_context": {
                                                "trust_chain_verification": "ACCEPT_UNTRUSTED"
                                            }
                                        }
                                    },
                                },
                            }
                        },
                    },
                }
            ],
        },
    },
    # A replica without a proxy.
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "naked",
            "namespace": "staging",
            "labels": {"app": "frontend", "sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{**listener(8080), "name": "app", "args": ["http", "8080"]}],
        },
    },
]
CHANGED = {
    "ZT-MSH-005-batch": VIOLATED,
    "ZT-MSH-006-batch": VIOLATED,
    "ZT-MSH-005-payment-service": VIOLATED,
    "ZT-MSH-004-api:8080/tcp": VIOLATED,
    "ZT-MSH-006-api-gateway": VIOLATED,
    "ZT-MSH-006-database": VIOLATED,
    "ZT-MSH-001-frontend:8080/tcp": VIOLATED,
    "ZT-MSH-002-frontend:8080/tcp": VIOLATED,
    "ZT-MSH-004-frontend:8080/tcp": VIOLATED,
    "ZT-MSH-006-frontend": VIOLATED,
    # It refuses connections to its other ports by itself, and not by a proxy.
    "ZT-MSH-005-frontend": INCONCLUSIVE,
    # A pod that answers in plaintext shows no certificate.
    "ZT-MSH-007-frontend:8080/tcp": INCONCLUSIVE,
    "ZT-MSH-009-frontend:8080/tcp": VIOLATED,
}
SAID = (
    "plaintext was ANSWERED on undeclared port 9300",
    "does not capture what comes in on ports 9300",
    "plaintext was ANSWERED on undeclared port 9277",
    "a certificate that the mesh did not issue was ACCEPTED: self-signed",
    "does not capture what is sent to ports 5432",
    "the capability NET_ADMIN",
    "has no proxy (label sidecar.istio.io/inject: false)",
    "mode not meshed",
    "NOT MESHED, though DECLARED STRICT by istio-system/default",
)


@pytest.fixture
def broken(scenario, lab: Cluster) -> Iterator[None]:
    scenario("hardened")
    try:
        for item in OBJECTS:
            lab.kubectl("apply", "-f", "-", stdin=json.dumps(item))
        for name, patch in PATCHES.items():
            lab.kubectl("patch", "deployment", name, "-n", "production", "-p", json.dumps(patch))
        for name in PATCHES:
            where = (f"deployment/{name}", "-n", "production", "--timeout=110s")
            lab.kubectl("rollout", "status", *where)
        lab.kubectl("wait", "--for=condition=Ready", "pod/naked", "-n", "staging")
        yield
    finally:
        for item in OBJECTS:
            lab.kubectl("delete", "-f", "-", "--wait=false", stdin=json.dumps(item), check=False)
        scenario("hardened")


def test_every_hole_is_found_and_nothing_else(broken, tmp_path: Path):
    run = run_suite(tmp_path, *MESH)
    expected = holding(run.verdicts) | CHANGED
    assert differences(expected, run.verdicts) == [], run.output
    assert set(CHANGED) <= set(run.verdicts)
    assert [words for words in SAID if words not in run.output] == []
