"""The mesh checks that follow from an intent, with ids that are the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.core.intent import Flow, Intent, Port, Workload

PLAINTEXT, IDENTITY, FOREIGN, CERTIFICATE = "ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004", "ZT-MSH-007"
DECLARED = "ZT-MSH-009"
"""The controls that are checked on each port of a meshed workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortCheck:
    """One port of one meshed workload, attacked from outside the mesh."""

    control: str
    workload: str
    port: Port

    @property
    def subject(self) -> str:
        """The port in words that fit into a test id."""
        return f"{self.workload}:{self.port}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCheck:
    """One allowed flow, called from inside the mesh through the workload's own Service."""

    flow: Flow

    control = "ZT-MSH-003"

    @property
    def subject(self) -> str:
        """The flow in words that fit into a test id."""
        return f"{self.flow.source}->{self.flow.target}:{self.flow.port}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCheck:
    """The ports of one meshed workload beside the declared ones, attacked from outside."""

    workload: str

    control = "ZT-MSH-005"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.workload}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolCheck:
    """Whether all pods of one meshed workload are in the mesh with all of their traffic."""

    workload: str

    control = "ZT-MSH-006"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.workload}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpostorCheck:
    """One allowed flow within the mesh, tried by a pod like the caller with another identity."""

    flow: Flow

    control = "ZT-MSH-008"

    @property
    def subject(self) -> str:
        """The flow in words that fit into a test id."""
        return f"{self.flow.source}->{self.flow.target}:{self.flow.port}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCheck:
    """One allowed flow within the mesh whose caller writes another identity into its request."""

    flow: Flow

    control = "ZT-MSH-010"

    @property
    def subject(self) -> str:
        """The flow in words that fit into a test id."""
        return f"{self.flow.source}->{self.flow.target}:{self.flow.port}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


Check = PortCheck | CallCheck | SweepCheck | ImpostorCheck | HeaderCheck
"""The checks that need probes."""


def port_checks(intent: Intent, control: str) -> Iterator[PortCheck]:
    """One check for each TCP port of each meshed workload (UDP is never captured by a sidecar)."""
    for workload in _meshed(intent):
        for port in workload.ports:
            if port.protocol == "TCP":
                yield PortCheck(control=control, workload=workload.key, port=port)


def call_checks(intent: Intent) -> Iterator[CallCheck]:
    """One check for each allowed TCP flow whose source is meshed."""
    if intent.mesh is None:
        return
    for flow in intent.flows:
        if flow.port.protocol == "TCP" and intent.workloads[flow.source].meshed:
            yield CallCheck(flow=flow)


def impostor_checks(intent: Intent) -> Iterator[ImpostorCheck]:
    """One check for each allowed TCP flow between two meshed workloads, if the intent asks."""
    if intent.mesh is not None and intent.mesh.authorization:
        for check in call_checks(intent):
            if intent.workloads[check.flow.target].meshed:
                yield ImpostorCheck(flow=check.flow)


def header_checks(intent: Intent) -> Iterator[HeaderCheck]:
    """One check for each allowed TCP flow between two meshed workloads whose port has an echo."""
    for check in call_checks(intent):
        if intent.workloads[check.flow.target].meshed and check.flow.port.echo:
            yield HeaderCheck(flow=check.flow)


def calls_to(intent: Intent, workload: str, port: Port) -> list[CallCheck]:
    """The calls from inside the mesh that the intent allows to one port."""
    return [
        check
        for check in call_checks(intent)
        if check.flow.target == workload and check.flow.port == port
    ]


def sweep_checks(intent: Intent) -> Iterator[SweepCheck]:
    """One check for each meshed workload."""
    for workload in _meshed(intent):
        yield SweepCheck(workload=workload.key)


def enrol_checks(intent: Intent) -> Iterator[EnrolCheck]:
    """One check for each meshed workload."""
    for workload in _meshed(intent):
        yield EnrolCheck(workload=workload.key)


def _meshed(intent: Intent) -> Iterator[Workload]:
    if intent.mesh is not None:
        yield from (workload for workload in intent.workloads.values() if workload.meshed)
