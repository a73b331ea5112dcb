"""From a pod as the API server tells it to what it says about the mesh."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.inventory import items_in
from pytest_zerotrust.core.intent import Intent, Workload
from pytest_zerotrust.core.inventory import claimants
from pytest_zerotrust.core.mesh.enrolment import MESH_CONTAINERS, PROXY, PROXY_ID, PodMesh

_PROBERS = "ISTIO_KUBE_APP_PROBERS"
_PROBES = ("readinessProbe", "livenessProbe", "startupProbe")
_POWERS = ("ALL", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE")
"""Capabilities by which a container can change the redirection, or leave for another network."""

_FLAGS = {
    "-d": "excludeInboundPorts",
    "-b": "includeInboundPorts",
    "-o": "excludeOutboundPorts",
    "-x": "excludeOutboundIPRanges",
    "-i": "includeOutboundIPRanges",
    "-c": "excludeInterfaces",
}

Object = Mapping[str, Any]


def mesh_of(api: Api, workload: Workload, intent: Intent) -> list[PodMesh]:
    """The pods that belong to a workload, those in the node's network included, by name.

    Raises ApiFailure or ApiUnreachable.
    """
    return mesh_of_each(api, [workload], intent)[workload.key]


def mesh_of_each(
    api: Api, workloads: Iterable[Workload], intent: Intent
) -> dict[str, list[PodMesh]]:
    """The same for several workloads, by key; each of their namespaces is listed once.

    Raises ApiFailure or ApiUnreachable.
    """
    found: dict[str, list[PodMesh]] = {workload.key: [] for workload in workloads}
    for namespace in sorted({intent.workloads[key].namespace for key in found}):
        for item in items_in(api, namespace):
            labels = item["metadata"].get("labels", {})
            for workload in claimants(namespace, labels, intent.workloads.values()):
                if workload.key in found:
                    found[workload.key].append(read_pod(item))
    return {key: sorted(pods, key=lambda pod: pod.name) for key, pods in found.items()}


def read_pod(item: Object) -> PodMesh:
    """What one pod says."""
    meta, spec = item["metadata"], item["spec"]
    labels = meta.get("labels", {})
    init = spec.get("initContainers", ())
    containers = [*init, *spec["containers"], *spec.get("ephemeralContainers", ())]
    annotations = {**_redirection(containers), **meta.get("annotations", {})}
    own = [c for c in containers if c["name"] not in MESH_CONTAINERS]
    proxy = next((c for c in containers if c["name"] == PROXY), None)
    pod_security = spec.get("securityContext") or {}
    return PodMesh(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        labels=labels,
        annotations=annotations,
        host_network=bool(spec.get("hostNetwork")),
        proxied=proxy is not None,
        proxy_ready=_is_ready(item, PROXY),
        redirected=any(c["name"] in ("istio-init", "istio-validation") for c in init),
        injection=_injection(labels, annotations),
        uncaptured=tuple(_uncaptured(spec.get("initContainers", ()))),
        as_proxy=tuple(c["name"] for c in own if _is_proxy(c, pod_security)),
        empowered={c["name"]: power for c in own if (power := _power(c))},
        ports=frozenset(_ports(own)) | frozenset(port for port, _ in _probed(proxy, own)),
        probed=frozenset(port for port, kind in _probed(proxy, own) if kind == "readyz"),
        other_mesh=_other_mesh(labels, annotations, containers),
    )


def _redirection(containers: Sequence[Object]) -> dict[str, str]:
    """What istio-init is told, which may come from the mesh's settings and not from the pod, under
    the names of the annotations for the same. (pilot-agent istio-iptables --help)"""
    words = next((c.get("args", ()) for c in containers if c["name"] == "istio-init"), ())
    told = dict(itertools.pairwise(words))
    return {
        f"traffic.sidecar.istio.io/{name}": str(told[flag])
        for flag, name in _FLAGS.items()
        if flag in told
    }


def _is_ready(item: Object, name: str) -> bool:
    status = item.get("status", {})
    states = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    return any(state["name"] == name and state.get("ready") for state in states)


def _injection(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    name = "sidecar.istio.io/inject"
    for kind, found in (("label", labels), ("annotation", annotations)):
        if name in found:
            return f"{kind} {name}: {found[name]}"
    return ""


def _uncaptured(init: Sequence[Object]) -> Iterator[str]:
    """Init containers that run before istio-init, which Istio puts last for their sake. Where a
    CNI plug-in sets the redirection up there is none, and what comes early reaches nobody."""
    names = [container["name"] for container in init]
    if "istio-init" in names:
        yield from (n for n in names[: names.index("istio-init")] if n not in MESH_CONTAINERS)


def _is_proxy(container: Object, pod: Mapping[str, Any]) -> bool:
    security = container.get("securityContext") or {}
    return any(security.get(key, pod.get(key)) == PROXY_ID for key in ("runAsUser", "runAsGroup"))


def _power(container: Object) -> str:
    security = container.get("securityContext") or {}
    if security.get("privileged"):
        return "privileges"
    added = [str(name).upper() for name in security.get("capabilities", {}).get("add") or ()]
    held = [name for name in added if name.removeprefix("CAP_") in _POWERS]
    return f"the capability {', '.join(held)}" if held else ""


def _ports(containers: Sequence[Object]) -> Iterator[int]:
    for container in containers:
        for port in container.get("ports", ()):
            if port.get("protocol", "TCP") == "TCP":
                yield int(port["containerPort"])


def _probed(proxy: Object | None, containers: Sequence[Object]) -> Iterator[tuple[int, str]]:
    """The ports that health checks ask, with 'readyz', 'livez' or 'startupz' for each.

    Injection redirects health checks to the proxy's agent, and tells that what they were in an
    environment variable: paths like /app-health/CONTAINER/readyz.
    """
    kinds = dict(zip(_PROBES, ("readyz", "livez", "startupz"), strict=True))
    for container in containers:
        names = {
            port["name"]: port["containerPort"]
            for port in container.get("ports", ())
            if "name" in port
        }
        for key, kind in kinds.items():
            yield from _asked(container.get(key) or {}, kind, names)
    for variable in (proxy or {}).get("env", ()):
        if variable.get("name") == _PROBERS:
            try:
                original = json.loads(variable.get("value", ""))
                for path, probe in original.items():
                    yield from _asked(probe, str(path).rpartition("/")[2], {})
            except (ValueError, AttributeError):
                continue


def _asked(probe: Object, kind: str, names: Mapping[Any, int]) -> Iterator[tuple[int, str]]:
    for way in ("httpGet", "tcpSocket", "grpc"):
        port = (probe.get(way) or {}).get("port")
        port = names.get(port, port)
        if isinstance(port, int) and not _is_redirected(probe):
            yield port, kind


def _is_redirected(probe: Object) -> bool:
    return str((probe.get("httpGet") or {}).get("path", "")).startswith("/app-health/")


def _other_mesh(
    labels: Mapping[str, str], annotations: Mapping[str, str], containers: Sequence[Object]
) -> str:
    """The mesh that a pod is in, if it is not Istio's with sidecars.

    By published signatures: linkerd.io, "Proxy Configuration" and "Automatic Proxy Injection";
    istio.io, "Add workloads to the mesh" (ambient).
    """
    names = {container["name"] for container in containers}
    if "linkerd-proxy" in names or "linkerd.io/control-plane-ns" in labels:
        return "a Linkerd mesh"
    if PROXY not in names and annotations.get("ambient.istio.io/redirection") == "enabled":
        return "an Istio mesh in ambient mode"
    return ""
