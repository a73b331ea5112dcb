"""The ground of a benchmark: namespaces, pods and policies of its own, and the matching intent.

The pods are those that cyclonus makes for itself (same names, labels, containers and ports), so
that both sides are measured on the same ones. A fifth of the flows is allowed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ci.lab import kube
from ci.lab.settings import Lab, LabError

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.43"
"""The image that cyclonus asks for; the lab makes it of the pinned Kubernetes sources."""

PROBE = "registry.company.com/zerotrust/probe:1"
LABEL = "zerotrust.dev/bench"
FIRST_PORT = 7101
START_TIMEOUT = 600.0
NAMES = "abcdefghij"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """So many namespaces, pods in each, and TCP ports of each pod."""

    name: str
    spaces: int
    pods: int
    ports: int

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The names of the namespaces."""
        return tuple(f"zt-bench-{self.name}-{number}" for number in range(1, self.spaces + 1))

    @property
    def pod_names(self) -> tuple[str, ...]:
        """The names of the pods, the same in each namespace; also the value of their label."""
        return tuple(NAMES[: self.pods])

    @property
    def port_numbers(self) -> tuple[int, ...]:
        """The ports on which each pod listens."""
        return tuple(range(FIRST_PORT, FIRST_PORT + self.ports))

    @property
    def workloads(self) -> tuple[tuple[str, str], ...]:
        """(namespace, pod) of each workload."""
        return tuple((space, pod) for space in self.namespaces for pod in self.pod_names)

    @property
    def flows(self) -> int:
        """How many flows there are between two different workloads."""
        count = len(self.workloads)
        return count * (count - 1) * self.ports

    def callers_of(self, pod: str) -> tuple[str, ...]:
        """The label values of those who may reach the pods of this name: a fifth of all."""
        count = max(1, round(self.pods / 5))
        at = self.pod_names.index(pod)
        return tuple(self.pod_names[(at + step) % self.pods] for step in range(1, count + 1))

    def allowed(self) -> Iterator[tuple[str, str, int]]:
        """Source, target and port of each allowed flow, by the keys of the intent."""
        for space, pod in self.workloads:
            for source_space in self.namespaces:
                for caller in self.callers_of(pod):
                    for port in self.port_numbers:
                        yield key_of(source_space, caller), key_of(space, pod), port

    def intent(self) -> str:
        """The intent file, as JSON, which is YAML."""
        workloads = {
            key_of(space, pod): {
                "namespace": space,
                "labels": {"pod": pod},
                "ports": list(self.port_numbers),
            }
            for space, pod in self.workloads
        }
        flows = [f"{source} -> {target}:{port}" for source, target, port in self.allowed()]
        return json.dumps(
            {
                "version": 1,
                "workloads": workloads,
                "flows": flows,
                "probe": {"image": PROBE, "maxPods": 2 * len(self.workloads) + 20},
            },
            indent=0,
        )

    def manifests(self) -> list[Object]:
        """Namespaces, policies and pods."""
        found: list[Object] = []
        for space in self.namespaces:
            labels = {"ns": space, LABEL: self.name}
            found.append(_object("v1", "Namespace", {"name": space, "labels": labels}))
            found.append(self._ways_out(space))
            found += [self._ways_in(space, pod) for pod in self.pod_names]
            found += [self._pod(space, pod) for pod in self.pod_names]
        return found

    def _ways_out(self, space: str) -> Object:
        anybody = {"namespaceSelector": {"matchLabels": {LABEL: self.name}}}
        dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
        spec = {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                {"to": [anybody]},
                {
                    "to": [dns],
                    "ports": [{"port": 53, "protocol": word} for word in ("UDP", "TCP")],
                },
            ],
        }
        return _policy(space, "default", spec)

    def _ways_in(self, space: str, pod: str) -> Object:
        callers = {"key": "pod", "operator": "In", "values": list(self.callers_of(pod))}
        peer = {
            "namespaceSelector": {"matchLabels": {LABEL: self.name}},
            "podSelector": {"matchExpressions": [callers]},
        }
        ports = [{"port": number, "protocol": "TCP"} for number in self.port_numbers]
        spec = {
            "podSelector": {"matchLabels": {"pod": pod}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [peer], "ports": ports}],
        }
        return _policy(space, f"to-{pod}", spec)

    def _pod(self, space: str, pod: str) -> Object:
        # As cyclonus makes it (pkg/connectivity/probe/pod.go, KubePod and KubeContainer).
        containers = [
            {
                "name": f"cont-{number}-tcp",
                "image": AGNHOST,
                "imagePullPolicy": "IfNotPresent",
                "command": [
                    "/agnhost", "serve-hostname", "--tcp", "--http=false", "--port", str(number),
                ],
                "ports": [
                    {
                        "name": f"serve-{number}-tcp",
                        "containerPort": number,
                        "protocol": "TCP",
                    }
                ],
            }
            for number in self.port_numbers
        ]  # fmt: skip
        meta = {"name": pod, "namespace": space, "labels": {"pod": pod}}
        spec = {"terminationGracePeriodSeconds": 0, "containers": containers}
        return _object("v1", "Pod", meta, spec)


def key_of(space: str, pod: str) -> str:
    """The key of a workload in the intent file."""
    return f"{space.removeprefix('zt-bench-')}-{pod}"


def _object(version: str, kind: str, meta: Mapping[str, Any], spec: Object | None = None) -> Object:
    made: Object = {"apiVersion": version, "kind": kind, "metadata": dict(meta)}
    return made if spec is None else {**made, "spec": spec}


def _policy(space: str, name: str, spec: Object) -> Object:
    meta = {"name": name, "namespace": space}
    return _object("networking.k8s.io/v1", "NetworkPolicy", meta, spec)


def lay_out(lab: Lab, field: Field) -> None:
    """Create everything and wait until all pods run."""
    kube.apply(lab, json.dumps({"apiVersion": "v1", "kind": "List", "items": field.manifests()}))
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        waiting = list(_not_running(lab, field))
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise LabError(f"pods of the benchmark do not run: {', '.join(waiting[:5])}")
        time.sleep(1)


def _not_running(lab: Lab, field: Field) -> Iterator[str]:
    for space in field.namespaces:
        listed = kube.kubectl(lab, "get", "pods", "--namespace", space, "-o", "json").stdout
        for item in json.loads(listed)["items"]:
            statuses = item["status"].get("containerStatuses", [])
            if not statuses or not all(status["ready"] for status in statuses):
                yield f"{space}/{item['metadata']['name']}"


def clear(lab: Lab, field: Field) -> None:
    """Delete the namespaces with all that is in them, and wait until they are gone."""
    kube.kubectl(lab, "delete", "namespace", *field.namespaces, "--ignore-not-found", timeout=600)
