"""A pretended mesh: pods as the API server tells them, and what their ports answer to probes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from tests.fakes.fleet import FakeFleet
from tests.fakes.world import World

Report = Mapping[str, Any]

RESET: Report = {"stage": "exchange", "end": "reset", "sent": 60, "data": ""}
ANSWER: Report = {"stage": "exchange", "end": "complete", "sent": 60, "data": "HTTP/1.1 200 OK\r\n"}
CUT: Report = {"stage": "exchange", "end": "closed", "sent": 60, "data": ""}
REFUSE: Report = {"stage": "exchange", "end": "alert", "alert": "TLSV1_ALERT_UNKNOWN_CA"}
TLS_RESET: Report = {"stage": "handshake", "end": "reset"}


def http(status: str, body: str = "") -> Report:
    """An answer over a proxy that was passed on by it."""
    head = f"HTTP/1.1 {status}\r\nx-envoy-upstream-service-time: 1"
    return {"stage": "exchange", "end": "closed", "data": f"{head}\r\n\r\n{body}"}


OK = http("200 OK")
DENIED = http("403 Forbidden", "RBAC: access denied")


def identities(name: str) -> Report:
    """What Envoy's admin interface says of its certificates."""
    chain = [{"subject_alt_names": [{"uri": name}]}]
    body = json.dumps({"certificates": [{"cert_chain": chain}]})
    return {"stage": "exchange", "end": "closed", "data": f"HTTP/1.0 200 OK\r\n\r\n{body}"}


def pod_item(app: str, ip: str, *, proxied: bool = True) -> dict[str, Any]:
    """A ready pod of a Deployment."""
    proxy = {"name": "istio-proxy", "restartPolicy": "Always"}
    check = {"tcpSocket": {"port": 8080}}
    states = [{"name": name, "ready": True} for name in ("istio-proxy", "app")]
    return {
        "metadata": {
            "name": f"{app}-1", "namespace": "web", "uid": f"uid-{app}", "labels": {"app": app}
        },
        "spec": {
            "nodeName": "node-1",
            "serviceAccountName": app,
            "initContainers": [{"name": "istio-validation"}, proxy] if proxied else [],
            "containers": [{"name": "app", "readinessProbe": check}],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": states,
        },
    }  # fmt: skip


class MeshFleet(FakeFleet):
    """Probe pods in front of a pretended mesh that is strict, but where ``answers`` says more.

    ``answers`` are reports by what is sent: a kind and, for plaintext, the port; or 'call' and who
    calls. ``pem`` is the certificate of the proxies, ``root`` that of the mesh.
    """

    def __init__(self, items: list[dict[str, Any]], pem: str, root: str) -> None:
        super().__init__(World())
        self.items = items
        self.pem = pem
        self.root = root
        self.answers: dict[tuple[str, object], Report] = {}
        self.date = ""
        self.api: Any = SimpleNamespace(get=self._get, request=self._request)

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        words = query.get("labelSelector", "").split(",")
        wanted = [word.split("=") for word in words if "=" in word]
        return {
            "items": [
                item
                for item in self.items
                if all(item["metadata"]["labels"].get(key) == value for key, value in wanted)
            ]
        }

    def _request(self, method: str, path: str) -> Any:
        if path.endswith("istio-ca-root-cert"):
            return SimpleNamespace(ok=True, body={"data": {"root-cert.pem": self.root}})
        headers = {"Date": self.date} if path == "/version" else {}
        return SimpleNamespace(ok=False, status=404, message="no", body={}, headers=headers)

    def _report(self, spec: Any, source: Any, probe: Mapping[str, Any]) -> Any:
        if probe["kind"] == "tls":
            known = "forged" if "certificate" in probe else "istio" if "alpn" in probe else "tls"
            demand = {"stage": "exchange", "end": "alert", "alert": "ALERT_CERTIFICATE_REQUIRED"}
            usual = REFUSE if known == "forged" else {**demand, "certificate": self.pem}
            return self.answers.get((known, probe["port"]), usual)
        if probe["ip"] == "127.0.0.1":
            return identities(f"spiffe://lab.local/ns/web/sa/{spec.service_account}")
        if probe["ip"].startswith("10.96."):
            who = (spec.labels["app"], spec.service_account)
            return self.answers.get(("call", who), self.answers.get(("call", who[0]), OK))
        return self.answers.get(("plain", probe["port"]), RESET)
