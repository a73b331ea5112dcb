"""Policies that select no pod, and pods that no policy selects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_zerotrust.core.policy.endpoint import Dialect, Endpoint
from pytest_zerotrust.core.policy.match import selects
from pytest_zerotrust.core.policy.model import Direction, Policy, Section
from pytest_zerotrust.core.policy.truth import Truth, all_of, any_of, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A policy and whether it selects any of the pods: no (it is idle), or unknown and why."""

    policy: str
    selects: Truth
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """A pod and whether a policy isolates it: no, or unknown and why."""

    pod: str
    isolated: Truth


def idle_policies(
    policies: Iterable[Policy], pods: Sequence[Endpoint], *, dialect: Dialect
) -> list[Idle]:
    """The policies that select none of ``pods`` for certain, or of which that cannot be said.

    ``pods`` must be all pods that the policies could mean. A section that nobody reads in this
    dialect selects nothing.
    """
    found = []
    for policy in policies:
        answer = any_of(
            _selects(policy, section, pod, dialect) for section in policy.sections for pod in pods
        )
        if answer.value is not True:
            subject = "; ".join(str(section.subject) for section in policy.sections)
            found.append(Idle(policy=str(policy), selects=answer, subject=subject))
    return found


def _selects(policy: Policy, section: Section, pod: Endpoint, dialect: Dialect) -> Truth:
    directions = [d for d in (section.ingress, section.egress) if d is not None]
    if directions and not any(dialect in d.dialects for d in directions):
        return any_of(())
    return selects(section, pod, dialect, cilium=policy.cilium)


def bare_pods(
    policies: Iterable[Policy], pods: Iterable[Endpoint], *, dialect: Dialect
) -> list[Bare]:
    """The pods that no policy isolates in either direction, or of which that cannot be said.

    Pods in the network of their node are left out: policies do not apply to them.
    """
    policies = list(policies)
    found = []
    for pod in pods:
        if not pod.is_pod:
            continue
        answer = any_of(
            _isolates(policy, section, pod, dialect)
            for policy in policies
            for section in policy.sections
        )
        if answer.value is not True:
            found.append(Bare(pod=f"{pod.namespace}/{pod.name}", isolated=answer))
    return found


def _isolates(policy: Policy, section: Section, pod: Endpoint, dialect: Dialect) -> Truth:
    def speaks(direction: Direction | None) -> bool:
        return direction is not None and direction.isolates and dialect in direction.dialects

    if not speaks(section.ingress) and not speaks(section.egress):
        return any_of(())
    chosen = selects(section, pod, dialect, cilium=policy.cilium)
    return all_of((chosen, unknown(section.doubt))) if section.doubt else chosen
