"""What the wire between two nodes carries, as a capture on the sending node tells. Pure.

Only what leaves a node counts: of what arrives, a kernel that decrypts shows the packet a second
time, in the clear. That nothing was found in the clear shows something only if the packets of the
very exchange were seen, encrypted: a capture on the wrong interface finds nothing either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.verdict import Verdict

BULK = 12
"""Datagrams of one size that are sent, so that what carries them can be known by its size."""

OVERHEAD = range(1, 161)
"""Bytes by which a carrier may be longer than the IPv4 packet in it: WireGuard adds 60 and pads to
16, ESP in tunnel mode adds 60 to 80, and a tunnel around them up to 60 more (wireguard.com,
"Protocol & Cryptography"; RFC 4303, section 2)."""

_ETHERNET = 1
"""The kind of interface that is a wire (ARPHRD_ETHER, linux/if_arp.h); a tunnel has another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Bytes of ours that left a node in the clear. ``excerpt`` is what stood around them, and the
    addresses are those of the packet on the wire; ``ms`` is counted from the capture's start."""

    interface: str
    source: str
    target: str
    protocol: str
    ms: float
    size: int
    excerpt: str

    def __str__(self) -> str:
        return (
            f"{self.interface}: {self.source} -> {self.target} {self.protocol}, {self.size} bytes, "
            f"after {self.ms:g} ms: {self.excerpt!r}"
        )


@dataclass(frozen=True, slots=True)
class Between:
    """The packets between two addresses whose inside was seen, and how many of them carry TLS or
    something else over TCP."""

    packets: int = 0
    tls: int = 0
    other: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What the capture of one node says. ``problem`` says why it says nothing.

    ``sightings`` are by the name of what was looked for, ``between`` by the name of the two ends.
    ``carriers`` counts the packets to each node: by 'ADDRESS PROTOCOL/PORT', then by size in
    bytes, IPv4 header included. ``lost`` are packets that came too fast to be looked at.
    """

    problem: str = ""
    permitted: bool = True
    packets: int = 0
    lost: int = 0
    interfaces: tuple[str, ...] = ()
    sightings: Mapping[str, tuple[Sighting, ...]] = field(default_factory=dict)
    between: Mapping[str, Between] = field(default_factory=dict)
    carriers: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def carrier_of(self, node_ip: str, sizes: Sequence[int]) -> str:
        """What carried datagrams of these sizes (bytes, UDP payload) to a node, or nothing.

        Each size was sent ``BULK`` times, so its carrier was seen as often, and longer by the same
        few bytes.
        """
        for name, seen in sorted(self.carriers.items()):
            if name.split()[0] == node_ip and _carried(sizes, seen):
                return name
        return ""


def _carried(sizes: Sequence[int], seen: Mapping[int, int]) -> bool:
    # An IPv4 header of 20 bytes and a UDP header of 8 come before the payload. Whatever carries
    # them adds the same to each size.
    return bool(sizes) and any(
        all(seen.get(size + 28 + more, 0) >= BULK for size in sizes) for more in OVERHEAD
    )


def read_capture(started: Mapping[str, Any], ended: Mapping[str, Any]) -> Capture:
    """Read the agent's reports of the start and of the end of one capture."""
    for raw in (started, ended):
        if raw.get("stage") != "capture" or raw.get("end") not in ("started", "complete"):
            said = str(raw.get("errno") or raw.get("end") or "no report")
            return Capture(problem=said, permitted=said not in ("EPERM", "EACCES"))
    kinds: Mapping[str, int] = ended["interfaces"]
    tunnels = sorted(name for name, kind in kinds.items() if kind != _ETHERNET)
    if tunnels or not kinds:
        what = f"{tunnels[0]} is a tunnel and no wire" if tunnels else "no interface was found"
        return Capture(problem=f"{what}, so what it carries is not what the wire carries")
    return Capture(
        packets=int(ended["packets"]),
        lost=int(ended["lost"]),
        interfaces=tuple(sorted(kinds)),
        sightings={name: tuple(map(_sighting, found)) for name, found in ended["found"].items()},
        between={
            name: Between(int(seen["packets"]), int(seen["tls"]), int(seen["other"]))
            for name, seen in ended["between"].items()
        },
        carriers={
            str(name): {int(size): int(count) for size, count in sizes.items()}
            for name, sizes in ended["carriers"].items()
        },
    )


def _sighting(raw: Mapping[str, Any]) -> Sighting:
    return Sighting(
        interface=str(raw["interface"]),
        source=str(raw["from"]),
        target=str(raw["to"]),
        protocol=str(raw["protocol"]),
        ms=float(raw["ms"]),
        size=int(raw["size"]),
        excerpt=str(raw["excerpt"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One exchange of ours from one node to another, and what the capture at its source says.

    ``what`` tells it in words, ``needles`` are the names under which its nonce was looked for, and
    ``answered`` tells whether the other end got it; ``trouble`` says why the exchange was not made.
    ``ends`` are the names of the pairs of addresses it may be between, and ``carrier`` what was
    seen to carry its packets.
    """

    what: str
    needles: tuple[str, ...]
    capture: Capture
    answered: bool
    trouble: str = ""
    ends: tuple[str, ...] = ()
    carrier: str = ""

    @property
    def sighting(self) -> Sighting | None:
        """Where its nonce was seen in the clear, if it was."""
        found = (seen for name in self.needles for seen in self.capture.sightings.get(name, ()))
        return next(found, None)


def judge_plain(exchange: Exchange) -> Conclusion:
    """Is what pods say between two nodes encrypted by something below them?"""
    early = _in_the_clear_or_unclear(exchange)
    if early is not None:
        return early
    if not exchange.carrier:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "not-seen",
            f"nothing of {exchange.what} was seen on {_on(exchange)}, neither in the clear nor "
            f"encrypted: it may take another way",
        )
    return Conclusion(
        Verdict.HOLDS,
        "",
        f"{exchange.what} was seen on {_on(exchange)} only encrypted, in {exchange.carrier}",
    )


def judge_meshed(exchange: Exchange) -> Conclusion:
    """Is a call within the mesh unreadable on the wire, while the TLS of its proxies is seen?"""
    early = _in_the_clear_or_unclear(exchange)
    if early is not None:
        return early
    seen = [exchange.capture.between.get(name, Between()) for name in exchange.ends]
    tls, other = sum(item.tls for item in seen), sum(item.other for item in seen)
    if other:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "not-only-tls",
            f"{exchange.what} put {other} segments on the wire that begin no TLS record",
        )
    if not tls:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "not-seen",
            f"no TLS of {exchange.what} was seen on {_on(exchange)}: it may take another way, "
            f"or be encrypted once more below the mesh",
        )
    return Conclusion(
        Verdict.HOLDS,
        "",
        f"{exchange.what} was seen on {_on(exchange)} as TLS only, {tls} segments of it",
    )


def _in_the_clear_or_unclear(exchange: Exchange) -> Conclusion | None:
    seen = exchange.sighting
    if seen is not None:
        return Conclusion(
            Verdict.VIOLATED,
            "",
            f"{exchange.what} left its node IN THE CLEAR on {seen.interface} "
            f"({seen.source} -> {seen.target} {seen.protocol}), expected ENCRYPTED",
        )
    capture = exchange.capture
    if capture.problem:
        text = f"the wire was not looked at: {capture.problem}"
        if not capture.permitted:
            return Conclusion(Verdict.INCONCLUSIVE, "capture-not-permitted", text)
        return Conclusion(Verdict.INCONCLUSIVE, "probe-not-available", text)
    if exchange.trouble or not exchange.answered:
        text = f"{exchange.what} was not made: {exchange.trouble or 'it was not answered'}"
        return Conclusion(Verdict.INCONCLUSIVE, "no-exchange", text)
    if capture.lost:
        text = f"the capture lost {capture.lost} packets, which may have carried {exchange.what}"
        return Conclusion(Verdict.INCONCLUSIVE, "packets-lost", text)
    return None


def _on(exchange: Exchange) -> str:
    return ", ".join(exchange.capture.interfaces)


def over_all(conclusions: Sequence[Conclusion]) -> Conclusion:
    """One violated exchange is a violation; otherwise every one must hold."""
    for verdict in (Verdict.VIOLATED, Verdict.INCONCLUSIVE):
        for conclusion in conclusions:
            if conclusion.verdict is verdict:
                return conclusion
    if not conclusions:
        return Conclusion(Verdict.INCONCLUSIVE, "not-observed", "no exchange was made")
    count = f" ({len(conclusions)} ways between nodes)" if len(conclusions) > 1 else ""
    return Conclusion(Verdict.HOLDS, "", f"{conclusions[0].text}{count}")
