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
    read_foreign,
)
from pytest_zerotrust.fleet.fleet import Fleet

CONNECT_TIMEOUT = 1.5
"""Seconds to wait for an answer: enough for a second SYN, so that one lost packet is no denial."""

ANSWER_TIMEOUT = 5.0
"""Seconds to wait for the answer on a connection that was made. What is denied is not connected,
so this makes nothing slower; but a listener whose node is busy may take its time to answer."""

Name = tuple[str, ...]
"""What an attempt is for: a word, then what it is about (a check's id, pods, nodes)."""

DNS_NAME = "kubernetes.default.svc"
"""A name that every cluster resolves; the kubelet tells each pod the address it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One connection to be made: by which pod, to which address, and whose key must answer.

    With ``host`` the pod looks the name up itself; ``ip`` then says where it should lead, as far
    as that is known. Without a key the server is not ours: ``send`` is what it is told, and any
    answer counts.
    """

    pod: str
    ip: str
    port: int
    protocol: str
    key: bytes | None
    host: str = ""
    send: str = ""


@dataclass(slots=True)
class Round:
    """The observations of one round. ``failed`` says why a pod gave no reply."""

    flows: dict[Name, Observation] = field(default_factory=dict)
    dns: dict[tuple[str, str], DnsObservation] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run_rounds(
    fleet: Fleet, attempts: Mapping[Name, Attempt], dns_pods: frozenset[str], count: int
) -> list[Round]:
    """Make every attempt ``count`` times, all pods at the same time, and every DNS look-up.

    All rounds of a pod travel in one request, because an exec costs a hundred times what a
    connection does. The agent makes them one after another, each with a nonce of its own.
    """
    requests: dict[str, list[Mapping[str, Any]]] = {}
    places: dict[str, list[_Place]] = {}
    for number in range(count):
        for name, attempt in attempts.items():
            nonce = secrets.token_hex(16)
            requests.setdefault(attempt.pod, []).append(_flow_probe(attempt, nonce, number))
            places.setdefault(attempt.pod, []).append(_Place(number, name, attempt, nonce))
        for pod in sorted(dns_pods):
            for protocol in ("UDP", "TCP"):
                requests.setdefault(pod, []).append(_dns_probe(protocol, number))
                places.setdefault(pod, []).append(_Place(number, (pod, protocol), None, ""))
    rounds = [Round() for _ in range(count)]
    for pod, reply in fleet.ask_all(requests).items():
        if isinstance(reply, str):
            for round_ in rounds:
                round_.failed[pod] = reply
        _read(rounds, places[pod], reply)
    return rounds


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a report belongs: the round, the attempt (None for a DNS look-up) and its nonce."""

    round: int
    name: Name
    attempt: Attempt | None
    nonce: str


def _flow_probe(attempt: Attempt, nonce: str, number: int) -> dict[str, Any]:
    where = {"host": attempt.host} if attempt.host else {"ip": attempt.ip}
    return {
        **where,
        "kind": attempt.protocol.lower(),
        "port": attempt.port,
        "timeout": CONNECT_TIMEOUT,
        "read_timeout": ANSWER_TIMEOUT if attempt.key is not None else CONNECT_TIMEOUT,
        "send": f"ZT1 {nonce}\n" if attempt.key is not None else attempt.send,
        "until": "\n",
        "wave": number,
    }


def _dns_probe(protocol: str, number: int) -> dict[str, Any]:
    return {
        "kind": "dns",
        "name": DNS_NAME,
        "protocol": protocol,
        "timeout": CONNECT_TIMEOUT,
        "wave": number,
    }


def _read(rounds: list[Round], places: list[_Place], reply: Mapping[str, Any] | str) -> None:
    for index, place in enumerate(places):
        round_, name, attempt = rounds[place.round], place.name, place.attempt
        if attempt is None:
            if isinstance(reply, str):
                look_up = DnsObservation(seen=Seen.FAILED, detail=reply)
            else:
                expected = str(reply.get("kubernetes", ""))
                look_up = read_dns(reply["results"][index], expected=expected)
            round_.dns[(name[0], name[1])] = look_up
        elif isinstance(reply, str):
            round_.flows[name] = Observation(seen=Seen.FAILED, detail=reply)
        else:
            report = reply["results"][index]
            if attempt.key is None:
                round_.flows[name] = read_foreign(report)
            else:
                round_.flows[name] = read_flow(report, key=attempt.key, nonce=place.nonce)
