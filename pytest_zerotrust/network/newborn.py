"""Pods that try what they must not reach from their first moment on.

A CNI that applies policies some time after a pod has started leaves a window in which everything
is open (Kubernetes documentation, "Network Policies: Pod lifecycle"). The attempts travel in the
pod's own command, so that the first one is made as soon as its program runs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.intent import Flow
from pytest_zerotrust.core.newborn import Trail, read_trail
from pytest_zerotrust.core.observation import DnsObservation, expected_answer, read_dns
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.network.attempts import usable_ip
from pytest_zerotrust.network.batch import CONNECT_TIMEOUT, DNS_NAME
from pytest_zerotrust.network.checks import NewbornCheck

TIMEOUT = 0.5
"""Seconds that each attempt waits for an answer."""


PATIENCE = 10.0
"""Seconds for which the agent may go on with its first attempts after it was asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """One flow that a newborn tries, and the proof that its target answers with."""

    flow: Flow
    proof: str
    probe: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Newborn:
    """A pod that tries these targets as soon as it runs."""

    spec: PodSpec
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """What a newborn saw, target by target, or why there is nothing."""

    spec: PodSpec
    trails: Mapping[Flow, Trail] = field(default_factory=dict)
    dns: tuple[DnsObservation, ...] = ()
    problem: str = ""


def plan(
    fleet: Fleet,
    check: NewbornCheck,
    twins: Mapping[str, PodSpec],
    members: Mapping[str, Member],
) -> tuple[Target, ...]:
    """What the newborn of a check tries; the same in every process of the run."""
    found = []
    for flow in check.flows:
        twin = twins[flow.target]
        ip = usable_ip(members, twin)
        if ip:
            nonce = _nonce(fleet, flow)
            probe = {
                "kind": "tcp",
                "ip": ip,
                "port": flow.port.number,
                "timeout": TIMEOUT,
                "send": f"ZT1 {nonce}\n",
                "until": "\n",
            }
            found.append(Target(flow, expected_answer(fleet.key_of(twin), nonce), probe))
    return tuple(found)


def _nonce(fleet: Fleet, flow: Flow) -> str:
    """The nonce of a flow, which all processes of a run derive from its secret."""
    message = f"newborn/{flow.source}/{flow.target}/{flow.port}".encode()
    return hmac.new(fleet.run.secret.encode(), message, hashlib.sha256).hexdigest()[:32]


def ask(
    fleet: Fleet, newborns: Mapping[str, Newborn], members: Mapping[str, Member]
) -> dict[str, Birth]:
    """Let the newborns, by workload, tell what they saw, and show that they live by now."""
    usable = {key: born for key, born in newborns.items() if members[born.spec.name].usable}
    probes: list[Mapping[str, Any]] = [{"kind": "birth", "timeout": PATIENCE}]
    probes += [
        {"kind": "dns", "name": DNS_NAME, "protocol": protocol, "timeout": CONNECT_TIMEOUT}
        for protocol in ("UDP", "TCP")
    ]
    requests = {born.spec.name: probes for born in usable.values()}
    replies = fleet.ask_all(requests) if requests else {}
    found = {}
    for key, born in newborns.items():
        if key not in usable:
            found[key] = Birth(spec=born.spec, problem=members[born.spec.name].problem)
        else:
            found[key] = _read(born, replies[born.spec.name])
    return found


def _read(born: Newborn, reply: Mapping[str, Any] | str) -> Birth:
    if isinstance(reply, str):
        return Birth(spec=born.spec, problem=reply)
    report, *look_ups = reply["results"]
    lists = report.get("targets")
    if report.get("end") != "complete" or not isinstance(lists, list):
        why = report.get("errno") or report.get("end")
        return Birth(spec=born.spec, problem=f"its first seconds were not reported ({why})")
    if len(lists) != len(born.targets):
        return Birth(spec=born.spec, problem="the new pod tried something else")
    trails = {
        target.flow: read_trail(entries, target.proof)
        for target, entries in zip(born.targets, lists, strict=True)
    }
    expected = str(reply.get("kubernetes", ""))
    dns = tuple(read_dns(raw, expected=expected) for raw in look_ups)
    return Birth(spec=born.spec, trails=trails, dns=dns)
