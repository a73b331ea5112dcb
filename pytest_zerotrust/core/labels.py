"""The labels that controllers give to their own pods."""

from __future__ import annotations

from collections.abc import Mapping

CONTROLLERS_OWN = frozenset(
    {
        "pod-template-hash",
        "rollouts-pod-template-hash",
        "controller-revision-hash",
        "pod-template-generation",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "controller-uid",
        "job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/job-completion-index",
    }
)
"""Labels by which a controller knows its pods again. They differ from pod to pod or from one
roll-out to the next, and a probe pod that had them would be adopted
(kubernetes.io, "Well-Known Labels, Annotations and Taints")."""


def without_controllers_own(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels that say what a pod is, and not which one of its controller's it is."""
    return {key: value for key, value in labels.items() if key not in CONTROLLERS_OWN}
