"""The network checks that follow from an intent, with ids that are the same everywhere."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from pytest_zerotrust.core.intent import Flow, Intent, Outside
from pytest_zerotrust.core.reachability import Expected


class Via(enum.Enum):
    """By which address the target is reached."""

    POD_IP = "pod-ip"
    SERVICE_IP = "service-ip"
    DNS_NAME = "dns-name"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowCheck:
    """One flow, one way to the target, and what the intent says about it."""

    control: str
    flow: Flow
    via: Via
    expected: Expected

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def subject(self) -> str:
        """The flow in words that fit into a test id."""
        return f"{self.flow.source}->{self.flow.target}:{self.flow.port}-{self.via.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsCheck:
    """Name resolution of one workload."""

    workload: str

    control = "ZT-NET-004"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.workload}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SidePortsCheck:
    """The ports of a target beside its declared ones, from one source."""

    source: str
    target: str

    control = "ZT-NET-010"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def subject(self) -> str:
        """The pair in words that fit into a test id."""
        return f"{self.source}->{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewbornCheck:
    """What a new pod of a workload can reach in its first seconds that it must not.

    ``flows`` are those that nothing allows.
    """

    workload: str
    flows: tuple[Flow, ...]

    control = "ZT-NET-011"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.workload}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressCheck:
    """One workload, one destination that is no pod, and what the intent says about it."""

    control: str
    workload: str
    outside: Outside
    expected: Expected

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def subject(self) -> str:
        """The way out in words that fit into a test id."""
        return f"{self.workload}->{self.outside.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePortCheck:
    """All denied flows to one workload, by node ports. ``flows`` are those that nothing allows."""

    workload: str
    flows: tuple[Flow, ...]

    control = "ZT-NET-012"

    @property
    def id(self) -> str:
        """The stable id of the check, also its test id."""
        return f"{self.control}-{self.subject}"

    @property
    def subject(self) -> str:
        """The workload in words that fit into a test id."""
        return f"{self.workload}-node-port"


@dataclass(frozen=True, slots=True)
class CanaryCheck:
    """Whether policies are enforced at all, between the nodes that the run uses."""

    control = "ZT-NET-000"
    id = "ZT-NET-000-canaries"


Check = (
    FlowCheck | DnsCheck | CanaryCheck | SidePortsCheck | NewbornCheck | EgressCheck | NodePortCheck
)


def flow_check(intent: Intent, flow: Flow, via: Via) -> FlowCheck:
    """The check of one flow as the intent has it: allowed if declared, denied otherwise."""
    if intent.allows(flow.source, flow.target, flow.port):
        return FlowCheck(control="ZT-NET-003", flow=flow, via=via, expected=Expected.ALLOWED)
    control = "ZT-NET-001" if intent.crosses_namespaces(flow) else "ZT-NET-002"
    return FlowCheck(control=control, flow=flow, via=via, expected=Expected.DENIED)


def denied_checks(intent: Intent, *, across: bool) -> Iterator[FlowCheck]:
    """Checks of all flows that nothing allows: between namespaces, or within one."""
    for flow in intent.denied_flows():
        if intent.crosses_namespaces(flow) is across:
            # A name leads to the Service IP, so for a denial it is no way of its own.
            for via in (Via.POD_IP, Via.SERVICE_IP):
                yield flow_check(intent, flow, via)


def allowed_checks(intent: Intent) -> Iterator[FlowCheck]:
    """Checks of all declared flows."""
    for flow in intent.flows:
        for via in Via:
            yield flow_check(intent, flow, via)


def dns_checks(intent: Intent) -> Iterator[DnsCheck]:
    """One check of name resolution for each workload."""
    for key in intent.workloads:
        yield DnsCheck(workload=key)


def side_port_checks(intent: Intent) -> Iterator[SidePortsCheck]:
    """One check for each pair of workloads of which the target declares a port."""
    for source in intent.workloads:
        for target, workload in intent.workloads.items():
            if source != target and workload.side_ports:
                yield SidePortsCheck(source=source, target=target)


def denied_egress_checks(intent: Intent) -> Iterator[EgressCheck]:
    """One check for each workload and each declared destination that nothing allows it."""
    for workload, outside in intent.denied_egress():
        yield EgressCheck(
            control="ZT-NET-006",
            workload=workload.key,
            outside=outside,
            expected=Expected.DENIED,
        )


def allowed_egress_checks(intent: Intent) -> Iterator[EgressCheck]:
    """One check for each flow to a destination outside that the intent allows."""
    for workload, outside in intent.allowed_egress():
        yield EgressCheck(
            control="ZT-NET-007",
            workload=workload.key,
            outside=outside,
            expected=Expected.ALLOWED,
        )


def newborn_checks(intent: Intent) -> Iterator[NewbornCheck]:
    """One check for each namespace, with its first workload that has something to be denied."""
    chosen: dict[str, str] = {}
    flows: dict[str, list[Flow]] = {}
    for flow in intent.denied_flows():
        namespace = intent.workloads[flow.source].namespace
        if _is_tcp(flow) and chosen.setdefault(namespace, flow.source) == flow.source:
            flows.setdefault(flow.source, []).append(flow)
    for workload, denied in flows.items():
        yield NewbornCheck(workload=workload, flows=tuple(denied))


def node_port_checks(intent: Intent) -> Iterator[NodePortCheck]:
    """One check for each workload that some other one must not reach."""
    flows: dict[str, list[Flow]] = {}
    for flow in intent.denied_flows():
        flows.setdefault(flow.target, []).append(flow)
    for workload in intent.workloads:
        if workload in flows:
            yield NodePortCheck(workload=workload, flows=tuple(flows[workload]))


def _is_tcp(flow: Flow) -> bool:
    return flow.port.protocol == "TCP"
