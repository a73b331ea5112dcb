"""The exact rights that a run needs, for asking the API server and for the shipped RBAC file."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_zerotrust.cluster.access import Right
from pytest_zerotrust.cluster.grants import BINDINGS, GROUP, ROLES
from pytest_zerotrust.core.intent import AdmissionIntent, Intent
from pytest_zerotrust.fleet.manifests import own_namespace_labels

_NETWORKING = "networking.k8s.io"
_REGISTRATION = "admissionregistration.k8s.io"
_WORKLOADS = (
    ("", "replicationcontrollers"),
    *(("apps", name) for name in ("daemonsets", "deployments", "replicasets", "statefulsets")),
    *(("batch", name) for name in ("cronjobs", "jobs")),
)


def fleet_rights(intent: Intent, more_namespaces: Iterable[str] = ()) -> list[Right]:
    """Everything that the probe pods of this intent need, namespace by namespace.

    ``more_namespaces`` are those of ``--zt-namespace``.
    """
    own = intent.probe.namespace
    ours = (*intent.baseline_namespaces, own)
    rights = [Right(name, _NETWORKING, "networkpolicies", verb) for name in ours for verb in _MADE]
    for namespace in dict.fromkeys((*intent.namespaces, *more_namespaces, *ours)):
        rights += [Right(namespace, "", "pods", verb) for verb in _MADE]
        rights += [Right(namespace, "", "pods/exec", verb) for verb in ("create", "get")]
        rights += [Right(namespace, "", "services", verb) for verb in (*_MADE, "get")]
    rights += [Right("", "", "namespaces", "get")]
    if intent.mesh is not None:
        rights += [
            Right(namespace, "", "configmaps", "get")
            for namespace in sorted({w.namespace for w in intent.workloads.values() if w.meshed})
        ]
    if intent.admission is not None:
        rights += admission_rights(intent)
    return sorted(set(rights))


def admission_rights(intent: Intent) -> list[Right]:
    """Only dry runs make use of these, but the API server asks for the same rights."""
    admission = intent.admission
    if admission is None:
        return []
    rights = [Right("", _REGISTRATION, "validatingwebhookconfigurations", "list")]
    rights += [Right("", _REGISTRATION, "validatingadmissionpolicies", "get")]
    rights += [Right("", _REGISTRATION, "validatingadmissionpolicybindings", "list")]
    for namespace in dict.fromkeys((*admission.namespaces, *admission.pod_security)):
        rights += [Right(namespace, "", "pods", verb) for verb in ("create", "patch")]
        if namespace in intent.namespaces:
            rights.append(Right(namespace, "", "pods/ephemeralcontainers", "patch"))
    for namespace in admission.namespaces:
        rights += [Right(namespace, group, resource, "create") for group, resource in _WORKLOADS]
    if admission.identities:
        rights.append(Right("", "", "users", "impersonate"))
        if any(name.startswith("system:serviceaccount:") for name in admission.identities):
            rights.append(Right("", "", "serviceaccounts", "impersonate"))
    return rights


def own_namespace_rights() -> list[Right]:
    """What is needed besides if our own namespace does not exist yet."""
    return [Right("", "", "namespaces", verb) for verb in ("create", "delete")]


def explaining_rights(intent: Intent, more_namespaces: Iterable[str] = ()) -> list[Right]:
    """What explaining verdicts by policies needs besides, all of it reading.

    A run without these goes on; its verdicts lack the explanation, and ZT-NET-005, ZT-MSH-009,
    ZT-ADM-006 and, with Gatekeeper, ZT-ADM-005 stay open.
    """
    rights = [Right("", "cilium.io", kind, "list") for kind in _CLUSTERWIDE]
    if intent.admission is not None:
        rights += _policy_reading_rights(intent.admission)
    rights += [Right("", "", "nodes", "list")]
    rights += [Right("default", "discovery.k8s.io", "endpointslices", "list")]
    rights += [Right("kube-system", group, kind, "list") for group, kind in _AROUND_DNS]
    if intent.encryption is not None:
        rights += [Right("kube-system", "", "configmaps", "get")]
    for namespace in dict.fromkeys((*intent.namespaces, *more_namespaces)):
        rights += [Right(namespace, group, kind, "list") for group, kind in _EXPLAINING]
    if intent.mesh is not None:
        meshed = {w.namespace for w in intent.workloads.values() if w.meshed}
        rights += [
            Right(name, "security.istio.io", "peerauthentications", "list")
            for name in (*meshed, intent.mesh.root_namespace)
        ]
    return sorted(set(rights))


def _policy_reading_rights(admission: AdmissionIntent) -> list[Right]:
    """Users name the kinds of Gatekeeper's constraints, so no list of them can be given."""
    rights = []
    if admission.engine in ("any", "gatekeeper"):
        rights += [
            Right("", "constraints.gatekeeper.sh", "*", "get"),
            Right("", "config.gatekeeper.sh", "configs", "get"),
        ]
    if admission.administrators:
        rights += [Right("", GROUP, resource, "list") for resource in (*ROLES, *BINDINGS)]
    return rights


_CLUSTERWIDE = ("ciliumclusterwidenetworkpolicies", "ciliumnodes")
_AROUND_DNS = (
    ("", "pods"),
    ("", "services"),
    (_NETWORKING, "networkpolicies"),
    ("cilium.io", "ciliumnetworkpolicies"),
)
_EXPLAINING = (
    (_NETWORKING, "networkpolicies"),
    ("cilium.io", "ciliumnetworkpolicies"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
)
_MADE = ("create", "list", "deletecollection")


def as_rbac(
    rights: Iterable[Right],
    optional: Iterable[Right] = (),
    *,
    subject: str,
    own_namespace: str,
    pod_security: str,
) -> str:
    """Render rights as RBAC manifests (YAML text) for a ServiceAccount ``subject`` that lives in
    our own namespace: a Role for each namespace and a ClusterRole for what is cluster-wide.
    ``optional`` rights get Roles of their own, which may be left out. ``pod_security`` is the Pod
    Security level that our namespace enforces."""
    import yaml

    documents: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": own_namespace, "labels": own_namespace_labels(pod_security)},
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": subject, "namespace": own_namespace},
        },
    ]
    documents += _roles(rights, subject, subject, own_namespace)
    documents += _roles(optional, f"{subject}-explaining", subject, own_namespace)
    return "---\n".join(yaml.safe_dump(d, sort_keys=False) for d in documents)


def _roles(
    rights: Iterable[Right], name: str, subject: str, own_namespace: str
) -> list[dict[str, object]]:
    """A Role or ClusterRole for each namespace, and what binds it to the subject."""
    documents: list[dict[str, object]] = []
    by_namespace: dict[str, list[Right]] = {}
    for right in sorted(set(rights)):
        by_namespace.setdefault(right.namespace, []).append(right)
    for namespace, group in by_namespace.items():
        kind = "Role" if namespace else "ClusterRole"
        meta = {"name": name, **({"namespace": namespace} if namespace else {})}
        documents.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": kind,
                "metadata": meta,
                "rules": _rules(group),
            }
        )
        documents.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": f"{kind}Binding",
                "metadata": meta,
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": kind,
                    "name": name,
                },
                "subjects": [
                    {"kind": "ServiceAccount", "name": subject, "namespace": own_namespace}
                ],
            }
        )
    return documents


def _rules(rights: Iterable[Right]) -> list[dict[str, list[str]]]:
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        verbs.setdefault((right.group, right.resource), []).append(right.verb)
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(listed)}
        for (group, resource), listed in verbs.items()
    ]
