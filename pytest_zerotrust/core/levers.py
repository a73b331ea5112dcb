"""Levers: what somebody must be able to do to switch off what rejects pods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.core.rbac import Act

CHANGES = ("update", "patch", "delete", "deletecollection")
WRITES = ("create", "update", "patch")

WORKLOADS = (
    ("", "pods"),
    ("", "replicationcontrollers"),
    *(("apps", name) for name in ("daemonsets", "deployments", "replicasets", "statefulsets")),
    *(("batch", name) for name in ("cronjobs", "jobs")),
)
"""Group and resource of everything that Kubernetes itself makes pods of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """One of ``verbs`` on an object with one of ``names`` is needed."""

    verbs: tuple[str, ...]
    group: str
    resource: str
    names: tuple[str, ...] = ("",)
    namespace: str = ""
    whatever_name: bool = False

    def acts(self) -> Iterator[Act]:
        """Each of the requests that will do."""
        for verb in self.verbs:
            for name in self.names:
                yield Act(
                    verb=verb,
                    group=self.group,
                    resource=self.resource,
                    name=name,
                    namespace=self.namespace,
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """Something that switches a policy off, if all ``needs`` are met.

    ``text`` says it after the word 'may'; in it, ``{verbs}`` becomes the verbs that are held.
    """

    text: str
    needs: tuple[Need, ...]


def lever(
    kind: str,
    group: str,
    resource: str,
    name: str,
    *,
    namespace: str = "",
    verbs: tuple[str, ...] = CHANGES,
) -> Lever:
    """The lever that is one object."""
    need = Need(verbs=verbs, group=group, resource=resource, names=(name,), namespace=namespace)
    where = f"{namespace}/" if namespace and resource.partition("/")[0] != "namespaces" else ""
    return Lever(text=f"{{verbs}} {kind} {where}{name}", needs=(need,))


def workload_levers(namespace: str, what: str) -> Iterator[Lever]:
    """Changes of what runs in a namespace; ``what`` tells in words whose it is."""
    for group, resource in WORKLOADS:
        need = Need(
            # A pod of a workload that is deleted comes back.
            verbs=WRITES if resource == "pods" else (*WRITES, "delete", "deletecollection"),
            group=group,
            resource=resource,
            namespace=namespace,
            whatever_name=True,
        )
        yield Lever(text=f"{{verbs}} {resource} in namespace {namespace}, {what}", needs=(need,))
    for resource, verbs in (
        ("pods/exec", ("create", "get")),
        ("pods/ephemeralcontainers", ("update", "patch")),
    ):
        need = Need(
            verbs=verbs, group="", resource=resource, namespace=namespace, whatever_name=True
        )
        yield Lever(text=f"{{verbs}} {resource} in namespace {namespace}, {what}", needs=(need,))
