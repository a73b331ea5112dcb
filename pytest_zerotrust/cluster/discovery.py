"""Reads what the intent's workloads look like in the live cluster, once, before the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.ours import is_probe_pod
from pytest_zerotrust.core.intent import Intent, Workload
from pytest_zerotrust.core.inventory import claimants
from pytest_zerotrust.errors import ClusterProblem, IntentProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePod:
    """A pod of a workload. ``ports`` maps port names to container ports."""

    name: str
    namespace: str
    uid: str
    ip: str
    node: str
    ready: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str
    ports: Mapping[str, int]
    adopter: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveService:
    """A Service: its address and, by container port, the port it offers and that port's name."""

    name: str
    ip: str
    ports: Mapping[int, int]
    names: Mapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWorkload:
    """What a declared workload looks like in the cluster: labels, account and nodes of its pods.

    ``adopter`` names a controller that would adopt any pod with these labels, and then delete
    what is too many: a DaemonSet, a ReplicationController or a bare ReplicaSet.
    """

    key: str
    labels: Mapping[str, str]
    service_account: str
    annotations: Mapping[str, str]
    nodes: tuple[str, ...]
    port_names: Mapping[str, int]
    adopter: str
    service: LiveService | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data, for handing to other processes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LiveWorkload:
        """The inverse of ``to_dict`` (after a trip through JSON, too)."""
        values = dict(data)
        service = values.pop("service")
        if service is not None:
            service = LiveService(
                name=service["name"],
                ip=service["ip"],
                ports={int(k): v for k, v in service["ports"].items()},
                names={int(k): v for k, v in service["names"].items()},
            )
        values["nodes"] = tuple(values["nodes"])
        return cls(service=service, **values)


def pods_of(api: Api, workload: Workload) -> list[LivePod]:
    """List the running pods of a workload; probe pods of ours are left out."""
    selector = ",".join(f"{k}={v}" for k, v in sorted(workload.labels.items()))
    items = api.get(
        f"/api/v1/namespaces/{workload.namespace}/pods",
        labelSelector=selector,
    )["items"]
    pods = [
        _pod(item)
        for item in items
        if not item["metadata"].get("deletionTimestamp") and not is_probe_pod(item)
    ]
    return sorted((pod for pod in pods if pod.ip), key=lambda pod: pod.name)


def own_pods_of(api: Api, workload: Workload, intent: Intent) -> list[LivePod]:
    """The running pods that belong to a declared workload, and not to a more specific one."""
    return [
        pod
        for pod in pods_of(api, workload)
        if workload in claimants(pod.namespace, pod.labels, intent.workloads.values())
    ]


def _pod(item: Mapping[str, Any]) -> LivePod:
    meta, spec, status = item["metadata"], item["spec"], item.get("status", {})
    running = status.get("phase") == "Running" and not spec.get("hostNetwork")
    conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
    return LivePod(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        ip=status.get("podIP", "") if running else "",
        node=spec.get("nodeName", ""),
        ready=conditions.get("Ready") == "True",
        labels=meta.get("labels", {}),
        annotations=meta.get("annotations", {}),
        service_account=spec.get("serviceAccountName", "default"),
        ports={
            port["name"]: port["containerPort"]
            for container in spec["containers"]
            for port in container.get("ports", ())
            if "name" in port
        },
        adopter=_adopter(meta),
    )


def _adopter(meta: Mapping[str, Any]) -> str:
    """The controller that selects this pod by labels which a twin would share, if there is one.

    A Deployment's ReplicaSet also selects by pod-template-hash, which no twin carries.
    """
    for owner in meta.get("ownerReferences", ()):
        hashed = owner["kind"] == "ReplicaSet" and "pod-template-hash" in meta.get("labels", {})
        adopts = owner["kind"] in ("DaemonSet", "ReplicationController", "ReplicaSet")
        if owner.get("controller") and adopts and not hashed:
            return f"{owner['kind']} {meta['namespace']}/{owner['name']}"
    return ""


def discover(api: Api, intent: Intent) -> dict[str, LiveWorkload]:
    """Look up every declared workload.

    Raises IntentProblem for a namespace that does not exist and for a workload that matches no
    running pod; ClusterProblem if the server does not answer.
    """
    try:
        for namespace in intent.namespaces:
            _require_namespace(api, namespace, intent)
        return {w.key: _discover_one(api, w, intent) for w in intent.workloads.values()}
    except (ApiFailure, ApiUnreachable) as error:
        raise ClusterProblem(f"reading the workloads of {intent.source}: {error}.") from error


def _require_namespace(api: Api, namespace: str, intent: Intent) -> None:
    response = api.request("GET", f"/api/v1/namespaces/{namespace}")
    if response.status == 404:
        raise IntentProblem(
            f"{intent.source}: namespace '{namespace}' does not exist in the cluster. Create it, "
            f"or take it and its workloads out of the file."
        )
    if not response.ok:
        raise ApiFailure(response, f"GET namespace {namespace}")
    if response.body["metadata"].get("deletionTimestamp"):
        raise IntentProblem(
            f"{intent.source}: namespace '{namespace}' is being deleted, so no probe pod can be "
            f"placed there. Wait until it is gone, then create it again."
        )


def _discover_one(api: Api, workload: Workload, intent: Intent) -> LiveWorkload:
    pods = own_pods_of(api, workload, intent)
    for pod in pods:
        several = [w.key for w in claimants(pod.namespace, pod.labels, intent.workloads.values())]
        if len(several) > 1:
            raise IntentProblem(
                f"{intent.source}: pod {pod.namespace}/{pod.name} belongs to {len(several)} "
                f"workloads: {', '.join(several)}. Give them labels that no pod has all of."
            )
    if not pods:
        labels = ",".join(f"{k}={v}" for k, v in workload.labels.items())
        raise IntentProblem(
            f"{intent.source}: workload '{workload.key}' matches no running pod: none in namespace "
            f"'{workload.namespace}' has the labels {labels}. Correct its labels, or start it."
        )
    pod = pods[0]
    return LiveWorkload(
        key=workload.key,
        labels=dict(pod.labels),
        service_account=pod.service_account,
        annotations=dict(pod.annotations),
        nodes=tuple(sorted({pod.node for pod in pods})),
        port_names=dict(pod.ports),
        adopter=pod.adopter,
        service=_service(api, workload, pod),
    )


def _service(api: Api, workload: Workload, pod: LivePod) -> LiveService | None:
    name = workload.service or workload.key.rpartition("/")[2]
    response = api.request("GET", f"/api/v1/namespaces/{workload.namespace}/services/{name}")
    if response.status == 404 and workload.service is None:
        return None
    if not response.ok:
        raise ApiFailure(response, f"GET service {workload.namespace}/{name}")
    spec = response.body["spec"]
    ports: dict[int, int] = {}
    names: dict[int, str] = {}
    for port in spec.get("ports", ()):
        target = port.get("targetPort", port["port"])
        number = pod.ports.get(target) if isinstance(target, str) else target
        if number is not None:
            ports[number] = port["port"]
            names[number] = port.get("name", "")
    return LiveService(name=name, ip=spec.get("clusterIP", ""), ports=ports, names=names)


def services_publishing_unready(api: Api, namespace: str) -> list[tuple[str, Mapping[str, str]]]:
    """Services that take pods in before they are ready: (name, selector) of each.

    A probe pod with the labels of such a Service would get its users' traffic.
    """
    items = api.get(f"/api/v1/namespaces/{namespace}/services")["items"]
    return [
        (item["metadata"]["name"], item["spec"].get("selector") or {})
        for item in items
        if item["spec"].get("publishNotReadyAddresses")
        and item["spec"].get("selector")
        and "zerotrust.dev/run" not in item["metadata"].get("labels", {})
    ]
