"""The checks that no pod is left out of the matrix, by whatever slip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.inventory import pods_in
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.inventory import judge_alike, judge_named
from pytest_zerotrust.core.verdict import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedCheck:
    """Whether every pod of a namespace belongs to a declared workload."""

    namespace: str

    control = "ZT-NET-008"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.namespace}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikeCheck:
    """Whether all pods of a workload look the same to policies."""

    workload: str

    control = "ZT-NET-009"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.workload}"


def named_checks(intent: Intent) -> Iterator[NamedCheck]:
    """One check for each namespace of the intent."""
    for namespace in intent.namespaces:
        yield NamedCheck(namespace=namespace)


def alike_checks(intent: Intent) -> Iterator[AlikeCheck]:
    """One check for each workload."""
    for key in intent.workloads:
        yield AlikeCheck(workload=key)


def judge_inventory(api: Api, intent: Intent, check: NamedCheck | AlikeCheck) -> Result:
    """List the pods now, and judge. Raises ApiFailure or ApiUnreachable."""
    control, workloads = check.control, intent.workloads
    remedy = CONTROLS[control].remedy
    if isinstance(check, NamedCheck):
        return judge_named(
            pods_in(api, check.namespace),
            workloads.values(),
            control=control,
            namespace=check.namespace,
            remedy=remedy,
        )
    workload = workloads[check.workload]
    return judge_alike(
        pods_in(api, workload.namespace),
        workloads.values(),
        control=control,
        workload=workload,
        remedy=remedy,
    )
