"""Puts the attempts of a round together, pod by pod, and reads the replies back by attempt."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.observation import (
    DnsObservation,
    Observation,
    Seen,
    read_dns,
    read_flow,
)
from pytest_zerotrust.fleet.fleet import Fleet

CONNECT_TIMEOUT = 1.5
"""Seconds to wait for an answer: enough for a second SYN, so that one lost packet is no denial."""

Name = tuple[str, ...]
"""What an attempt is for: a word, then what it is about (a check's id, pods, nodes)."""

DNS_NAME = "kubernetes.default.svc"
"""A name that every cluster resolves; the kubelet tells each pod the address it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One connection to be made: by which pod, to which address, and whose key must answer."""

    pod: str
    ip: str
    port: int
    protocol: str
    key: bytes


@dataclass(slots=True)
class Round:
    """The observations of one round. ``failed`` says why a pod gave no reply."""

    flows: dict[Name, Observation] = field(default_factory=dict)
    dns: dict[tuple[str, str], DnsObservation] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run_round(fleet: Fleet, attempts: Mapping[Name, Attempt], dns_pods: frozenset[str]) -> Round:
    """Make every attempt once, all pods at the same time, and every pod's DNS look-ups."""
    requests: dict[str, list[Mapping[str, Any]]] = {}
    places: dict[str, list[tuple[Name, Attempt | None, str]]] = {}
    for name, attempt in attempts.items():
        nonce = secrets.token_hex(16)
        requests.setdefault(attempt.pod, []).append(
            {
                "kind": attempt.protocol.lower(),
                "ip": attempt.ip,
                "port": attempt.port,
                "timeout": CONNECT_TIMEOUT,
                "send": f"ZT1 {nonce}\n",
                "until": "\n",
            }
        )
        places.setdefault(attempt.pod, []).append((name, attempt, nonce))
    for pod in sorted(dns_pods):
        for protocol in ("UDP", "TCP"):
            requests.setdefault(pod, []).append(
                {
                    "kind": "dns",
                    "name": DNS_NAME,
                    "protocol": protocol,
                    "timeout": CONNECT_TIMEOUT,
                }
            )
            places.setdefault(pod, []).append(((pod, protocol), None, protocol))
    result = Round()
    for pod, reply in fleet.ask_all(requests).items():
        if isinstance(reply, str):
            result.failed[pod] = reply
        _read(result, places[pod], reply)
    return result


def _read(
    result: Round,
    places: list[tuple[Name, Attempt | None, str]],
    reply: Mapping[str, Any] | str,
) -> None:
    for index, (name, attempt, nonce) in enumerate(places):
        if attempt is None:
            if isinstance(reply, str):
                look_up = DnsObservation(seen=Seen.FAILED, detail=reply)
            else:
                expected = str(reply.get("kubernetes", ""))
                look_up = read_dns(reply["results"][index], expected=expected)
            result.dns[(name[0], name[1])] = look_up
        elif isinstance(reply, str):
            result.flows[name] = Observation(seen=Seen.FAILED, detail=reply)
        else:
            result.flows[name] = read_flow(reply["results"][index], key=attempt.key, nonce=nonce)
