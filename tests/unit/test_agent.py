"""The real agent against servers that behave as no honest one does: it reports what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_zerotrust.cluster.exec import ExecFailed
from pytest_zerotrust.core.observation import Seen, expected_answer
from pytest_zerotrust.fleet.channel import verify_reply
from tests.fakes.agents import KEY, PATIENCE, Agent, running
from tests.fakes.servers import deaf_port, free_port, reset, serving, wait_for_end

TCP_PORT, UDP_PORT = free_port(), free_port(socket.SOCK_DGRAM)


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    with running((TCP_PORT, "TCP"), (UDP_PORT, "UDP")) as started:
        yield started


def tcp(port: int, **more: Any) -> dict[str, Any]:
    return {
        "kind": "tcp",
        "ip": "127.0.0.1",
        "port": port,
        "timeout": 2.0,
        "send": "hello\n",
        **more,
    }


# -- listeners

either = pytest.mark.parametrize(
    ("kind", "port"), [("tcp", TCP_PORT), ("udp", UDP_PORT)], ids=["tcp", "udp"]
)


@either
def test_a_listener_proves_itself(agent, kind, port):
    assert agent.flow(port, kind=kind).seen is Seen.OPEN


@either
def test_a_listener_with_another_key_is_the_wrong_server(agent, kind, port):
    assert agent.flow(port, kind=kind, key="other").seen is Seen.WRONG_SERVER


@pytest.mark.parametrize(
    "line",
    ["GET / HTTP/1.1\r\n", "ZT1\n", "ZT1 a b\n", "ZT2 abc\n", "\n", "ZT1 " + "x" * 129 + "\n"],
)
def test_a_listener_says_nothing_to_a_stranger(agent, line):
    report = agent.ask(tcp(TCP_PORT, send=line))[0]
    assert (report["stage"], report["end"], report["data"]) == ("exchange", "closed", "")


def test_a_listener_survives_noise_and_clients_that_say_nothing(agent):
    silent = [socket.create_connection(("127.0.0.1", TCP_PORT)) for _ in range(100)]
    noise = [tcp(TCP_PORT, send="\xff" * size) for size in (1, 1023, 1024, 100_000)]
    agent.ask(*noise, *[{**probe, "kind": "udp", "port": UDP_PORT} for probe in noise[:2]])
    assert agent.flow(TCP_PORT).seen is Seen.OPEN
    assert agent.flow(UDP_PORT, kind="udp").seen is Seen.OPEN
    for sock in silent:
        sock.close()


def test_a_port_can_be_added_later_and_one_that_is_taken_is_told(agent):
    late = free_port()
    with socket.create_server(("0.0.0.0", 0)) as taken:
        number = taken.getsockname()[1]
        reply = agent.reply([], [(late, "TCP"), (number, "TCP")])
    assert f"{late}/TCP" in reply["listening"]
    assert "Address already in use" in reply["failed_ports"][f"{number}/TCP"]
    assert agent.flow(late).seen is Seen.OPEN


# -- connections


def test_a_port_without_a_listener_refuses(agent):
    assert agent.flow(free_port()).seen is Seen.REFUSED


def test_a_port_that_answers_nothing_drops(agent):
    with deaf_port() as port:
        assert agent.flow(port, timeout=0.2).seen is Seen.DROPPED


def test_an_address_without_a_route_is_unreachable(agent):
    assert agent.flow(9, ip="224.0.0.1").seen is Seen.NO_ROUTE


def test_a_udp_port_without_a_listener_refuses(agent):
    assert agent.flow(free_port(socket.SOCK_DGRAM), kind="udp").seen is Seen.REFUSED


def test_a_udp_port_that_says_nothing_drops(agent):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert agent.flow(sock.getsockname()[1], kind="udp", timeout=0.3).seen is Seen.DROPPED


def say(data: bytes, then: Any = lambda connection: None) -> Any:
    def handler(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(data)
        then(connection)

    return handler


def after_the_request(then: Any) -> Any:
    def handler(connection: socket.socket) -> None:
        connection.recv(1024)
        then(connection)

    return handler


def endless(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 1024)


SERVERS = {
    "silent": (wait_for_end, "silent", "", Seen.SILENT),
    "closes at once": (lambda connection: None, None, "", None),
    "closes after the request": (after_the_request(lambda c: None), "closed", "", Seen.CLOSED),
    "resets after the request": (after_the_request(reset), "reset", "", Seen.CUT),
    "reflects": (say(b"ZT1 reflected\n"), "complete", "ZT1 reflected\n", Seen.WRONG_SERVER),
    "answers without a line feed": (say(b"ZT1"), "closed", "ZT1", Seen.WRONG_SERVER),
    "speaks first": (lambda c: c.sendall(b"220 hi\n"), "complete", "220 hi\n", Seen.WRONG_SERVER),
    "null bytes": (say(b"\0\xff\n"), "complete", "\0\xff\n", Seen.WRONG_SERVER),
    "endless banner": (endless, "limit", "x" * 4096, Seen.WRONG_SERVER),
}


@pytest.mark.parametrize("server", SERVERS)
def test_each_kind_of_server_is_a_different_observation(agent, server):
    handler, end, data, seen = SERVERS[server]
    timeout = 0.5 if end == "silent" else PATIENCE
    with serving(handler) as port:
        report = agent.ask(tcp(port, timeout=timeout, until="\n"))[0]
        observation = agent.flow(port, timeout=timeout)
    if end is None:  # a close races with what the client sends
        assert report["end"] in ("closed", "reset")
        assert observation.seen in (Seen.CLOSED, Seen.CUT)
        return
    assert (report["stage"], report["end"], report["data"]) == ("exchange", end, data)
    assert observation.seen is seen


def test_what_a_server_said_before_it_reset_is_reported(agent):
    with serving(say(b"HTTP/1.1 200 OK\r\nhello", reset)) as port:
        report = agent.ask(tcp(port))[0]
    assert report["end"] == "reset"
    assert report["data"] == "HTTP/1.1 200 OK\r\nhello"


def test_a_huge_reply_is_read_up_to_the_limit_and_never_beyond(agent):
    with serving(endless) as port:
        reports = agent.ask(tcp(port, read=10), tcp(port, read=10**9), tcp(port, read=65536))
    assert [len(r["data"]) for r in reports] == [10, 65536, 65536]


def test_what_was_sent_is_counted(agent):
    with serving(after_the_request(lambda c: None)) as port:
        reports = agent.ask(tcp(port, send="12345"), tcp(port, send="", timeout=0.3))
    assert [r["sent"] for r in reports] == [5, 0]


def module() -> Any:
    path = Path(__file__).parents[2] / "probes" / "agent.py"
    spec = importlib.util.spec_from_file_location("agent_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_a_slow_drip_ends_with_its_time():
    loaded = module()

    def drip(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer, contextlib.suppress(OSError):
            while True:
                peer.sendall(b"x")
                time.sleep(0.002)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=drip, args=(server,), daemon=True).start()
        request = tcp(server.getsockname()[1], timeout=0.3, until="\n")
        report = asyncio.run(loaded.probe_tcp(request))
    assert (report["stage"], report["end"]) == ("exchange", "silent")
    assert set(report["data"]) == {"x"}


def test_a_connection_that_was_made_while_the_agent_was_starved_is_no_drop(monkeypatch):
    loaded = module()

    async def main() -> dict[str, Any]:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_writer", lambda *told: None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            return await loaded.probe_tcp(tcp(server.getsockname()[1], timeout=0.05))

    report = asyncio.run(main())
    assert (report["stage"], report["end"]) == ("exchange", "silent")


def test_an_answer_that_came_while_the_agent_was_starved_is_no_silence(monkeypatch, agent):
    loaded = module()

    async def main() -> dict[str, Any]:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", lambda *told: None)
        return await loaded.probe_tcp(tcp(TCP_PORT, timeout=1.0, send="ZT1 n\n", until="\n"))

    report = asyncio.run(main())
    assert report["end"] == "complete"
    assert report["data"].split()[1] == proof("n")


def test_a_large_request_goes_out_in_as_many_pieces_as_it_takes():
    loaded = module()
    taken = []

    def swallow(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer:
            while len(taken) < 8_000_000:
                taken.extend(peer.recv(1 << 20))
            peer.sendall(b"done\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=swallow, args=(server,), daemon=True).start()
        request = tcp(server.getsockname()[1], timeout=30.0, send="x" * 8_000_000, until="\n")
        report = asyncio.run(loaded.probe_tcp(request))
    assert (report["end"], report["sent"]) == ("complete", 8_000_000)


# -- batches


def test_two_thousand_attempts_at_once_are_all_reported_in_their_order(agent):
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    closed = free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        live = server.getsockname()[1]
        ports = [dice.choice((closed, live)) for _ in range(2000)]
        reports = agent.ask(*[tcp(port, read_timeout=0.1) for port in ports])
    seen = {("connect", "refused"): closed, ("exchange", "silent"): live}
    found = [seen.get((report["stage"], report["end"])) for report in reports]
    assert found == ports, f"seed {seed}"


def test_three_hundred_nonces_at_once_come_back_each_with_its_own_proof(agent):
    reports = agent.ask(*[tcp(TCP_PORT, send=f"ZT1 {i}\n", until="\n") for i in range(300)])
    assert [report["data"].split()[1] for report in reports] == [proof(str(i)) for i in range(300)]


def proof(nonce: str) -> str:
    return expected_answer(KEY.encode(), nonce)


def test_one_hopeless_probe_loses_none_of_the_others(agent):
    bad = [
        tcp(70_000),
        tcp(0, ip="not an address"),
        tcp(TCP_PORT, timeout="soon"),
        tcp(TCP_PORT, send=7),
        tcp(TCP_PORT, send="\u20ac"),
        {"kind": "tcp"},
        {"kind": "sctp"},
        {"kind": "tls", "ip": "127.0.0.1", "port": TCP_PORT, "timeout": 1, "ca": "not a PEM"},
        {"kind": "udp", "ip": "127.0.0.1", "port": -1, "timeout": 1},
    ]
    good = tcp(TCP_PORT, send="ZT1 n\n", until="\n")
    reports = agent.ask(*itertools.chain.from_iterable((b, good) for b in bad))
    for report in reports[0::2]:
        assert report["end"] not in ("complete", "timeout", "refused")
        assert "ZT1" not in report.get("data", "")
    for report in reports[1::2]:
        assert report["data"].split()[1] == proof("n")


GARBAGE = {
    "nothing": b"",
    "no JSON": b"hello",
    "a list": b"[]",
    "null": b"null",
    "no nonce": b'{"probes": []}',
    "probes of another type": b'{"nonce": "n", "probes": 7}',
    "a probe without a kind": b'{"nonce": "n", "probes": [{}]}',
    "a port without a protocol": b'{"nonce": "n", "listen": [[1]]}',
    "not UTF-8": b"\xff\xfe\xfa",
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_garbage_request_gets_no_believable_reply_and_the_agent_lives_on(agent, what):
    done = agent.raw(GARBAGE[what])
    with pytest.raises(ExecFailed):
        verify_reply(done.stdout, pod=agent.pod, key=KEY.encode(), nonce="n", count=0)
    assert agent.flow(TCP_PORT).seen is Seen.OPEN


def test_a_request_that_was_cut_off_gets_no_believable_reply(agent):
    request = json.dumps({"nonce": "n", "probes": []}).encode()
    done = agent.raw(request[:-3], size=len(request))
    assert b'"error"' in done.stdout


def test_the_relay_of_a_pod_without_an_agent_ends_with_an_error():
    process = SimpleNamespace()
    done = Agent(process, "nobody").raw(b"{}")
    assert done.returncode != 0
    assert done.stdout == b""


def test_two_agents_of_one_machine_do_not_answer_for_each_other(agent):
    with running(key="another") as other, pytest.raises(ExecFailed, match="does not prove"):
        other.reply([])
    assert agent.reply([])["pod"] == agent.pod


def test_it_says_what_this_machine_has_of_ipv6(agent):
    (report,) = agent.ask({"kind": "ipv6"})
    assert (report["stage"], report["end"]) == ("ipv6", "complete")
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sends = sock.connect_ex(("2001:db8::1", 53)) == 0
    except OSError:
        sends = False
    assert (report["route"] == "yes") is sends
    # Loopback and link-local addresses lead nowhere.
    assert not [a for a in report["addresses"] if a == "::1" or a.startswith("fe80")]
