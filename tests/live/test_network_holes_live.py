"""Holes that reading policies does not show, each made in the hardened lab: found and named."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.support import (
    DENY_NETWORK,
    HOLDS,
    LAB,
    ROOT,
    VIOLATED,
    Cluster,
    differences,
    holding,
    run_suite,
)
from tests.live.test_broken_probes_live import finish, start, wait_for

pytestmark = pytest.mark.live

NETWORK = ("--zt-level", "1")


@contextlib.contextmanager
def added(lab: Cluster, *manifests: dict[str, Any]) -> Iterator[None]:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    lab.kubectl("apply", "-f", "-", stdin=text)
    try:
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=text)


def policy(namespace: str, name: str, spec: dict[str, Any], *, cilium: bool = False) -> Any:
    return {
        "apiVersion": "cilium.io/v2" if cilium else "networking.k8s.io/v1",
        "kind": "CiliumNetworkPolicy" if cilium else "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def app(name: str) -> dict[str, Any]:
    return {"matchLabels": {"app": name}}


UDP_OUT = policy(
    "production",
    "hole-udp-out",
    {
        "podSelector": app("batch"),
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": app("api")}], "ports": [{"protocol": "UDP"}]}],
    },
)
UDP_IN = policy(
    "production",
    "hole-udp-in",
    {
        "podSelector": app("api"),
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": app("batch")}], "ports": [{"protocol": "UDP"}]}],
    },
)
NEXT_PORT = policy(
    "staging",
    "hole-next-port",
    {
        "endpointSelector": {},
        "ingress": [
            {
                "fromEndpoints": [{}],
                "toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}],
            }
        ],
        "egress": [
            {"toEndpoints": [{}], "toPorts": [{"ports": [{"port": "8081", "protocol": "TCP"}]}]}
        ],
    },
    cilium=True,
)
METADATA = policy(
    "legacy",
    "hole-metadata",
    {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "169.254.0.0/16"}}]}],
    },
)
NODES = policy(
    "production",
    "hole-nodes",
    {
        "endpointSelector": app("database"),
        "egress": [
            {
                "toEntities": ["host", "remote-node"],
                "toPorts": [{"ports": [{"port": "10250", "protocol": "TCP"}]}],
            }
        ],
    },
    cilium=True,
)


def test_every_hole_is_found_and_nothing_else(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    with added(lab, UDP_OUT, UDP_IN, NEXT_PORT, METADATA, NODES):
        run = run_suite(tmp_path, *NETWORK)
    expected = holding(run.verdicts) | dict.fromkeys(
        (
            "ZT-NET-010-batch->api",
            "ZT-NET-010-frontend->reports",
            "ZT-NET-010-reports->frontend",
            "ZT-NET-006-web->metadata:80/tcp",
            "ZT-NET-006-greeter->metadata:80/tcp",
            "ZT-NET-006-mute->metadata:80/tcp",
            "ZT-NET-006-database->kubelet:10250/tcp",
        ),
        VIOLATED,
    )
    assert differences(expected, run.verdicts) == [], run.output
    assert run.status == 1
    assert "production/api:8080/udp, a port that nothing allows, REACHED" in run.output
    assert "staging/reports:8081/tcp, a port that nothing allows, REACHED" in run.output
    assert "legacy/web -> metadata:80/tcp REACHED at 169.254.169.254:80/tcp" in run.output


WINDOW_INTENT = """
version: 1
workloads:
  early: {namespace: zt-window, labels: {app: early}, ports: [8080]}
  late: {namespace: zt-window, labels: {app: late}, ports: [8080]}
probe: {image: "registry.company.com/zerotrust/probe:1"}
"""


@pytest.fixture
def window(lab: Cluster) -> Iterator[None]:
    """A namespace with two workloads and no policy at all."""
    lab.kubectl("create", "namespace", "zt-window")
    for name in ("early", "late"):
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "zt-window", "labels": {"app": name}},
            "spec": {
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
    lab.kubectl("wait", "-n", "zt-window", "pod", "--all", "--for=condition=Ready")
    yield
    lab.kubectl("delete", "namespace", "zt-window", "--wait=true")


def test_a_policy_that_comes_late_leaves_a_window_that_is_found(
    scenario, lab: Cluster, window: None, tmp_path: Path
):
    intent = tmp_path / "window.yaml"
    intent.write_text(WINDOW_INTENT)
    process = start(tmp_path, *NETWORK, "--zt-intent", str(intent), "-k", "NET-002 or NET-011")
    newborn = ("pods", "-n", "zt-window", "-l", "zerotrust.dev/role=newborn")

    def born() -> bool:
        return bool(lab.items(*newborn, "--field-selector", "status.phase=Running"))

    wait_for(born, process)
    deny = policy("zt-window", "deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(deny))
    run = finish(process, tmp_path)
    expected = holding(run.verdicts) | {"ZT-NET-011-early": VIOLATED}
    assert differences(expected, run.verdicts) == [], run.output
    assert "a new pod of zt-window/early REACHED zt-window/late:8080/tcp" in run.output


class AgentSocket(http.client.HTTPConnection):
    """The API of a node's network agent."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def enforcement(node: str, mode: str) -> None:
    """Set the mode of a node's agent (default or never) and wait until its endpoints follow."""
    sys.path.insert(0, str(ROOT))
    try:
        from ci.lab import cilium, settings
    finally:
        sys.path.remove(str(ROOT))
    lab = settings.load(LAB)
    found = next(n for n in lab.nodes if n.name == node)
    connection = AgentSocket(lab.run / node / "cilium" / "cilium.sock")
    body = json.dumps({"policy-enforcement": mode})
    headers = {"Content-Type": "application/json", "Host": "localhost"}
    with contextlib.closing(connection):
        connection.request("PATCH", "/v1/config", body, headers)
        response = connection.getresponse()
        said = response.read()
        assert response.status == 200, said
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        states = {e["status"]["state"] for e in cilium.agent_get(lab, found, "/v1/endpoint")}
        if states <= {"ready"}:
            return
        time.sleep(0.5)
    raise AssertionError(f"the endpoints of {node} do not come to rest: {states}")


def test_a_node_that_enforces_nothing_is_named(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    enforcement(f"{LAB}-node2", "never")
    try:
        run = run_suite(tmp_path, *NETWORK, "-k", "NET-000 or NET-001 or NET-002 or NET-003")
    finally:
        enforcement(f"{LAB}-node2", "default")
    assert run.status == 1, run.output
    canaries = run.results["ZT-NET-000-canaries"]
    assert canaries["verdict"] == VIOLATED
    assert f"{LAB}-node1 -> {LAB}-node2, {LAB}-node2 -> {LAB}-node2" in canaries["headline"]
    assert set(run.of("ZT-NET-003").values()) == {HOLDS}
    denials = run.of(*DENY_NETWORK)
    # Both ends would have to be on that node for a denied flow to get through.
    assert set(denials.values()) == {HOLDS, VIOLATED}, run.output
