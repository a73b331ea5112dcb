"""The objects of a run as plain manifests: pods, Services, the own namespace and its policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from pytest_zerotrust.cluster.ours import READINESS_GATE
from pytest_zerotrust.core.intent import Intent, Port, ProbeIntent
from pytest_zerotrust.fleet.plan import KUBELET_PORT, PodSpec, Role
from pytest_zerotrust.fleet.run import (
    ANNOTATION_EXPIRES,
    ANNOTATION_OWNER,
    ANNOTATION_REACHED,
    LABEL_ROLE,
    LABEL_RUN,
    LABEL_TWIN,
    LIFETIME,
    Run,
)

CONTAINER = "probe"
BIRTH = {"seconds": 3.0, "every": 0.05}
"""How long a newborn pod tries what it must not reach, and the interval, both in seconds."""

_MESH_LABEL = "sidecar.istio.io/inject"


def agent_source() -> str:
    """The source of the agent, which travels in the pod's own command."""
    return resources.files("pytest_zerotrust.probes").joinpath("agent.py").read_text("utf-8")


def relay_source() -> str:
    """The source of the relay, which travels in an exec's command."""
    return resources.files("pytest_zerotrust.probes").joinpath("relay.py").read_text("utf-8")


def _metadata(run: Run, name: str, namespace: str | None, labels: Mapping[str, str]) -> Any:
    meta: dict[str, Any] = {
        "name": name,
        "labels": {**labels, LABEL_RUN: run.id},
        "annotations": {ANNOTATION_OWNER: run.owner, ANNOTATION_EXPIRES: run.expires},
    }
    if namespace is not None:
        meta["namespace"] = namespace
    return meta


def pod(spec: PodSpec, run: Run, image: str, probe: ProbeIntent) -> dict[str, Any]:
    """The manifest of a probe pod. It passes Pod Security 'restricted' (a node probe needs its
    host network and so only passes 'privileged'; its container is restricted all the same, but
    for one that captures: that is root, and has the capability NET_RAW and no other)."""
    labels = {
        **spec.labels,
        LABEL_ROLE: spec.role.value,
        LABEL_TWIN: spec.name,
        _MESH_LABEL: "true" if spec.role is Role.MESHED else "false",
    }
    # A client inside the mesh serves nobody, and a node probe must not take ports of the node.
    ports = (*spec.ports, *spec.side_ports) if spec.listens else ()
    if spec.listens and not any(port.protocol == "TCP" for port in ports):
        ports = (*ports, KUBELET_PORT)
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(run, spec.name, spec.namespace, labels),
        "spec": {
            "serviceAccountName": spec.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": LIFETIME,
            "readinessGates": [{"conditionType": READINESS_GATE}],
            "securityContext": _pod_security(ports, spec.role),
            "containers": [_container(spec, run, image, ports)],
        },
    }
    body["spec"] |= _placing(probe)
    if spec.role.on_node:
        body["spec"]["hostNetwork"] = True
    if spec.node is not None:
        body["spec"]["affinity"] = _on_node(spec.node)
    elif spec.near is not None:
        body["spec"]["affinity"] = _near_node(spec.near)
    return body


def _placing(probe: ProbeIntent) -> dict[str, Any]:
    """What the user wants of every probe pod: secrets to pull by, and where it may run."""
    wanted: dict[str, Any] = {}
    if probe.pull_secrets:
        wanted["imagePullSecrets"] = [{"name": name} for name in probe.pull_secrets]
    if probe.node_selector:
        wanted["nodeSelector"] = dict(probe.node_selector)
    if probe.tolerations:
        wanted["tolerations"] = [dict(one) for one in probe.tolerations]
    if probe.priority_class is not None:
        wanted["priorityClassName"] = probe.priority_class
    return wanted


def _pod_security(ports: tuple[Port, ...], role: Role) -> dict[str, Any]:
    security: dict[str, Any] = {
        **_user(role),
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if any(port.number < 1024 for port in ports):
        # A safe sysctl (Kubernetes documentation, "Using sysctls"): lets a user listen there.
        security["sysctls"] = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    return security


def _user(role: Role) -> dict[str, Any]:
    # Kubernetes cannot give a capability to a process that is not root (no ambient capabilities).
    capturing = role is Role.CAPTURE
    return {"runAsNonRoot": not capturing, "runAsUser": 0 if capturing else 65532}


def _container(spec: PodSpec, run: Run, image: str, ports: tuple[Port, ...]) -> dict[str, Any]:
    wanted: dict[str, Any] = {"ports": [[port.number, port.protocol] for port in ports]}
    if spec.birth:
        wanted["birth"] = {"targets": list(spec.birth), **BIRTH}
    argument = json.dumps(wanted)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-I", "-u", "-c", agent_source(), argument],
        "env": [
            {"name": "ZT_KEY", "value": run.pod_key(spec.namespace, spec.name).decode()},
            {"name": "ZT_POD", "value": spec.name},
        ],
        "resources": {
            "requests": {"cpu": "5m", "memory": "32Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "securityContext": {
            **_user(spec.role),
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if spec.role is Role.CAPTURE:
        container["securityContext"]["capabilities"]["add"] = ["NET_RAW"]
    if ports and spec.port_names:
        # Policies may name ports, and a name means what the pod that they select says it means.
        container["ports"] = _named_ports(spec.ports, spec.port_names)
    tcp = [port for port in ports if port.protocol == "TCP"]
    if tcp:
        # The kubelet's own connection shows that the pod lives on the network.
        container["readinessProbe"] = {
            "tcpSocket": {"port": tcp[0].number},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            # How a sealed canary is told shall change soon after its policy.
            "failureThreshold": 1 if spec.role is Role.SEALED else 2,
        }
    return container


def _named_ports(ports: tuple[Port, ...], names: Mapping[str, int]) -> list[dict[str, Any]]:
    protocols = {port.number: port.protocol for port in ports}
    return [
        {"name": name, "containerPort": number, "protocol": protocols.get(number, "TCP")}
        for name, number in sorted(names.items())
    ]


def _on_node(node: str) -> dict[str, Any]:
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def _near_node(node: str) -> dict[str, Any]:
    """A wish: policies are enforced node by node, so a twin belongs where its workload runs."""
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    wish = {"weight": 100, "preference": {"matchFields": [field]}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}


def service(name: str, target: PodSpec, run: Run) -> dict[str, Any]:
    """A Service of our own in front of one probe pod, so that the way through a Service IP is
    shown with our own nonce. It is hidden from the mesh's service discovery."""
    meta = _metadata(run, name, target.namespace, {})
    meta["annotations"]["networking.istio.io/exportTo"] = "~"
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "selector": {LABEL_RUN: run.id, LABEL_TWIN: target.name},
            "publishNotReadyAddresses": True,
            "ports": [
                {
                    "name": f"{port.protocol.lower()}-{port.number}",
                    "port": port.number,
                    "targetPort": port.number,
                    "protocol": port.protocol,
                }
                for port in target.ports
            ],
        },
    }


def node_port_service(name: str, target: PodSpec, run: Run, *, local: bool) -> dict[str, Any]:
    """The same with node ports; ``local`` like a Service that keeps the caller's address."""
    body = service(name, target, run)
    body["spec"] |= {
        "type": "NodePort",
        "externalTrafficPolicy": "Local" if local else "Cluster",
    }
    return body


def own_namespace_labels(pod_security: str) -> dict[str, str]:
    """The labels of the namespace of our own: Pod Security, and no mesh."""
    return {
        "pod-security.kubernetes.io/enforce": pod_security,
        "istio-injection": "disabled",
    }


def own_pod_security(intent: Intent) -> str:
    """The Pod Security level that our own namespace enforces; node probes need the loosest."""
    vantage = intent.mesh is not None and intent.mesh.node_vantage
    loose = vantage or intent.probe.host_network or intent.probe.capture
    return "privileged" if loose else "restricted"


def namespace(name: str, run: Run, *, pod_security: str) -> dict[str, Any]:
    """The namespace of our own, outside the mesh."""
    meta = _metadata(run, name, None, own_namespace_labels(pod_security))
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def seal(name: str, own_namespace: str, run: Run, note: str) -> dict[str, Any]:
    """The policy that closes the sealed canaries. It selects pods of this run only.

    ``note`` goes with it, for the other processes of the run: what was reached before it.
    """
    spec = {
        "podSelector": {"matchLabels": {LABEL_RUN: run.id, LABEL_ROLE: Role.SEALED.value}},
        "policyTypes": ["Ingress"],
    }
    body = policy(name, own_namespace, run, spec)
    body["metadata"]["annotations"][ANNOTATION_REACHED] = note
    return body


def policy(name: str, own_namespace: str, run: Run, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A policy in a namespace of our own; what it selects must be pods of this run only."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(run, name, own_namespace, {}),
        "spec": spec,
    }
