"""Whether a pod is in the mesh with all of its traffic, as its specification tells. Pure.

Mutual TLS on the ports of one pod says nothing about a replica without a proxy, nor about what a
pod sends past its own. Rules: istio.io, "Resource Annotations" and "Application Requirements".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.verdict import Verdict

PROXY = "istio-proxy"
"""The name of the container that is the mesh's proxy."""

MESH_CONTAINERS = frozenset({PROXY, "istio-init", "istio-validation", "enable-core-dump"})
"""Containers that Istio's injection adds."""

PROXY_ID = 1337
"""The user and the group whose traffic is not captured, because it is the proxy's own."""

OWN_PORTS = {15020: "health and metrics", 15021: "health", 15090: "metrics"}
"""Ports that the proxy itself serves in plaintext, for the kubelet and for metrics."""

_TRAFFIC = "traffic.sidecar.istio.io/"
_EXCLUDES = {
    f"{_TRAFFIC}excludeInboundPorts": "does not capture what comes in on ports",
    f"{_TRAFFIC}excludeOutboundPorts": "does not capture what is sent to ports",
    f"{_TRAFFIC}excludeOutboundIPRanges": "does not capture what is sent to",
    f"{_TRAFFIC}excludeInterfaces": "does not capture interfaces",
}
_INCLUDES = {
    f"{_TRAFFIC}includeInboundPorts": "captures what comes in on no other ports than",
    f"{_TRAFFIC}includeOutboundIPRanges": "captures what is sent to no other addresses than",
}
_MODE = "sidecar.istio.io/interceptionMode"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodMesh:
    """What the specification and status of one pod say about the mesh.

    ``labels`` and ``annotations`` are all of the pod's. ``uncaptured`` are init containers that run
    before the redirection to the proxy is set up. ``as_proxy`` are containers that may run as the
    proxy's user or group, ``empowered`` those that may undo the redirection (capability in words),
    by name. ``ports`` are the TCP ports that its containers and their health checks name,
    ``probed`` those that a readiness probe asks. ``redirected`` tells whether istio-init or, with
    the CNI plug-in, istio-validation sees to it that traffic goes to the proxy. ``other_mesh`` is
    the name of a mesh that is not supported.
    """

    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    host_network: bool = False
    proxied: bool = False
    proxy_ready: bool = False
    redirected: bool = True
    injection: str = ""
    uncaptured: tuple[str, ...] = ()
    as_proxy: tuple[str, ...] = ()
    empowered: Mapping[str, str] = field(default_factory=dict)
    ports: frozenset[int] = frozenset()
    probed: frozenset[int] = frozenset()
    other_mesh: str = ""

    @property
    def where(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


def holes(pod: PodMesh) -> tuple[str, ...]:
    """Every way around the mesh that the pod's specification opens, in words."""
    if pod.host_network:
        return ("runs in the node's network, where no proxy captures its traffic",)
    if not pod.proxied:
        why = f" ({pod.injection})" if pod.injection else ""
        return (f"has no proxy{why}",)
    found = [
        f"has a proxy that {words} {', '.join(left)}"
        for name, words in _EXCLUDES.items()
        if (left := _without_own_ports(pod.annotations.get(name, "")))
    ]
    found += [
        f"has a proxy that {words} {value or 'none'}"
        for name, words in _INCLUDES.items()
        if name in pod.annotations and (value := pod.annotations[name].strip()) != "*"
    ]
    if pod.annotations.get(_MODE, "") == "NONE":
        found.append("has a proxy that captures nothing (interceptionMode NONE)")
    found += [f"runs {c} before its traffic is captured" for c in pod.uncaptured]
    found += [f"runs {c} as the proxy (id {PROXY_ID}), which is not captured" for c in pod.as_proxy]
    found += [f"runs {c} with {what}, so it can undo it" for c, what in pod.empowered.items()]
    return tuple(found)


def _without_own_ports(value: str) -> list[str]:
    words = [word.strip() for word in value.split(",")]
    return [word for word in words if word and word not in map(str, OWN_PORTS)]


def excluded_ports(pod: PodMesh) -> frozenset[int]:
    """The ports on which the pod's annotations keep the proxy from what comes in."""
    words = _without_own_ports(pod.annotations.get(f"{_TRAFFIC}excludeInboundPorts", ""))
    return frozenset(int(word) for word in words if word.isascii() and word.isdecimal())


_NAME_A_PORT = ("status.sidecar.istio.io/port", "prometheus.io/port")
"""Annotations by which tools find a port that often bypasses the proxy, or is its own."""


def annotated_ports(pod: PodMesh) -> frozenset[int]:
    """The ports that the pod's annotations name: those kept from the proxy, and those of tools."""
    named = {pod.annotations.get(name, "").strip() for name in _NAME_A_PORT}
    numbers = {int(word) for word in named if word.isascii() and word.isdecimal()}
    return excluded_ports(pod) | {number for number in numbers if 0 < number < 65536}


def judge_enrolment(pods: Iterable[PodMesh]) -> Conclusion:
    """Is every pod of a workload in the mesh, with all of its traffic?"""
    pods = list(pods)
    if not pods:
        return Conclusion(Verdict.INCONCLUSIVE, "no-pod", "no pod of it could be looked at")
    other = [pod for pod in pods if pod.other_mesh]
    open_ = [(pod, found) for pod in pods if not pod.other_mesh and (found := holes(pod))]
    if open_:
        pod, found = open_[0]
        more = f", and {len(open_) - 1} more pods" if len(open_) > 1 else ""
        return Conclusion(Verdict.VIOLATED, "", f"pod {pod.name} {'; '.join(found)}{more}")
    if other:
        return not_supported(other[0])
    waiting = [pod.name for pod in pods if not pod.proxy_ready]
    if waiting:
        text = f"the proxy of pod {waiting[0]} is not ready"
        return Conclusion(Verdict.INCONCLUSIVE, "proxy-not-ready", text)
    aside = [pod.name for pod in pods if not pod.redirected]
    if aside:
        text = f"nothing shows that the traffic of pod {aside[0]} goes to its proxy"
        return Conclusion(Verdict.INCONCLUSIVE, "redirection-not-shown", text)
    count = f"all of its {len(pods)} pods have" if len(pods) > 1 else "its pod has"
    return Conclusion(Verdict.HOLDS, "", f"{count} a proxy, and nothing leads around it")


def not_supported(pod: PodMesh) -> Conclusion:
    """Pods of another mesh are recognised, and never judged."""
    return Conclusion(
        Verdict.INCONCLUSIVE,
        "mesh-not-supported",
        f"pod {pod.name} is in {pod.other_mesh}, of which only the signature is known here",
    )
