"""The real agent's name look-ups against a name server that lies in every way it can."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from pytest_zerotrust.core.observation import DnsObservation, Seen, read_dns
from tests.fakes.agents import PATIENCE, Agent, running

NAME, ADDRESS = "kubernetes.default.svc.cluster.local", "10.96.0.1"
Reply = Callable[[bytes], bytes]


def record(kind: int, data: bytes, name: bytes = b"\xc0\x0c") -> bytes:
    return name + struct.pack(">HHIH", kind, 1, 30, len(data)) + data


A = record(1, socket.inet_aton(ADDRESS))
OTHER = record(1, socket.inet_aton("10.9.9.9"))
AAAA = record(28, b"\0" * 16)
ALIAS = record(5, b"\xc0\x0c")


def reply(
    *records: bytes, rcode: int = 0, count: int | None = None, ident: int = 0, flags: int = 0x8180
) -> Reply:
    """A reply with these records; ``ident`` is added to the query's own id."""

    def made(query: bytes) -> bytes:
        number = (struct.unpack(">H", query[:2])[0] + ident) & 0xFFFF
        answers = len(records) if count is None else count
        head = struct.pack(">HHHHHH", number, flags | rcode, 1, answers, 0, 0)
        return head + query[12:] + b"".join(records)

    return made


def cut(made: Reply, size: int) -> Reply:
    return lambda query: made(query)[:size]


WRONG = Seen.WRONG_SERVER
REPLIES: dict[str, tuple[Reply, Seen]] = {
    "the right address": (reply(A), Seen.OPEN),
    "the right one among others": (reply(OTHER, A, AAAA), Seen.OPEN),
    "an alias, then the address": (reply(ALIAS, A), Seen.OPEN),
    "another address": (reply(OTHER), WRONG),
    "no address": (reply(), WRONG),
    "IPv6 alone": (reply(AAAA), WRONG),
    "an address of three bytes": (reply(record(1, b"\x0a\x60\x00")), WRONG),
    "no such name": (reply(rcode=3), WRONG),
    "server failure with the address": (reply(A, rcode=2), WRONG),
    "refused": (reply(rcode=5), WRONG),
    "the reply to another query": (reply(A, ident=1), WRONG),
    "the query itself": (lambda query: query, WRONG),
    "a query with an answer": (reply(A, flags=0x0180), WRONG),
    "cut in the question": (cut(reply(A), 20), WRONG),
    "cut in the head": (cut(reply(A), 7), WRONG),
    "one byte": (lambda query: b"\0", WRONG),
    "noise": (lambda query: bytes(random.Random(1).randbytes(200)), WRONG),
    "more answers than there are": (reply(A, count=65535), WRONG),
    "a name that points to itself": (reply(record(1, socket.inet_aton(ADDRESS))), Seen.OPEN),
    "a label that runs over the end": (reply(b"\x3fshort"), WRONG),
    "a record longer than the reply": (
        reply(b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 30, 60000), A),
        WRONG,
    ),
}


class NameServer:
    """Answers over UDP and TCP on port 53 of an address of loopback that is all its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.bind((address, 53))
        self.tcp.bind((address, 53))
        self.tcp.listen(16)
        self.made: Reply = reply(A)
        self.frame: Callable[[bytes], bytes] = lambda data: struct.pack(">H", len(data)) + data
        self.silent = False
        self.queries: list[bytes] = []
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, peer = self.udp.recvfrom(4096)
                if not query:
                    return
                self.queries.append(query)
                if not self.silent:
                    self.udp.sendto(self.made(query), peer)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                with connection, contextlib.suppress(OSError, struct.error):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        size = struct.unpack(">H", connection.recv(2, socket.MSG_WAITALL))[0]
        query = connection.recv(size, socket.MSG_WAITALL)
        self.queries.append(query)
        if self.silent:
            connection.recv(1)
        else:
            connection.sendall(self.frame(self.made(query)))

    def close(self) -> None:
        for sock in (self.udp, self.tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with running() as started:
        yield started


@pytest.fixture
def server() -> Iterator[NameServer]:
    address = f"127.{random.randrange(1, 255)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    try:
        made = NameServer(address)
    except PermissionError:
        pytest.skip("port 53 of loopback may not be used by this user")
    yield made
    made.close()


def look_up(
    agent: Agent, address: str, protocol: str, timeout: float = PATIENCE, name: str = NAME
) -> DnsObservation:
    probe = {"kind": "dns", "name": name, "protocol": protocol, "timeout": timeout, "ip": address}
    return read_dns(agent.ask(probe)[0], expected=ADDRESS)


both = pytest.mark.parametrize("protocol", ["UDP", "TCP"])


@both
def test_a_look_up_is_open_only_for_a_whole_reply_with_the_right_address(agent, server, protocol):
    for what, (made, seen) in REPLIES.items():
        server.made = made
        observation = look_up(agent, server.address, protocol)
        assert observation.seen is seen, what
        assert observation.server == server.address


@both
def test_a_reply_that_is_cut_in_its_address_is_malformed(agent, server, protocol):
    server.made = cut(reply(A), -3)
    assert look_up(agent, server.address, protocol).seen is WRONG


@both
def test_a_query_asks_for_the_name_and_has_an_id_that_nobody_can_guess(agent, server, protocol):
    for _ in range(3):
        look_up(agent, server.address, protocol)
    for query in server.queries:
        labels = b"".join(bytes([len(p)]) + p.encode() for p in NAME.split("."))
        assert query[12:] == labels + b"\0\0\1\0\1"
    assert len({query[:2] for query in server.queries}) > 1


@both
def test_a_name_server_that_says_nothing_drops(agent, server, protocol):
    server.silent = True
    assert look_up(agent, server.address, protocol, timeout=0.6).seen is Seen.DROPPED


def test_a_lost_datagram_is_sent_again_before_it_counts_as_a_drop(agent, server):
    server.silent = True
    look_up(agent, server.address, "UDP", timeout=0.6)
    assert len(server.queries) == 3
    assert len(set(server.queries)) == 1


@both
def test_no_name_server_refuses(agent, protocol):
    assert look_up(agent, "127.77.77.77", protocol).seen is Seen.REFUSED


FRAMES: dict[str, tuple[Callable[[bytes], bytes], Seen]] = {
    "closed without a word": (lambda data: b"", Seen.CLOSED),
    "half a length": (lambda data: b"\0", Seen.CLOSED),
    "length, then closed": (lambda data: struct.pack(">H", len(data)), Seen.CLOSED),
    "longer than it is": (lambda data: struct.pack(">H", 65535) + data, Seen.CLOSED),
    "shorter than it is": (lambda data: struct.pack(">H", 20) + data, WRONG),
    "length nought": (lambda data: b"\0\0", WRONG),
}


@pytest.mark.parametrize("what", FRAMES)
def test_a_reply_over_tcp_counts_only_if_it_is_whole(agent, server, what):
    frame, seen = FRAMES[what]
    server.frame = frame
    assert look_up(agent, server.address, "TCP").seen is seen


@pytest.mark.parametrize("name", ["", ".", "a" * 64 + ".x", "a..b", "\u20ac.x", "x" * 300])
def test_a_name_that_cannot_be_asked_for_is_never_open(agent, server, name):
    server.made = lambda query: b"?"
    assert look_up(agent, server.address, "UDP", name=name, timeout=2.0).seen is not Seen.OPEN
