"""Every kind of check that follows from an intent, by the name that ``zt_each`` markers use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_zerotrust.admission.corpus.select import CaseCheck, corpus_checks
from pytest_zerotrust.admission.failopen import FailClosedCheck, fail_closed_checks
from pytest_zerotrust.admission.pairs import PairCheck, pair_checks
from pytest_zerotrust.admission.protection import AdministratorsCheck, administrators_checks
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.mesh.checks import (
    CallCheck,
    EnrolCheck,
    HeaderCheck,
    ImpostorCheck,
    PortCheck,
    SweepCheck,
    call_checks,
    enrol_checks,
    header_checks,
    impostor_checks,
    port_checks,
    sweep_checks,
)
from pytest_zerotrust.mesh.wire_checks import (
    MeshWireCheck,
    WireCheck,
    mesh_wire_checks,
    wire_checks,
)
from pytest_zerotrust.network import baseline
from pytest_zerotrust.network.checks import (
    CanaryCheck,
    allowed_checks,
    allowed_egress_checks,
    denied_checks,
    denied_egress_checks,
    dns_checks,
    newborn_checks,
    node_port_checks,
    side_port_checks,
)
from pytest_zerotrust.network.checks import Check as NetworkCheck
from pytest_zerotrust.network.coverage import CoverageCheck, Part, coverage_checks
from pytest_zerotrust.network.inventory import (
    AlikeCheck,
    NamedCheck,
    alike_checks,
    named_checks,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NothingToCheck:
    """Stands where the intent gives a control no subject; it ends as 'not applicable'."""

    control: str
    why: str

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-not-declared"


Check = (
    NetworkCheck
    | CoverageCheck
    | NamedCheck
    | AlikeCheck
    | PortCheck
    | CallCheck
    | SweepCheck
    | EnrolCheck
    | ImpostorCheck
    | HeaderCheck
    | WireCheck
    | MeshWireCheck
    | PairCheck
    | CaseCheck
    | FailClosedCheck
    | AdministratorsCheck
    | NothingToCheck
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of checks: its control, how they follow from an intent, and why there may be none."""

    control: str
    make: Callable[[Intent], Iterable[Check]]
    why_none: str


def _admission(intent: Intent, control: str) -> Iterator[Check]:
    yield from pair_checks(intent, control)
    yield from corpus_checks(intent, control)


def _enforcement(intent: Intent) -> Iterator[Check]:
    yield CanaryCheck()
    if intent.baseline:
        yield from baseline.checks()


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "canaries": Kind(control="ZT-NET-000", make=_enforcement, why_none=""),
        "denied-across-namespaces": Kind(
            control="ZT-NET-001",
            make=lambda intent: denied_checks(intent, across=True),
            why_none="the intent declares no workloads in different namespaces",
        ),
        "denied-within-namespace": Kind(
            control="ZT-NET-002",
            make=lambda intent: denied_checks(intent, across=False),
            why_none="the intent leaves no flow within a namespace undeclared",
        ),
        "allowed": Kind(
            control="ZT-NET-003", make=allowed_checks, why_none="the intent declares no flows"
        ),
        "dns": Kind(
            control="ZT-NET-004", make=dns_checks, why_none="the intent declares no workloads"
        ),
        "policies-select-pods": Kind(
            control="ZT-NET-005",
            make=lambda intent: coverage_checks(intent, Part.SELECT),
            why_none="the intent names no namespaces",
        ),
        "pods-have-policies": Kind(
            control="ZT-NET-005",
            make=lambda intent: coverage_checks(intent, Part.COVER),
            why_none="the intent names no namespaces",
        ),
        "denied-egress": Kind(
            control="ZT-NET-006",
            make=denied_egress_checks,
            why_none="the intent declares no destination outside that a workload must not reach",
        ),
        "allowed-egress": Kind(
            control="ZT-NET-007",
            make=allowed_egress_checks,
            why_none="the intent allows no flow to a destination outside",
        ),
        "named": Kind(
            control="ZT-NET-008", make=named_checks, why_none="the intent names no namespaces"
        ),
        "alike": Kind(
            control="ZT-NET-009", make=alike_checks, why_none="the intent declares no workloads"
        ),
        "side-ports": Kind(
            control="ZT-NET-010",
            make=side_port_checks,
            why_none="the intent declares no two workloads of which one has a port",
        ),
        "newborn": Kind(
            control="ZT-NET-011",
            make=newborn_checks,
            why_none="the intent leaves no TCP flow undeclared",
        ),
        "node-ports": Kind(
            control="ZT-NET-012",
            make=node_port_checks,
            why_none="the intent leaves no flow undeclared",
        ),
        "plaintext": Kind(
            control="ZT-MSH-001",
            make=lambda intent: port_checks(intent, "ZT-MSH-001"),
            why_none="the intent declares no mesh, or no meshed workload with a TCP port",
        ),
        "identity": Kind(
            control="ZT-MSH-002",
            make=lambda intent: port_checks(intent, "ZT-MSH-002"),
            why_none="the intent declares no mesh, or no meshed workload with a TCP port",
        ),
        "mesh-call": Kind(
            control="ZT-MSH-003",
            make=call_checks,
            why_none="the intent declares no mesh, or no flow from a meshed workload",
        ),
        "foreign-certificate": Kind(
            control="ZT-MSH-004",
            make=lambda intent: port_checks(intent, "ZT-MSH-004"),
            why_none="the intent declares no mesh, or no meshed workload with a TCP port",
        ),
        "other-ports": Kind(
            control="ZT-MSH-005",
            make=sweep_checks,
            why_none="the intent declares no mesh, or no meshed workload",
        ),
        "enrolled": Kind(
            control="ZT-MSH-006",
            make=enrol_checks,
            why_none="the intent declares no mesh, or no meshed workload",
        ),
        "certificate": Kind(
            control="ZT-MSH-007",
            make=lambda intent: port_checks(intent, "ZT-MSH-007"),
            why_none="the intent declares no mesh, or no meshed workload with a TCP port",
        ),
        "authorization": Kind(
            control="ZT-MSH-008",
            make=impostor_checks,
            why_none="the intent does not ask for it (mesh.authorization), or declares no flow "
            "between meshed workloads",
        ),
        "declared-mode": Kind(
            control="ZT-MSH-009",
            make=lambda intent: port_checks(intent, "ZT-MSH-009"),
            why_none="the intent declares no mesh, or no meshed workload with a TCP port",
        ),
        "forged-header": Kind(
            control="ZT-MSH-010",
            make=header_checks,
            why_none="the intent declares no flow between meshed workloads to a port with an echo",
        ),
        "wire": Kind(
            control="ZT-ENC-001",
            make=wire_checks,
            why_none="the intent demands no encryption between nodes (encryption.betweenNodes)",
        ),
        "mesh-wire": Kind(
            control="ZT-ENC-002",
            make=mesh_wire_checks,
            why_none="the intent demands no encryption between nodes (encryption.betweenNodes), or "
            "declares no flow between meshed workloads",
        ),
        "privileged": Kind(
            control="ZT-ADM-001",
            make=lambda intent: _admission(intent, "ZT-ADM-001"),
            why_none="the intent declares no admission",
        ),
        "run-as-root": Kind(
            control="ZT-ADM-002",
            make=lambda intent: _admission(intent, "ZT-ADM-002"),
            why_none="the intent declares no admission",
        ),
        "image-from-elsewhere": Kind(
            control="ZT-ADM-003",
            make=lambda intent: _admission(intent, "ZT-ADM-003"),
            why_none="the intent declares no admission",
        ),
        "pod-security": Kind(
            control="ZT-ADM-004",
            make=lambda intent: corpus_checks(intent, "ZT-ADM-004"),
            why_none="the intent declares no Pod Security level (admission.podSecurity)",
        ),
        "fails-closed": Kind(
            control="ZT-ADM-005",
            make=fail_closed_checks,
            why_none="the intent declares no admission",
        ),
        "administrators": Kind(
            control="ZT-ADM-006",
            make=administrators_checks,
            why_none="the intent does not say who may change policies (admission.administrators)",
        ),
    }
)


def checks_of(kind: str, intent: Intent) -> list[Check]:
    """All checks of a kind, in a stable order; never empty."""
    found = list(KINDS[kind].make(intent))
    return found or [NothingToCheck(control=KINDS[kind].control, why=KINDS[kind].why_none)]
