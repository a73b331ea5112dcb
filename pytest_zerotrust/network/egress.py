"""Ways out: the addresses of destinations that are no pods, and the attempts at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_zerotrust.core.egress import AddressFacts
from pytest_zerotrust.core.intent import Outside, OutsideKind
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.network.attempts import AttemptList, usable_ip
from pytest_zerotrust.network.batch import Attempt, Name
from pytest_zerotrust.network.checks import EgressCheck
from pytest_zerotrust.network.snapshot import Snapshot

KUBERNETES = "kubernetes"
"""Stands for the address of the API server's Service, which every pod knows by itself."""

GREETING = "GET / HTTP/1.0\r\n\r\n"
"""What a TCP server is told where the intent does not say: most answer, if only to complain."""

ON_NODES = (OutsideKind.KUBELET, OutsideKind.ETCD, OutsideKind.NODE)
"""Destinations that are looked for at the address of every node."""


def addresses(outside: Outside, nodes: Mapping[str, str]) -> tuple[str, ...]:
    """Where a destination is looked for. ``nodes`` maps the names of nodes to their addresses.

    A DNS name stands for itself, and the API server for what each pod knows of it.
    """
    if outside.kind is OutsideKind.API_SERVER:
        return (KUBERNETES,)
    if outside.kind is OutsideKind.DNS_NAME:
        return (outside.dns_name,)
    if outside.kind in ON_NODES:
        return tuple(sorted(set(nodes.values())))
    return (outside.address,)


def node_addresses(members: Mapping[str, Member]) -> dict[str, str]:
    """The addresses of the nodes on which twins and canaries run, by the nodes' names."""
    states = [
        member.state
        for member in members.values()
        # A new pod comes after the attempts were chosen, and may land elsewhere.
        if member.state is not None and member.spec.role is not Role.NEWBORN
    ]
    return {state.node: state.node_ip for state in states if state.node and state.node_ip}


def add_egress(asked: AttemptList, checks: Iterable[EgressCheck]) -> None:
    """Ask every destination of these checks, from the twin and from the reference beside it."""
    for check in checks:
        twin = asked.twins[check.workload]
        if not usable_ip(asked.members, twin):
            continue
        reference = reference_of(asked, twin)
        for address in addresses(check.outside, asked.nodes):
            name = flow_name(check, address)
            asked.attempts[name] = _attempt(check.outside, address, twin)
            asked.expected[name] = check.expected is Expected.ALLOWED
            if reference is not None:
                node = _node(asked.members, twin)
                asked.attempts[reference_name(check.outside, address, node)] = _attempt(
                    check.outside, address, reference
                )


def flow_name(check: EgressCheck, address: str) -> Name:
    """The name of a check's attempt at one address."""
    return ("flow", check.id, address)


def reference_name(outside: Outside, address: str, node: str) -> Name:
    """The name of the reference's attempt at one address, from one node."""
    return ("reference", outside.key, address, node)


def reference_of(asked: AttemptList, twin: PodSpec) -> PodSpec | None:
    """The open canary on the twin's node, which no policy of the user's selects."""
    node = _node(asked.members, twin)
    canary = topology.canary(asked.fleet.run, asked.fleet.own_namespace, node)
    return canary if usable_ip(asked.members, canary) else None


def _node(members: Mapping[str, Member], spec: PodSpec) -> str:
    state = members[spec.name].state
    return state.node if state is not None else ""


def _attempt(outside: Outside, address: str, source: PodSpec) -> Attempt:
    named = outside.kind is OutsideKind.DNS_NAME
    default = GREETING if outside.port.protocol == "TCP" else "\n"
    return Attempt(
        pod=source.name,
        ip="" if named else address,
        port=outside.port.number,
        protocol=outside.port.protocol,
        key=None,
        host=address if named else "",
        send=outside.port.send or default,
    )


def facts_of(snapshot: Snapshot, check: EgressCheck, twin: PodSpec) -> tuple[AddressFacts, ...]:
    """What the batch saw of each address of a check's destination."""
    found = []
    node = snapshot.node(twin.name)
    for address in addresses(check.outside, snapshot.nodes):
        found.append(
            AddressFacts(
                address=f"{address}:{check.outside.port}",
                held=snapshot.observations(flow_name(check, address)),
                reference=snapshot.observations(reference_name(check.outside, address, node)),
                ip=address,
            )
        )
    return tuple(found)
