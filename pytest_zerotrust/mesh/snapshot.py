"""What one batch of mesh probes saw, before anything is concluded from it."""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.cluster.discovery import LivePod
from pytest_zerotrust.core.mesh import PodMesh
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.mesh.checks import HeaderCheck, PortCheck, SweepCheck
from pytest_zerotrust.mesh.policies import Policies

Attack = PortCheck | SweepCheck | HeaderCheck
"""The checks that attack pods from outside the mesh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One real pod of a workload, attacked by one check from one probe pod."""

    check: Attack
    pod: LivePod
    vantage: PodSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one batch saw. ``reports`` are the agents' raw reports by probe, one for each round.

    ``facts`` are what the pods' specifications say, by uid. ``on_node`` are the pods of each
    workload that are in the network of their node, and so were not attacked. ``roots`` are the
    mesh's root certificates (PEM) by namespace. ``policies`` are the PeerAuthentications, and
    ``policies_changed`` says why those are not the ones of the whole batch, if so. ``token`` is
    what forged headers and nonces of this batch are known by. ``moment`` is when the batch ended by
    the API server's clock.
    """

    members: Mapping[str, Member]
    pods: Mapping[str, tuple[LivePod, ...]]
    changed: Mapping[str, str]
    targets: tuple[Target, ...]
    reports: Mapping[Hashable, tuple[Mapping[str, Any], ...]]
    failed: Mapping[str, str]
    covered: frozenset[str]
    facts: Mapping[str, PodMesh] = field(default_factory=dict)
    on_node: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    roots: Mapping[str, str] = field(default_factory=dict)
    policies: Policies = field(default_factory=Policies)
    policies_changed: str = ""
    token: str = ""
    moment: datetime.datetime = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

    def of(self, check: Attack, pod: LivePod) -> Iterator[Target]:
        """The targets of a check at one pod."""
        for target in self.targets:
            if target.check.id == check.id and target.pod.uid == pod.uid:
                yield target
