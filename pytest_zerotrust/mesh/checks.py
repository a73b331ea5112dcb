"""The mesh checks that follow from an intent, with ids that are the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.core.intent import Flow, Intent, Port


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


def port_checks(intent: Intent, control: str) -> Iterator[PortCheck]:
    """One check for each TCP port of each meshed workload (UDP is never captured by a sidecar)."""
    if intent.mesh is None:
        return
    for key, workload in intent.workloads.items():
        if workload.meshed:
            for port in workload.ports:
                if port.protocol == "TCP":
                    yield PortCheck(control=control, workload=key, port=port)


def call_checks(intent: Intent) -> Iterator[CallCheck]:
    """One check for each allowed TCP flow whose source is meshed."""
    if intent.mesh is None:
        return
    for flow in intent.flows:
        if flow.port.protocol == "TCP" and intent.workloads[flow.source].meshed:
            yield CallCheck(flow=flow)
