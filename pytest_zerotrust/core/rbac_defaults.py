"""The bindings by which Kubernetes gives its own components their rights.

Names from k8s.io/kubernetes v1.35, plugin/pkg/auth/authorizer/rbac/bootstrappolicy, and of older
versions that are still in use. A binding is one of these by its own name, the name of its role and
its subject together: the same account has every other right from somebody else.
"""

from __future__ import annotations

from pytest_zerotrust.core.rbac import Grant, Subject

MASTERS = Subject("Group", "system:masters")
"""The group that the API server refuses nothing, whatever RBAC says."""

_CONTROLLERS = frozenset(
    {
        "attachdetach-controller",
        "certificate-controller",
        "clusterrole-aggregation-controller",
        "cronjob-controller",
        "daemon-set-controller",
        "deployment-controller",
        "device-taint-eviction-controller",
        "disruption-controller",
        "endpoint-controller",
        "endpointslice-controller",
        "endpointslicemirroring-controller",
        "ephemeral-volume-controller",
        "expand-controller",
        "generic-garbage-collector",
        "horizontal-pod-autoscaler",
        "job-controller",
        "kube-apiserver-serving-clustertrustbundle-publisher",
        "legacy-service-account-token-cleaner",
        "namespace-controller",
        "node-controller",
        "persistent-volume-binder",
        "pod-garbage-collector",
        "podcertificaterequestcleaner",
        "pv-protection-controller",
        "pvc-protection-controller",
        "replicaset-controller",
        "replication-controller",
        "resource-claim-controller",
        "resourcequota-controller",
        "root-ca-cert-publisher",
        "route-controller",
        "selinux-warning-controller",
        "service-account-controller",
        "service-cidrs-controller",
        "service-controller",
        "statefulset-controller",
        "storage-version-garbage-collector",
        "storage-version-migrator-controller",
        "ttl-after-finished-controller",
        "ttl-controller",
        "validatingadmissionpolicy-status-controller",
        "volumeattributesclass-protection-controller",
    }
)
_USERS = frozenset({"system:kube-controller-manager", "system:kube-scheduler"})


def is_controller(subject: Subject) -> bool:
    """True for the service account of one of the controllers that Kubernetes brings along."""
    here = (subject.kind, subject.namespace) == ("ServiceAccount", "kube-system")
    return here and subject.name in _CONTROLLERS


def is_default(grant: Grant) -> bool:
    """True if Kubernetes itself gives this to a component of its own, or to ``MASTERS``."""
    subject = grant.subject
    if subject == MASTERS:
        return True
    name = subject.name
    if is_controller(subject):
        name = f"system:controller:{name}"
    elif subject.kind != "User" or name not in _USERS:
        return False
    return (grant.binding, grant.role) == (f"ClusterRoleBinding {name}", f"ClusterRole {name}")
