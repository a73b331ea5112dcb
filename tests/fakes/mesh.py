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


def strict_mesh() -> dict[str, Any]:
    """The PeerAuthentication of a strict mesh."""
    meta = {"namespace": "istio-system", "name": "default", "creationTimestamp": "2026-01-01"}
    return {"metadata": meta, "spec": {"mtls": {"mode": "STRICT"}}}


class MeshFleet(FakeFleet):
    """Probe pods in front of a pretended mesh that is strict, but where ``answers`` says more.

    ``answers`` are reports by what is sent: a kind and, for plaintext, the port; or 'call' and who
    calls. ``policies`` are PeerAuthentications by namespace. ``pem`` is the certificate of the
    proxies, ``root`` that of the mesh.
    """

    def __init__(self, items: list[dict[str, Any]], pem: str, root: str) -> None:
        super().__init__(World())
        self.items = items
        self.pem = pem
        self.root = root
        self.answers: dict[tuple[str, object], Any] = {}
        self.policies = {"istio-system": [strict_mesh()]}
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
        if path.startswith("/apis/security.istio.io/v1/"):
            items = self.policies.get(path.split("/")[5], [])
            return SimpleNamespace(ok=True, status=200, body={"items": list(items)})
        headers = {"Date": self.date} if path == "/version" else {}
        return SimpleNamespace(ok=False, status=404, message="not found", body={}, headers=headers)

    @staticmethod
    def told_by_proxies(spec: Any, probe: Mapping[str, Any]) -> Report:
        """The answer of an application that repeats the headers which sound proxies let through."""
        lines = probe["send"].split("\r\n")
        kept = [line for line in lines if not line.startswith("X-Forwarded-Client-Cert")]
        name = f"spiffe://lab.local/ns/web/sa/{spec.service_account}"
        return http("200 OK", "\n".join([*kept, f"X-Forwarded-Client-Cert: URI={name}"]))

    def _report(self, spec: Any, source: Any, probe: Mapping[str, Any]) -> Any:
        if probe["kind"] == "tls":
            known = "forged" if "certificate" in probe else "istio" if "alpn" in probe else "tls"
            demand = {"stage": "exchange", "end": "alert", "alert": "ALERT_CERTIFICATE_REQUIRED"}
            usual = REFUSE if known == "forged" else {**demand, "certificate": self.pem}
            return self.answers.get((known, probe["port"]), usual)
        if probe["ip"] == "127.0.0.1":
            return identities(f"spiffe://lab.local/ns/web/sa/{spec.service_account}")
        if "X-Forwarded-Client-Cert" in probe.get("send", ""):
            inside = probe["ip"].startswith("10.96.")
            found = self.answers.get(("header", "inside" if inside else "outside"))
            usual = self.told_by_proxies(spec, probe) if inside else RESET
            return found(probe["send"]) if callable(found) else usual
        if probe["ip"].startswith("10.96."):
            who = (spec.labels["app"], spec.service_account)
            return self.answers.get(("call", who), self.answers.get(("call", who[0]), OK))
        return self.answers.get(("plain", probe["port"]), RESET)
