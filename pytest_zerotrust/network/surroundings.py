"""What is reported without judgement: the nodes' own network, node to pod, IPv6.

Network policies say nothing certain about these (Kubernetes documentation, "Network Policies: What
you can't do with network policies"), so nothing follows from them for a verdict. Whoever reads a
green report should know them all the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.observation import Seen, read_flow
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.fleet.state import PodState
from pytest_zerotrust.network.attempts import usable_ip
from pytest_zerotrust.network.batch import CONNECT_TIMEOUT

READY_IS_OLD = 4.0
"""Seconds after which the kubelet's word on a sealed canary is newer than the policy: one probe a
second that waits two seconds, as the manifest of such a pod has it, and a second to tell."""

WORTH_WAITING = 1.5
"""Seconds for which a batch is held up for that word, at most. Others go without."""

NOT_ALLOWED = "not asked, because probe.hostNetwork in the intent file does not allow such a pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was seen, by node: lines for people, and the same as data."""

    said: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def look_around(
    fleet: Fleet,
    members: Mapping[str, Member],
    twins: Iterable[PodSpec],
    nodes: Iterable[str],
    *,
    now: Mapping[str, PodState],
    sealed_for: float | None,
    host_network: Mapping[str, Member] | None,
) -> Surroundings:
    """Look at what surrounds the flows of a batch. Never raises for what could not be asked.

    ``now`` are the present states of the pods, ``sealed_for`` the seconds since the policy of the
    sealed canaries was made (None: not known). ``host_network`` are the probe pods in the network
    of their nodes, by node; None if they are not allowed.
    """
    nodes = list(nodes)
    said: list[str] = []
    data: dict[str, Any] = {}
    targets = _targets(fleet, members, twins, nodes)
    requests: dict[str, list[Mapping[str, Any]]] = {}
    nonces: dict[str, list[str]] = {}
    for node in nodes:
        canary = topology.canary(fleet.run, fleet.own_namespace, node)
        if usable_ip(members, canary):
            requests[canary.name] = [{"kind": "ipv6"}]
    for member in (host_network or {}).values():
        if member.usable:
            nonces[member.spec.name] = [secrets.token_hex(16) for _ in targets]
            requests[member.spec.name] = [
                _probe(ip, port, nonce)
                for (_, ip, port), nonce in zip(targets, nonces[member.spec.name], strict=True)
            ]
    replies = fleet.ask_all(requests) if requests else {}
    for node in nodes:
        canary = topology.canary(fleet.run, fleet.own_namespace, node)
        found = _ipv6(replies.get(canary.name))
        said.append(f"IPv6 in pods on {node}: {found}")
        data.setdefault("ipv6", {})[node] = found
        sealed = topology.sealed(fleet.run, fleet.own_namespace, node)
        found = _from_node(now.get(sealed.name), sealed_for)
        said.append(f"node -> its own pod, on {node}: {found}")
        data.setdefault("node_to_pod", {})[node] = found
    if host_network is None:
        said.append(f"host network: {NOT_ALLOWED}")
        data["host_network"] = NOT_ALLOWED
        return Surroundings(said=tuple(said), data=data)
    for node, member in host_network.items():
        reply = replies.get(member.spec.name, member.problem)
        found = _reached(fleet, targets, nonces.get(member.spec.name, []), reply)
        said.append(f"host network of {node}: {found}")
        data.setdefault("host_network", {})[node] = found
    return Surroundings(said=tuple(said), data=data)


def waiting_for_the_kubelet(sealed_for: float) -> float:
    """Seconds to wait until the kubelet's word on the sealed canaries is newer than the policy,
    made ``sealed_for`` seconds ago."""
    left = READY_IS_OLD - sealed_for
    return left if 0 < left <= WORTH_WAITING else 0.0


Target = tuple[PodSpec, str, tuple[int, str]]


def _targets(
    fleet: Fleet, members: Mapping[str, Member], twins: Iterable[PodSpec], nodes: Iterable[str]
) -> list[Target]:
    """The listeners that a pod in a node's network is sent to: (pod, address, port)."""
    sealed = [topology.sealed(fleet.run, fleet.own_namespace, node) for node in nodes]
    wanted = [(spec, CANARY_PORT) for spec in sealed]
    wanted += [(spec, port) for spec in twins for port in spec.ports]
    return [
        (spec, ip, (port.number, port.protocol))
        for spec, port in wanted
        for ip in [usable_ip(members, spec)]
        if ip
    ]


def _probe(ip: str, port: tuple[int, str], nonce: str) -> dict[str, Any]:
    return {
        "kind": port[1].lower(),
        "ip": ip,
        "port": port[0],
        "timeout": CONNECT_TIMEOUT,
        "send": f"ZT1 {nonce}\n",
        "until": "\n",
    }


def _reached(
    fleet: Fleet, targets: list[Target], nonces: list[str], reply: Mapping[str, Any] | str
) -> str:
    if isinstance(reply, str):
        return f"not asked, because {reply or 'its probe pod could not be used'}"
    reached: list[str] = []
    kept: list[str] = []
    for (spec, _, port), nonce, raw in zip(targets, nonces, reply["results"], strict=True):
        seen = read_flow(raw, key=fleet.key_of(spec), nonce=nonce).seen
        place = reached if seen is Seen.OPEN else kept
        place.append(f"{spec.subject}:{port[0]}/{port[1].lower()}")
    return f"reaches {_listed(reached)}; does not reach {_listed(kept)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "nothing") + more


def _from_node(state: PodState | None, sealed_for: float | None) -> str:
    """Whether the kubelet still reaches a pod that a policy closes for everybody."""
    if state is None or sealed_for is None or sealed_for < READY_IS_OLD:
        return "not looked at for long enough"
    if state.answers_kubelet:
        return "passes, although a policy closes the pod (the kubelet's probe is answered)"
    return "does not pass where a policy closes the pod (the kubelet's probe is not answered)"


def _ipv6(reply: Mapping[str, Any] | str | None) -> str:
    if not isinstance(reply, Mapping):
        return f"not asked, because {reply or 'no canary could be used'}"
    report = reply["results"][0]
    if report.get("end") != "complete":
        return f"not seen ({report.get('errno') or report.get('end')})"
    addresses, route = list(report.get("addresses", ())), str(report.get("route", ""))
    if addresses:
        return f"there is an address ({addresses[0]}), and nothing is tested over it"
    return f"there is no address; a way out: {'there is one' if route == 'yes' else route}"
