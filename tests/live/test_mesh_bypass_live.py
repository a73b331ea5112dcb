"""Ways around the mesh that show on no declared port, each on a workload of its own, and what only
looks like one: exactly their checks change."""

from __future__ import annotations

import json
import time
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
PROBE = "registry.company.com/zerotrust/probe:1"
DROPPED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
TRY = """
import socket
try:
    socket.create_connection(("203.0.113.77", 9), 3).close()
    print("taken by a proxy")
except ConnectionRefusedError:
    print("taken for a proxy that does not run yet")
except OSError as error:
    print("left alone:", error)
"""
"""What becomes of a connection to an address that nobody has: only a proxy takes it."""

RESETS = """
import socket, struct
server = socket.create_server(("0.0.0.0", 9301))
while True:
    peer, _ = server.accept()
    peer.recv(1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
"""
"""A server that resets whatever it does not understand, as a proxy does."""


def python(name: str, source: str, **security: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": PROBE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "-c", source],
        "securityContext": {**DROPPED, **security},
    }


def template(*containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}


EXCLUDED = template(python("cutter", RESETS))
EXCLUDED["spec"]["template"]["metadata"] = {
    "annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "9301"}
}
PATCHES: dict[str, dict[str, Any]] = {
    # A container whose traffic counts as the proxy's own.
    "payment-service": template(python("sneaky", "import time; time.sleep(1e6)", runAsUser=1337)),
    # The same before the application starts.
    "batch": template(initContainers=[python("early", TRY, runAsUser=1337)]),
    # An init container of which the lab's CNI plug-in captures everything: no way around.
    "api-gateway": template(initContainers=[python("early", TRY)]),
    # A port past the proxy, on which a server resets plaintext as the proxy would.
    "api": EXCLUDED,
}
ON_NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "on-node", "namespace": "staging", "labels": {"app": "frontend"}},
    "spec": {
        "hostNetwork": True,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {"name": "app", "image": APP, "args": ["http", "18080"], "securityContext": DROPPED}
        ],
    },
}
CHANGED = {
    "ZT-MSH-006-payment-service": VIOLATED,
    "ZT-MSH-006-batch": VIOLATED,
    "ZT-MSH-006-api": VIOLATED,
    "ZT-MSH-005-api": INCONCLUSIVE,
    "ZT-MSH-006-frontend": VIOLATED,
    # What holds for the other replica is not shown for one in the network of its node.
    "ZT-MSH-001-frontend:8080/tcp": INCONCLUSIVE,
    "ZT-MSH-002-frontend:8080/tcp": INCONCLUSIVE,
    "ZT-MSH-004-frontend:8080/tcp": INCONCLUSIVE,
    "ZT-MSH-005-frontend": INCONCLUSIVE,
    "ZT-MSH-007-frontend:8080/tcp": INCONCLUSIVE,
    "ZT-MSH-009-frontend:8080/tcp": INCONCLUSIVE,
}
SAID = (
    "runs sneaky as the proxy (id 1337)",
    "runs early as the proxy (id 1337)",
    "does not capture what comes in on ports 9301",
    "nothing shows that the proxy refuses on a port",
    "runs in the node's network, where no proxy captures its traffic",
)


def output_of(lab: Cluster, app: str, container: str) -> str:
    """What a container of the newest pod of a workload printed."""
    pods = lab.items("pods", "-n", "production", "-l", f"app={app},!zerotrust.dev/run")
    newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    return lab.kubectl("logs", "-n", "production", newest["metadata"]["name"], "-c", container)


@pytest.fixture
def bypassed(scenario, lab: Cluster) -> Iterator[None]:
    scenario("hardened")
    text = json.dumps(ON_NODE)
    try:
        lab.kubectl("apply", "-f", "-", stdin=text)
        for name, patch in PATCHES.items():
            lab.kubectl("patch", "deployment", name, "-n", "production", "-p", json.dumps(patch))
        for name in PATCHES:
            where = (f"deployment/{name}", "-n", "production", "--timeout=110s")
            lab.kubectl("rollout", "status", *where)
        lab.kubectl("wait", "--for=condition=Ready", "pod/on-node", "-n", "staging")
        wait_until_old_pods_are_gone(lab)
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=text, check=False)
        scenario("hardened")


def wait_until_old_pods_are_gone(lab: Cluster) -> None:
    end = time.monotonic() + 60
    while any("deletionTimestamp" in p["metadata"] for p in lab.items("pods", "-n", "production")):
        assert time.monotonic() < end, "pods of before do not go"
        time.sleep(0.5)


def test_every_way_around_is_named_and_nothing_else(bypassed, lab: Cluster, tmp_path: Path):
    # By its effect: what runs as the proxy is left alone, what does not is taken.
    assert output_of(lab, "batch", "early").startswith("left alone")
    assert output_of(lab, "api-gateway", "early").startswith("taken")
    run = run_suite(tmp_path, *MESH)
    expected = holding(run.verdicts) | CHANGED
    assert differences(expected, run.verdicts) == [], run.output
    assert set(CHANGED) <= set(run.verdicts)
    assert [words for words in SAID if words not in run.output] == []


@pytest.mark.deep
def test_a_server_that_speaks_first_is_open_where_its_proxy_is_permissive(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    policy = json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": {"name": "hole", "namespace": "production"},
            "spec": {
                "selector": {"matchLabels": {"app": "database"}},
                "mtls": {"mode": "STRICT"},
                "portLevelMtls": {"5432": {"mode": "PERMISSIVE"}},
            },
        }
    )
    patch = json.dumps(template({"name": "app", "args": ["greeter", "5432"]}))
    try:
        lab.kubectl("patch", "deployment", "database", "-n", "production", "-p", patch)
        where = ("deployment/database", "-n", "production", "--timeout=110s")
        lab.kubectl("rollout", "status", *where)
        wait_until_old_pods_are_gone(lab)
        # Envoy asks an AuthorizationPolicy at the caller's first bytes, so a banner may be quicker.
        ports = ("-k", "ZT-MSH and not ZT-MSH-008")
        strict = run_suite(tmp_path / "strict", *ports)
        lab.kubectl("apply", "-f", "-", stdin=policy)
        permissive = run_suite(tmp_path / "permissive", *ports)
    finally:
        lab.kubectl("delete", "-f", "-", stdin=policy, check=False)
        scenario("hardened")
    assert differences(holding(strict.verdicts), strict.verdicts) == [], strict.output
    controls = ("ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004")
    changed = {f"{control}-database:5432/tcp": VIOLATED for control in controls}
    expected = holding(permissive.verdicts) | changed
    assert differences(expected, permissive.verdicts) == [], permissive.output
