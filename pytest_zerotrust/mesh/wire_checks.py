"""The checks of what the wire between nodes carries, with ids that are the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.core.intent import Flow, Intent
from pytest_zerotrust.mesh.checks import call_checks

BETWEEN_NODES, WITHIN_MESH = "ZT-ENC-001", "ZT-ENC-002"


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCheck:
    """What two pods of our own say over one protocol, from each node to another one."""

    protocol: str

    control = BETWEEN_NODES

    @property
    def subject(self) -> str:
        """The exchange in words that fit into a test id."""
        return f"between-nodes/{self.protocol.lower()}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshWireCheck:
    """One allowed flow within the mesh, called from another node than its target's."""

    flow: Flow

    control = WITHIN_MESH

    @property
    def subject(self) -> str:
        """The flow in words that fit into a test id."""
        return f"{self.flow.source}->{self.flow.target}:{self.flow.port}"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"


Check = WireCheck | MeshWireCheck
"""The checks that need a capture on the nodes."""


def wire_checks(intent: Intent) -> Iterator[WireCheck]:
    """One check for each protocol, if the intent demands encryption between nodes."""
    if intent.encryption is not None:
        yield from (WireCheck(protocol=protocol) for protocol in ("TCP", "UDP"))


def mesh_wire_checks(intent: Intent) -> Iterator[MeshWireCheck]:
    """One check for each allowed TCP flow between two meshed workloads, if the same."""
    if intent.encryption is not None:
        for call in call_checks(intent):
            if intent.workloads[call.flow.target].meshed:
                yield MeshWireCheck(flow=call.flow)
