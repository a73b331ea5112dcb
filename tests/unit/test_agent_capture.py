"""What the agent makes of packets that leave a node: needles, carriers, TLS."""

from __future__ import annotations

import importlib.util
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

HERE, THERE, NODE = "10.0.0.1", "10.0.1.1", "192.0.2.2"
NEEDLE = "zerotrust-0123456789abcdef"
HELLO = b"\x16\x03\x01\x02\x00" + bytes(64)


@pytest.fixture(scope="module")
def agent() -> Any:
    path = Path(__file__).parents[2] / "probes" / "agent.py"
    spec = importlib.util.spec_from_file_location("agent_that_captures", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def ip(payload: bytes, protocol: int, source: str = HERE, target: str = THERE) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(target) + payload


def tcp(payload: bytes, **ends: str) -> bytes:
    head = struct.pack("!HHIIBBHHH", 40000, 8080, 1, 1, 0x50, 0x18, 1000, 0, 0)
    return ip(head + payload, 6, **ends)


def udp(payload: bytes, port: int, **ends: str) -> bytes:
    return ip(struct.pack("!HHHH", 50000, port, 8 + len(payload), 0) + payload, 17, **ends)


def vxlan(inner: bytes) -> bytes:
    return udp(bytes(8) + bytes(14) + inner, 8472, source="192.0.2.1", target=NODE)


def watched(agent: Any, *packets: bytes, pair: str = "") -> Any:
    needle = {"text": NEEDLE, "pair": pair} if pair else {"text": NEEDLE}
    capture = agent.Capture(
        {
            "toward": [NODE],
            "addresses": [THERE],
            "needles": {"tcp": needle},
            "pairs": {"pair": [HERE, THERE]},
        }
    )
    for packet in packets:
        capture.look("eth0", packet)
    return capture


LINE = b"ZT1 " + NEEDLE.encode() + b"\n"


@pytest.mark.parametrize("wrap", [lambda packet: packet, vxlan], ids=["native", "vxlan"])
def test_a_needle_is_found_in_the_clear_and_in_a_tunnel_that_hides_nothing(agent, wrap):
    (found,) = watched(agent, wrap(tcp(LINE)), pair="pair").found["tcp"]
    assert found["interface"] == "eth0"
    assert NEEDLE in found["excerpt"]
    assert found["size"] == len(wrap(tcp(LINE)))


def test_only_packets_between_the_two_addresses_count_where_a_pair_is_named(agent):
    other = tcp(LINE, source="10.0.0.9")
    assert watched(agent, other, pair="pair").found["tcp"] == []
    assert len(watched(agent, other).found["tcp"]) == 1


def test_no_more_sightings_are_kept_than_are_shown(agent):
    assert len(watched(agent, *[tcp(LINE)] * 10).found["tcp"]) == agent.SHOWN


@pytest.mark.parametrize("wrap", [lambda packet: packet, vxlan], ids=["native", "vxlan"])
def test_tls_is_told_from_everything_else(agent, wrap):
    packets = [tcp(b""), tcp(HELLO), tcp(b"\x17\x03\x03\x00\x10" + bytes(16)), tcp(b"GET / HTTP")]
    seen = watched(agent, *map(wrap, packets)).between["pair"]
    assert seen == {"packets": 4, "tls": 2, "other": 1}


def test_what_another_pair_says_is_not_counted(agent):
    seen = watched(agent, tcp(HELLO, source=THERE, target=HERE)).between["pair"]
    assert seen == {"packets": 0, "tls": 0, "other": 0}


def test_what_goes_to_a_node_is_counted_by_carrier_and_size(agent):
    inside = bytes(100)
    capture = watched(
        agent,
        udp(inside, 51871, target=NODE),
        udp(inside, 51871, target=NODE),
        ip(inside, 50, target=NODE),
        tcp(inside, target=NODE),
        udp(inside, 8080),
    )
    assert capture.carriers == {f"{NODE} udp/51871": {128: 2}, f"{NODE} esp": {120: 1}}


@pytest.mark.parametrize("data", [b"", b"\x45", bytes(60), b"\x60" + bytes(59)])
def test_what_is_no_ipv4_packet_does_no_harm(agent, data):
    capture = watched(agent, data)
    assert capture.packets == 1
    assert capture.carriers == {}


def run(program: bytes, packet: bytes, kind: int, protocol: int = 0x0800) -> int:
    """What the kernel's filter machine returns for a packet (linux/filter.h)."""
    steps = [struct.unpack("HBBI", program[at : at + 8]) for at in range(0, len(program), 8)]
    at, value = 0, 0
    while True:
        code, yes, no, number = steps[at]
        at += 1
        if code == 0x06:
            return int(number)
        if code == 0x15:
            at += yes if value == number else no
        else:
            ancillary = {0xFFFFF004: kind, 0xFFFFF000: protocol}
            inside = struct.unpack("!I", packet[16:20])[0]
            value = ancillary.get(number, inside)


@pytest.mark.parametrize("count", [1, 2, 200])
def test_the_filter_keeps_what_goes_out_to_the_addresses_and_nothing_else(agent, count):
    addresses = [f"10.1.{index // 250}.{index % 250 + 1}" for index in range(count)]
    program = agent.outgoing_to(addresses)
    for address in (addresses[0], addresses[-1]):
        assert run(program, tcp(b"", target=address), agent.OUTGOING)
        assert not run(program, tcp(b"", target=address), 0)
        assert not run(program, tcp(b"", target=address), agent.OUTGOING, protocol=0x86DD)
    assert not run(program, tcp(b"", target="10.9.9.9"), agent.OUTGOING)


TABLE = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0
eth1 0002A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
eth2 0502A8C0 00000000 0005 0 0 0 FFFFFFFF 0 0 0
down 0702A8C0 00000000 0000 0 0 0 FFFFFFFF 0 0 0
"""


@pytest.mark.parametrize(
    ("address", "interface"),
    [("203.0.113.1", "eth0"), ("192.168.2.7", "eth1"), ("192.168.2.5", "eth2")],
)
def test_the_way_is_that_of_the_longest_prefix(agent, monkeypatch, tmp_path, address, interface):
    file = tmp_path / "route"
    file.write_text(TABLE)
    monkeypatch.setattr("builtins.open", lambda name: file.open())
    assert agent.way_to(address) == interface


def test_ending_a_capture_that_does_not_run_is_told(agent):
    report = agent.probe_capture({"do": "stop", "token": "nobody"})
    assert report["end"] == "failed"
