"""What the cluster says about encryption between nodes: told in sentences, never an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_zerotrust.cluster.api import ApiUnreachable
from pytest_zerotrust.cluster.encryption import configured

CONFIG = "/api/v1/namespaces/kube-system/configmaps/cilium-config"
CILIUM, NODES = "/apis/cilium.io/v2/ciliumnodes", "/api/v1/nodes"


def told(bodies: dict[str, Any], status: int = 404) -> tuple[str, ...]:
    def request(method: str, path: str) -> Any:
        body = bodies.get(path)
        if isinstance(body, Exception):
            raise body
        good = body is not None
        return SimpleNamespace(ok=good, status=200 if good else status, body=body or {})

    return configured(SimpleNamespace(request=request))  # type: ignore[arg-type]


def node(**values: Any) -> dict[str, Any]:
    spec = values.pop("spec", {})
    return {"items": [{"metadata": {"name": "a", **values}, "spec": spec}]}


@pytest.mark.parametrize(
    ("bodies", "sentence"),
    [
        ({CONFIG: {"data": {"enable-wireguard": "true"}}}, "enable-wireguard is true"),
        ({CILIUM: node(spec={"encryption": {"key": 3}})}, "CiliumNode a: Cilium announces an IPs"),
        (
            {CILIUM: node(annotations={"network.cilium.io/wg-pub-key": "k"})},
            "CiliumNode a: Cilium announces a WireGuard key",
        ),
        (
            {NODES: node(annotations={"projectcalico.org/WireguardPublicKey": "k"})},
            "Node a: Calico announces a WireGuard key",
        ),
        ({CONFIG: ApiUnreachable("gone")}, "could not be read: gone"),
    ],
)
def test_what_is_announced_is_told(bodies, sentence):
    assert any(sentence in text for text in told(bodies))


def test_silence_is_told_as_such():
    empty = {"items": [{"metadata": {"name": "a"}, "spec": {"encryption": {}}}]}
    assert told({CONFIG: {}, CILIUM: empty, NODES: empty}) == (
        "nothing tells of WireGuard or IPsec",
    )


def test_a_missing_right_is_told():
    assert all("could not be read: 403" in text for text in told({}, 403))
