"""How Cilium sees an endpoint: by the labels of its identity.

Source of the rules: Cilium 1.18, pkg/labelsfilter/filter.go (which labels of a pod count),
pkg/k8s/utils (the labels that it adds), pkg/ipcache/metadata.go (nodes and the world), with the
default settings.
"""

from __future__ import annotations

import re

from pytest_zerotrust.core.policy.cilium import NAMESPACE_LABELS, POD_NAMESPACE, source_of
from pytest_zerotrust.core.policy.endpoint import Endpoint, Kind
from pytest_zerotrust.core.policy.selectors import Lookup, Missing, Requirement
from pytest_zerotrust.core.policy.truth import NO, YES, Truth, known, negate, unknown

SERVICE_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
CLUSTER = "io.cilium.k8s.policy.cluster"

_KEPT = tuple(
    re.compile(text)
    for text in (
        r"io\.kubernetes\.pod\.namespace",
        r"io\.cilium\.k8s\.namespace\.labels",
        r"app\.kubernetes\.io",
        r"io\.cilium\.k8s\.policy\.cluster",
        r"io\.cilium\.k8s\.policy\.serviceaccount",
    )
)
_IGNORED = tuple(
    re.compile(text)
    for text in (
        r"io\.kubernetes",
        r"kubernetes\.io",
        r"statefulset\.kubernetes\.io/pod-name",
        r"apps\.kubernetes\.io/pod-index",
        r"batch\.kubernetes\.io/job-completion-index",
        r"batch\.kubernetes\.io/controller-uid",
        r".*beta\.kubernetes\.io",
        r"k8s\.io",
        r"pod-template-generation",
        r"pod-template-hash",
        r"controller-revision-hash",
        r"controller-uid",
        r"annotation.*",
        r"etcd_node",
    )
)


def counts(key: str) -> bool:
    """Whether Cilium takes a label with this key into a pod's identity, by default.

    The longest pattern that keeps it is weighed against the shortest that leaves it out.
    """
    kept = max((len(m[0]) for p in _KEPT if (m := p.match(key))), default=0)
    ignored = min((len(m[0]) for p in _IGNORED if (m := p.match(key))), default=0)
    return ignored == 0 or kept > ignored


def pod_label(endpoint: Endpoint, key: str) -> str | None:
    """A label of a pod as Cilium sees it."""
    return endpoint.labels.get(key) if counts(key) and not _special(key) else None


def namespace_label(endpoint: Endpoint, key: str) -> str | Missing | None:
    """A label of the pod's namespace. Its name is always known (kubernetes.io/metadata.name)."""
    if key == "kubernetes.io/metadata.name":
        return endpoint.namespace
    if endpoint.namespace_labels is None:
        return Missing(f"the labels of namespace {endpoint.namespace} are not known")
    return endpoint.namespace_labels.get(key)


def _special(key: str) -> bool:
    return key in (POD_NAMESPACE, CLUSTER, SERVICE_ACCOUNT) or key.startswith(NAMESPACE_LABELS)


def _kubernetes(endpoint: Endpoint, key: str) -> str | Missing | None:
    """A label with the source k8s."""
    if not endpoint.is_pod:
        return None
    if key == POD_NAMESPACE:
        return endpoint.namespace
    if key == SERVICE_ACCOUNT:
        if endpoint.service_account is None:
            return Missing(f"the service account of {endpoint} is not known", exists=True)
        return endpoint.service_account
    if key == CLUSTER:
        return Missing("the name of the cluster is not known", exists=True)
    prefix = f"{NAMESPACE_LABELS}."
    if key.startswith(prefix):
        return namespace_label(endpoint, key.removeprefix(prefix)) if counts(key) else None
    return pod_label(endpoint, key)


def reserved(endpoint: Endpoint, label: str, subject: Endpoint) -> Truth:
    """Whether an endpoint has a reserved label, as seen from the node of ``subject``."""
    api = known(endpoint.kube_apiserver) if endpoint.kube_apiserver is not None else unknown(
        f"it is not known whether {endpoint} is an API server"
    )  # fmt: skip
    if endpoint.is_pod:
        return NO
    if label == "kube-apiserver":
        return api
    if endpoint.is_node:
        if label not in ("host", "remote-node"):
            return NO
        if not endpoint.node or not subject.node:
            return unknown(f"it is not known whether {endpoint} is the node of {subject}")
        return known((endpoint.node == subject.node) is (label == "host"))
    if label in ("world-ipv4", "world-ipv6"):
        family = "world-ipv6" if ":" in endpoint.ip else "world-ipv4"
        return unknown(f"{label} means nothing without dual stack") if label == family else NO
    if label == "world":
        # An API server outside the cluster has an identity of its own.
        return YES if api.value is False else unknown(f"{endpoint} may be an API server")
    return NO


def entity(endpoint: Endpoint, name: str, subject: Endpoint) -> Truth:
    """Whether an endpoint belongs to one of Cilium's entities."""
    if name == "all":
        return YES
    if name == "cluster":
        return YES if endpoint.kind is not Kind.WORLD else reserved(
            endpoint, "kube-apiserver", subject
        )  # fmt: skip
    if name == "world" and endpoint.kind is Kind.WORLD:
        return reserved(endpoint, "world", subject)
    return reserved(endpoint, name, subject)


def demand(requirement: Requirement, endpoint: Endpoint, subject: Endpoint) -> Truth:
    """Whether an endpoint's identity meets one demand of a selector."""
    source, key = source_of(requirement.key)
    if source == "reserved":
        return _reserved_demand(requirement, reserved(endpoint, key, subject))
    if source not in ("any", "k8s"):
        return unknown(f"labels of the source {source!r} are not understood")
    if source == "any" and not endpoint.is_pod and key in _RESERVED:
        return _reserved_demand(requirement, reserved(endpoint, key, subject))
    return requirement.fits(_lookup(endpoint, key))


def _reserved_demand(requirement: Requirement, has: Truth) -> Truth:
    """Reserved labels have no value."""
    match requirement.operator:
        case "Exists":
            return has
        case "DoesNotExist":
            return negate(has)
        case "In":
            return has if "" in requirement.values else NO
        case "NotIn":
            return negate(has) if "" in requirement.values else YES
    return unknown(f"the operator {requirement.operator!r} of a selector is not understood")


_RESERVED = frozenset({"host", "remote-node", "world", "kube-apiserver"})


def _lookup(endpoint: Endpoint, key: str) -> Lookup:
    return lambda _: _kubernetes(endpoint, key)
