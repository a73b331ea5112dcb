"""The ground of the mesh's benchmark: meshed workloads in a namespace of their own, the policies
that make them strict and tell callers apart, and the matching intent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ci.lab import kube
from ci.lab.settings import Lab, LabError

APP = "registry.company.com/apps/app:1"
PROBE = "registry.company.com/zerotrust/probe:1"
SPACE = "zt-bench-mesh"
PORT = 8080
START_TIMEOUT = 900.0

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshField:
    """So many workloads of one pod and one port. The first calls all others, and the second the
    first, so that each port has one allowed caller."""

    count: int

    @property
    def names(self) -> tuple[str, ...]:
        """The workloads, by their keys in the intent; also their label and service account."""
        return tuple(f"m{number:02}" for number in range(1, self.count + 1))

    def intent(self) -> str:
        """The intent file, as JSON, which is YAML."""
        first, second, *_ = self.names
        workloads = {
            name: {
                "namespace": SPACE,
                "labels": {"app": name},
                "ports": [{"port": PORT, "echo": "/"}],
                "meshed": True,
            }
            for name in self.names
        }
        flows = [f"{first} -> {name}:{PORT}" for name in self.names[1:]]
        return json.dumps(
            {
                "version": 1,
                "workloads": workloads,
                "flows": [*flows, f"{second} -> {first}:{PORT}"],
                "mesh": {"authorization": True},
                "probe": {"image": PROBE},
            },
            indent=0,
        )

    def manifests(self) -> list[Object]:
        """The namespace with its policies, and the workloads with their Services."""
        callers = [f"cluster.local/ns/{SPACE}/sa/{name}" for name in self.names[:2]]
        rule = {"from": [{"source": {"principals": callers}}]}
        security = "security.istio.io/v1"
        found: list[Object] = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": SPACE, "labels": {"istio-injection": "enabled"}},
            },
            _object(security, "PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}),
            _object(security, "AuthorizationPolicy", "callers", {"rules": [rule]}),
        ]
        for name in self.names:
            found += _workload(name)
        return found


def _object(version: str, kind: str, name: str, spec: Object | None = None) -> Object:
    meta = {"name": name, "namespace": SPACE}
    made: Object = {"apiVersion": version, "kind": kind, "metadata": meta}
    return made if spec is None else {**made, "spec": spec}


def _workload(name: str) -> list[Object]:
    account = _object("v1", "ServiceAccount", name)
    port = {"name": "http-web", "port": PORT, "targetPort": PORT}
    service = _object("v1", "Service", name, {"selector": {"app": name}, "ports": [port]})
    container = {
        "name": "app",
        "image": APP,
        "imagePullPolicy": "IfNotPresent",
        "args": ["http", str(PORT)],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}},
        "resources": {"requests": {"cpu": "5m", "memory": "24Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return [account, service, _object("apps/v1", "Deployment", name, spec)]


def lay_out(lab: Lab, field: MeshField) -> None:
    """Create everything and wait until all pods are ready, their proxies as well."""
    kube.apply(lab, json.dumps({"apiVersion": "v1", "kind": "List", "items": field.manifests()}))
    deadline = time.monotonic() + START_TIMEOUT
    while waiting := list(_not_ready(lab, field)):
        if time.monotonic() > deadline:
            raise LabError(f"pods of the benchmark are not ready: {', '.join(waiting[:5])}")
        time.sleep(1)


def _not_ready(lab: Lab, field: MeshField) -> Iterator[str]:
    listed = kube.kubectl(lab, "get", "pods", "--namespace", SPACE, "-o", "json").stdout
    ready = {
        item["metadata"]["labels"].get("app")
        for item in json.loads(listed)["items"]
        for condition in item["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    yield from (name for name in field.names if name not in ready)


def clear(lab: Lab) -> None:
    """Delete the namespace with all that is in it, and wait until it is gone."""
    kube.kubectl(lab, "delete", "namespace", SPACE, "--ignore-not-found", timeout=600)
