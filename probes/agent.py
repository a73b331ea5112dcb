"""The probe agent: one file, standard library only, Python 3.9 or later.

It answers on the ports of the workload it stands for, and makes the connections it is told to
make. It never concludes anything: it reports what it saw. Started in the pod's own command with
one argument, a JSON object {"ports": [[number, protocol], ...]}; the key it proves itself with is
in the environment (ZT_KEY). Requests come over an abstract Unix socket from an exec in the pod.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import sys
import time
import typing

Json = typing.Dict[str, typing.Any]
Address = typing.Tuple[str, int]
KEY = os.environ.get("ZT_KEY", "").encode()
POD = os.environ.get("ZT_POD", "")
# Named after the pod: pods in a node's own network share one space of such names.
SOCKET = "\0zerotrust-" + POD
MAX_REQUEST = 32 * 1024 * 1024
MAX_READ = 65536
LINE = 200
MAX_LINE = 1024
PATIENCE = 5.0
PACE = 4000
SCTP = 132
listening: dict[str, object] = {}
failed_ports: dict[str, str] = {}
birth: list[Birth] = []


def proof(nonce: bytes) -> bytes:
    """The answer that only the pod with this key can give to a nonce."""
    return hmac.new(KEY, nonce, hashlib.sha256).hexdigest().encode()


def answer(line: bytes) -> bytes:
    """Reply to one line of a client: the proof for 'ZT1 nonce', nothing for anything else."""
    words = line.split()
    if len(words) == 2 and words[0] == b"ZT1" and len(words[1]) <= 128:
        return b"ZT1 " + proof(words[1]) + b" " + POD.encode() + b"\n"
    return b""


# -- the server's side


class Client(asyncio.Protocol):
    """One client of ours. Line after line, so that a connection can be kept open; the first
    foreign line ends it, and so do five seconds without a line."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = typing.cast(asyncio.Transport, transport)
        self.data = b""
        self.wait()

    def wait(self) -> None:
        self.timer = asyncio.get_running_loop().call_later(PATIENCE, self.transport.close)

    def data_received(self, data: bytes) -> None:
        self.data += data
        while not self.transport.is_closing():
            line, end, rest = self.data.partition(b"\n")
            if not end:
                if len(line) > MAX_LINE:
                    self.transport.close()
                return
            self.data = rest
            self.timer.cancel()
            self.wait()
            self.answer(line)

    def eof_received(self) -> None:
        """What came without a line's end before the client was done counts as a line."""
        if self.data:
            self.answer(self.data)

    def answer(self, line: bytes) -> None:
        reply = answer(line[:LINE])
        if reply:
            self.transport.write(reply)
        else:
            self.transport.close()

    def connection_lost(self, exc: typing.Optional[Exception]) -> None:
        self.timer.cancel()


class UdpServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = typing.cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Address) -> None:
        reply = answer(data[:LINE])
        if reply:
            self.transport.sendto(reply, address)


async def listen(number: int, protocol: str) -> None:
    """Listen on a port once; remembers why if it cannot."""
    name = "%d/%s" % (number, protocol)
    if name in listening:
        return
    loop = asyncio.get_running_loop()
    try:
        if protocol == "UDP":
            listening[name], _ = await loop.create_datagram_endpoint(
                UdpServer, local_addr=("0.0.0.0", number)
            )
        elif protocol == "SCTP":
            sock = stream_socket("sctp")
            sock.bind(("0.0.0.0", number))
            listening[name] = await loop.create_server(Client, sock=sock, backlog=1024)
        else:
            listening[name] = await loop.create_server(Client, "0.0.0.0", number, backlog=1024)
        failed_ports.pop(name, None)
    except OSError as error:
        failed_ports[name] = os.strerror(error.errno) if error.errno else str(error)


# -- the client's side


def say(error: OSError) -> str:
    return errno.errorcode.get(error.errno, str(error.errno)) if error.errno else str(error)


class NoRoute(OSError):
    """The kernel of this pod had no way to send the first packet; nobody was asked."""


class NoName(OSError):
    """The name has no address, or nobody answered for it."""


def classify(error: OSError) -> str:
    """A connect error as a word: refused, unreachable (with the errno), or failed here."""
    if error.errno == errno.ECONNREFUSED:
        return "refused"
    if error.errno in (errno.ECONNRESET, errno.ECONNABORTED):
        return "reset"
    if error.errno == errno.ETIMEDOUT:
        return "timeout"
    if isinstance(error, NoRoute):
        return "noroute"
    if isinstance(error, NoName):
        return "unresolved"
    if error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
        return "unsupported"
    if error.errno in (
        errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM, errno.EHOSTDOWN,
        errno.EPROTO, errno.ENOPROTOOPT,
    ):  # fmt: skip
        return "unreachable"
    return "failed"


class Attempt:
    """One connection: connect, send, read. Callbacks only, since thousands are under way at once
    and a task for each step of each would cost more than the connections do.

    ``report`` tells how far it came: stage connect or exchange, then the end. When time is up the
    kernel is asked: a busy agent may come late to a connection that was made in time, or to an
    answer that came in time, and must not report it as dropped or silent.
    """

    def __init__(self, request: Json) -> None:
        self.loop = asyncio.get_running_loop()
        self.request = request
        self.started = time.monotonic()
        self.report: Json = {"stage": "connect", "end": "failed", "sent": 0, "data": ""}
        self.ended: asyncio.Future[Json] = self.loop.create_future()
        self.data = b""
        self.unsent = b""
        self.timer: typing.Optional[asyncio.TimerHandle] = None

    def start(self) -> None:
        self.sock = stream_socket(self.request["kind"])
        self.fd = self.sock.fileno()
        # An error that comes back at once was made here: no packet was sent, so no ICMP came back.
        at_once = self.sock.connect_ex((self.request["ip"], self.request["port"]))
        if at_once in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            raise NoRoute(at_once, os.strerror(at_once))
        if at_once not in (0, errno.EINPROGRESS):
            raise OSError(at_once, os.strerror(at_once))
        self.timer = self.loop.call_later(self.request["timeout"], self.guarded, self.give_up)
        self.loop.add_writer(self.fd, self.guarded, self.connected)

    def guarded(self, step: typing.Callable[[], None]) -> None:
        """Make one step; what the kernel says of it ends the attempt."""
        try:
            step()
        except OSError as error:
            self.failed(error)
        except Exception as error:
            self.close()
            if not self.ended.done():
                self.ended.set_exception(error)

    def give_up(self) -> None:
        """No answer to the first packet in time, unless the kernel knows better."""
        try:
            self.sock.getpeername()
        except OSError:
            self.end("timeout")
        else:
            self.connected()

    def connected(self) -> None:
        self.loop.remove_writer(self.fd)
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        self.report["stage"] = "exchange"
        self.report["connected_ms"] = round((time.monotonic() - self.started) * 1000, 1)
        self.replace_timer(float(self.request.get("read_timeout") or self.request["timeout"]))
        self.until = self.request.get("until", "").encode("latin-1")
        self.limit = min(self.request.get("read", 4096), MAX_READ)
        self.unsent = self.request.get("send", "").encode("latin-1")
        if self.unsent:
            self.send()
        else:
            self.loop.add_reader(self.fd, self.guarded, self.read)

    def replace_timer(self, seconds: float) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_later(seconds, self.guarded, self.last_look)

    def send(self) -> None:
        try:
            sent = self.sock.send(self.unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.unsent = self.unsent[sent:]
        if self.unsent:
            self.loop.add_writer(self.fd, self.guarded, self.send)
            return
        self.report["sent"] = len(self.request["send"])
        self.loop.remove_writer(self.fd)
        self.loop.add_reader(self.fd, self.guarded, self.read)

    def read(self) -> None:
        """Read until the reply is complete, the peer is done, or there is nothing for now."""
        try:
            chunk = self.sock.recv(self.limit - len(self.data))
        except (BlockingIOError, InterruptedError):
            return
        self.data += chunk
        if not chunk:
            self.end("closed")
        elif self.until and self.until in self.data:
            self.end("complete")
        elif len(self.data) >= self.limit:
            self.end("limit")

    def last_look(self) -> None:
        if not self.unsent:
            self.read()
        if not self.ended.done():
            self.end("silent")

    def failed(self, error: OSError) -> None:
        self.report["errno"] = say(error)
        self.end(classify(error))

    def end(self, word: str) -> None:
        self.close()
        # Whatever ends the exchange, what came before it counts.
        self.report["data"] = self.data.decode("latin-1")
        self.report["end"] = word
        self.report["ms"] = round((time.monotonic() - self.started) * 1000, 1)
        if not self.ended.done():
            self.ended.set_result(self.report)

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if hasattr(self, "sock") and self.sock.fileno() >= 0:
            self.loop.remove_writer(self.fd)
            self.loop.remove_reader(self.fd)
            self.sock.close()


async def probe_tcp(request: Json) -> Json:
    """Connect, send, read. Reports how far it came: stage connect or exchange, then the end."""
    attempt = Attempt(request)
    attempt.guarded(attempt.start)
    try:
        return await attempt.ended
    finally:
        attempt.close()


def stream_socket(kind: str) -> socket.socket:
    """A non-blocking TCP or SCTP socket; raises OSError where the kernel has no SCTP."""
    number = SCTP if kind == "sctp" else 0
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, number)
    sock.setblocking(False)
    return sock


class UdpClient(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, address: Address) -> None:
        if not self.done.done():
            self.done.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def udp_exchange(ip: str, port: int, payload: bytes, timeout: float) -> bytes:
    loop = asyncio.get_running_loop()
    try:
        transport, client = await loop.create_datagram_endpoint(UdpClient, remote_addr=(ip, port))
    except OSError as error:
        # Connecting a datagram socket sends nothing, so this was decided here.
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            raise NoRoute(error.errno, os.strerror(error.errno)) from error
        raise
    try:
        # A lost datagram must not look like a denial: send again within the time-out.
        for _ in range(3):
            transport.sendto(payload)
            try:
                return await asyncio.wait_for(asyncio.shield(client.done), timeout / 3)
            except asyncio.TimeoutError:
                continue
        raise asyncio.TimeoutError
    finally:
        if not client.done.done():
            client.done.cancel()
        transport.close()


async def probe_udp(request: Json) -> Json:
    started = time.monotonic()
    out: Json = {"stage": "connect", "end": "failed", "data": ""}
    try:
        data = await udp_exchange(
            request["ip"], request["port"], request.get("send", "").encode("latin-1"),
            request["timeout"],
        )  # fmt: skip
        out.update(stage="exchange", end="complete", data=data[:MAX_READ].decode("latin-1"))
    except asyncio.TimeoutError:
        out["end"] = "timeout"
    except OSError as error:
        out["end"] = classify(error)
        out["errno"] = say(error)
    out["ms"] = round((time.monotonic() - started) * 1000, 1)
    return out


def nameserver() -> str:
    with open("/etc/resolv.conf") as lines:
        for line in lines:
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                return words[1]
    raise OSError("no nameserver in /etc/resolv.conf")


def qualify(name: str) -> str:
    """Complete 'service.namespace.svc' with the cluster's domain, as the search list tells it."""
    if not name.endswith(".svc"):
        return name
    with open("/etc/resolv.conf") as lines:
        for line in lines:
            words = line.split()
            if words and words[0] == "search":
                for word in words[1:]:
                    if word.startswith("svc."):
                        return name + word[3:]
    return name + ".cluster.local"


def dns_query(name: str, ident: int) -> bytes:
    labels = b"".join(bytes([len(part)]) + part for part in name.rstrip(".").encode().split(b"."))
    return struct.pack(">HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def skip_name(data: bytes, at: int) -> int:
    while True:
        size = data[at]
        if size & 0xC0 == 0xC0:
            return at + 2
        at += 1 + size
        if size == 0:
            return at


def dns_answer(data: bytes, ident: int) -> tuple[int, list[str]]:
    """Return (rcode, IPv4 addresses) of a reply, or raise ValueError if it is not one."""
    try:
        got, flags, questions, answers = struct.unpack(">HHHH", data[:8])
        if got != ident or not flags & 0x8000:
            raise ValueError("not the reply to this query")
        at = 12
        for _ in range(questions):
            at = skip_name(data, at) + 4
        addresses = []
        for _ in range(answers):
            at = skip_name(data, at)
            kind, _, _, size = struct.unpack(">HHIH", data[at : at + 10])
            at += 10
            if at + size > len(data):
                raise ValueError("cut off within an answer")
            if kind == 1 and size == 4:
                addresses.append(socket.inet_ntoa(data[at : at + 4]))
            at += size
        return flags & 15, addresses
    except (IndexError, struct.error) as error:
        raise ValueError("malformed reply") from error


async def probe_dns(request: Json) -> Json:
    """Ask for an A record over UDP or TCP, without the resolver library and its retries."""
    started = time.monotonic()
    out: Json = {"stage": "connect", "end": "failed"}
    try:
        server = request.get("ip") or nameserver()
        out["server"] = server
        ident = int.from_bytes(os.urandom(2), "big")
        query = dns_query(qualify(request["name"]), ident)
        if request["protocol"] == "UDP":
            data = await udp_exchange(server, 53, query, request["timeout"])
        else:
            data = await dns_over_tcp(server, query, request["timeout"])
        rcode, addresses = dns_answer(data, ident)
        out.update(stage="exchange", end="complete", rcode=rcode, addresses=addresses)
    except asyncio.TimeoutError:
        out["end"] = "timeout"
    except asyncio.IncompleteReadError:
        out.update(stage="exchange", end="closed")
    except ValueError as error:
        out.update(stage="exchange", end="malformed", errno=str(error))
    except OSError as error:
        out["end"] = classify(error)
        out["errno"] = say(error)
    out["ms"] = round((time.monotonic() - started) * 1000, 1)
    return out


def has_route(ip: str) -> bool:
    """True if the kernel would send packets there; connecting a datagram socket sends none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.connect_ex((ip, 53)) == 0


async def dns_over_tcp(server: str, query: bytes, timeout: float) -> bytes:
    async def ask() -> bytes:
        try:
            reader, writer = await asyncio.open_connection(server, 53)
        except OSError as error:
            # Over UDP this server is asked as well, and there the two can be told apart.
            if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) and not has_route(server):
                raise NoRoute(error.errno, os.strerror(error.errno)) from error
            raise
        try:
            writer.write(struct.pack(">H", len(query)) + query)
            size = struct.unpack(">H", await reader.readexactly(2))[0]
            return await reader.readexactly(size)
        finally:
            writer.close()

    return await asyncio.wait_for(ask(), timeout)


def tls_context(request: Json) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if request.get("ca"):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=request["ca"])
    else:
        context.verify_mode = ssl.CERT_NONE
    if request.get("alpn"):
        context.set_alpn_protocols(request["alpn"])
    if request.get("certificate"):
        load_certificate(context, request["certificate"])
    return context


def load_certificate(context: ssl.SSLContext, pem: str) -> None:
    """Show a certificate to the server. It comes from memory: the file system is read-only."""
    with os.fdopen(os.memfd_create("certificate"), "wb") as file:
        file.write(pem.encode())
        file.flush()
        context.load_cert_chain("/proc/self/fd/%d" % file.fileno())


def read_first(tls: ssl.SSLSocket, request: Json, out: Json) -> None:
    """Read before anything is written; then, to a server that waits, write what the request says.

    Under TLS 1.3 a server that refuses the client's certificate, or wants one, does so only after
    the client's handshake is done: its alert arrives with the first read. Writing first would
    race with it.
    """
    out["data"] = ""
    try:
        data = tls.recv(1024)
    except socket.timeout:
        out["end"] = "silent"
        if not request.get("send"):
            return
        out["waited"] = True
        tls.sendall(request["send"].encode("latin-1"))
        data = tls.recv(1024)
    out["end"] = "data" if data else "closed"
    out["data"] = data.decode("latin-1")


def probe_tls(request: Json) -> Json:
    """Handshake, with the certificate of the request if it has one, and then read first."""
    started = time.monotonic()
    out: Json = {"stage": "connect", "end": "failed"}
    raw = None
    try:
        raw = socket.create_connection((request["ip"], request["port"]), request["timeout"])
        out["stage"] = "handshake"
        raw.settimeout(request["timeout"])
        with tls_context(request).wrap_socket(
            raw, server_hostname=request.get("sni"), do_handshake_on_connect=False
        ) as tls:
            tls.do_handshake()
            raw = None
            out["stage"] = "exchange"
            out["version"] = tls.version()
            out["cipher"] = (tls.cipher() or ("",))[0]
            out["alpn"] = tls.selected_alpn_protocol()
            out["certificate"] = ssl.DER_cert_to_PEM_cert(tls.getpeercert(True) or b"")
            read_first(tls, request, out)
    except socket.timeout:
        out["end"] = "silent" if out["stage"] != "connect" else "timeout"
    except ssl.SSLCertVerificationError as error:
        out["end"] = "unverified"
        out["alert"] = error.verify_message
    except ssl.SSLError as error:
        out["end"] = "alert"
        out["alert"] = error.reason or str(error)
    except OSError as error:
        out["end"] = classify(error)
        out["errno"] = say(error)
    finally:
        if raw is not None:
            raw.close()
    out["ms"] = round((time.monotonic() - started) * 1000, 1)
    return out


# -- over time


class Timeline:
    """Fresh attempts at fixed intervals, each reported with the milliseconds of its start."""

    def __init__(self, request: Json) -> None:
        self.request = request
        self.begun = time.monotonic()
        self.entries: list[list[typing.Any]] = []
        self.running: set[asyncio.Task[None]] = set()

    def start_one(self) -> None:
        at = round((time.monotonic() - self.begun) * 1000, 1)
        entry: list[typing.Any] = [at, "running", "", ""]
        self.entries.append(entry)

        async def one() -> None:
            report = (
                await probe_udp(self.request)
                if self.request["kind"] == "udp"
                else (await probe_tcp(self.request))
            )
            entry[1:] = [report["stage"], report["end"], report.get("data", "")[:LINE]]

        task = asyncio.ensure_future(one())
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def finish(self) -> None:
        if self.running:
            await asyncio.wait(self.running)


def changed_for_good(entries: list[list[typing.Any]], hold: int) -> bool:
    """True if attempts were answered at first and the last ``hold`` that ended were not."""
    ended = [entry for entry in entries if entry[1] != "running"]
    answered = [entry[3] != "" for entry in ended]
    return any(answered) and len(ended) >= hold and not any(answered[-hold:])


async def probe_watch(request: Json) -> Json:
    """Watch one listener while something changes: fresh attempts, and one connection kept open.

    Ends when the last "hold" attempts went unanswered after earlier ones had been answered, or
    after "seconds". The connection that was opened at first is used again at the end.
    """
    line = Timeline({**request, "kind": "tcp"})
    began = time.time()
    kept = await kept_open(request)
    deadline = line.begun + request["seconds"]
    while time.monotonic() < deadline and not changed_for_good(line.entries, request["hold"]):
        line.start_one()
        await asyncio.sleep(request["every"])
    await line.finish()
    return {
        "stage": "watch",
        "end": "complete",
        "began": began,
        "entries": line.entries,
        "kept": await still_answers(kept, request, request.get("last_timeout")),
    }


async def kept_open(request: Json) -> typing.Any:
    try:
        opened = await asyncio.wait_for(
            asyncio.open_connection(request["ip"], request["port"]), request["timeout"]
        )
    except (OSError, asyncio.TimeoutError):
        return None
    return opened if await still_answers(opened, request) == "answered" else None


async def still_answers(
    opened: typing.Any, request: Json, timeout: typing.Optional[float] = None
) -> str:
    """What becomes of one more line on a connection: answered, silent, closed, or never opened."""
    if opened is None:
        return "never opened"
    reader, writer = opened
    try:
        writer.write(request["send"].encode("latin-1"))
        data = await asyncio.wait_for(reader.readline(), timeout or request["timeout"])
        return "answered" if data else "closed"
    except asyncio.TimeoutError:
        return "silent"
    except OSError:
        return "closed"


class Birth:
    """What this pod could reach from its first moment on, as its own command told it to try."""

    def __init__(self, wanted: Json) -> None:
        self.wanted = wanted
        self.lines = [Timeline(request) for request in wanted["targets"]]
        self.done = asyncio.Event()

    async def live(self) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < self.wanted["seconds"]:
            for line in self.lines:
                line.start_one()
            await asyncio.sleep(self.wanted["every"])
        for line in self.lines:
            await line.finish()
        self.done.set()


async def probe_birth(request: Json) -> Json:
    """What the first seconds saw; waits for their end, and reports nothing without it."""
    if not birth:
        return {"stage": "birth", "end": "failed", "errno": "this pod was told to try nothing"}
    try:
        await asyncio.wait_for(birth[0].done.wait(), request["timeout"])
    except asyncio.TimeoutError:
        return {"stage": "birth", "end": "timeout"}
    targets = [line.entries for line in birth[0].lines]
    return {"stage": "birth", "end": "complete", "targets": targets}


def look_at_ipv6() -> Json:
    """This pod's IPv6 addresses of global scope, and whether the kernel would send anything out.

    Connecting a datagram socket sends nothing; the address is for documentation (RFC 3849).
    """
    addresses = []
    try:
        with open("/proc/net/if_inet6") as lines:
            for line in lines:
                words = line.split()
                if len(words) > 3 and words[3] == "00":
                    addresses.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])))
    except OSError:
        pass
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            at_once = sock.connect_ex(("2001:db8::1", 53))
    except OSError as error:
        at_once = error.errno or -1
    route = "yes" if at_once == 0 else errno.errorcode.get(at_once, str(at_once))
    return {"stage": "ipv6", "end": "complete", "addresses": addresses, "route": route}


# -- on the wire

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_ATTACH_FILTER = 26
ARPHRD_ETHER = 1
OUTGOING = 4
AT_MOST = 200
"""Addresses that a filter can name: its jumps are one byte long."""
CAPTURE_SECONDS = 120
"""A capture that nobody ends ends by itself."""
SHOWN = 3
"""Sightings of one needle that are kept."""
AROUND = 60
"""Bytes on each side of a needle that are reported."""
SIZES = 4096
"""Different packet sizes that are counted for one carrier."""
captures: dict[str, Capture] = {}


def way_to(ip: str) -> str:
    """The interface on the way to an address, by the main routing table (longest prefix)."""
    wanted = struct.unpack("<I", socket.inet_aton(ip))[0]
    best = (-1, "")
    with open("/proc/net/route") as lines:
        for line in list(lines)[1:]:
            words = line.split()
            target, mask = int(words[1], 16), int(words[7], 16)
            if int(words[3], 16) & 1 and wanted & mask == target:
                best = max(best, (bin(mask).count("1"), words[0]))
    if not best[1]:
        raise OSError(errno.ENETUNREACH, "no route to %s" % ip)
    return best[1]


def outgoing_to(addresses: typing.Sequence[str]) -> bytes:
    """A classic BPF program that keeps IPv4 packets on their way out to these addresses.

    Of what comes in, the kernel shows again what it has decrypted itself, so only what goes out is
    what the wire carries. (linux/filter.h; the offsets are those of a SOCK_DGRAM socket)
    """
    count = len(addresses)
    steps = [
        (0x30, 0, 0, 0xFFFFF004),  # the packet's type
        (0x15, 0, count + 3, OUTGOING),
        (0x28, 0, 0, 0xFFFFF000),  # its protocol
        (0x15, 0, count + 1, 0x0800),
        (0x20, 0, 0, 16),  # the destination
    ]
    for index, address in enumerate(addresses):
        number = struct.unpack("!I", socket.inet_aton(address))[0]
        steps.append((0x15, count - index, 0, number))
    steps += [(0x06, 0, 0, 0), (0x06, 0, 0, 0x40000)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def attach(sock: socket.socket, program: bytes) -> None:
    import ctypes

    held = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HP", len(program) // 8, ctypes.addressof(held))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)


class Capture:
    """What leaves this node for some addresses, on the interfaces on the way to other nodes.

    "needles" are the bytes to look for, by name: "text", and "pair" if only packets between two
    addresses count. "pairs" are such addresses by name: what a packet between them carries is
    told apart as TLS or not, also inside of a tunnel that does not hide it. "toward" are the
    addresses of other nodes; what goes to them is counted by protocol, port and size, but for TCP,
    which carries no other packets.
    """

    def __init__(self, request: Json) -> None:
        self.began = time.monotonic()
        self.toward = request["toward"]
        self.addresses = sorted({*request["toward"], *request["addresses"]})[:AT_MOST]
        self.needles = {
            name: (needle["text"].encode("latin-1"), needle.get("pair", ""))
            for name, needle in request["needles"].items()
        }
        self.pairs = {
            name: b"".join(map(socket.inet_aton, ends)) for name, ends in request["pairs"].items()
        }
        self.found: dict[str, list[Json]] = {name: [] for name in self.needles}
        self.between: dict[str, Json] = {
            name: {"packets": 0, "tls": 0, "other": 0} for name in self.pairs
        }
        self.carriers: dict[str, dict[int, int]] = {}
        self.packets = self.lost = 0
        self.sockets: dict[str, socket.socket] = {}
        self.kinds: dict[str, int] = {}

    def start(self) -> None:
        try:
            for name in sorted({way_to(ip) for ip in self.toward}):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
                self.sockets[name] = sock
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
                attach(sock, outgoing_to(self.addresses))
                sock.bind((name, ETH_P_ALL))
                self.kinds[name] = sock.getsockname()[3]
                asyncio.get_running_loop().add_reader(sock.fileno(), self.read, name)
        except OSError:
            self.close()
            raise
        asyncio.get_running_loop().call_later(CAPTURE_SECONDS, self.close)

    def read(self, name: str) -> None:
        while name in self.sockets:
            try:
                data = self.sockets[name].recv(1 << 18)
            except (BlockingIOError, InterruptedError):
                return
            self.look(name, data)

    def look(self, interface: str, data: bytes) -> None:
        self.packets += 1
        head = ip_head(data, 0)
        if head is None:
            return
        source, target, protocol, port, _ = head
        if target in self.toward and protocol != socket.IPPROTO_TCP:
            sizes = self.carriers.setdefault("%s %s" % (target, carrier(protocol, port)), {})
            if len(data) in sizes or len(sizes) < SIZES:
                sizes[len(data)] = sizes.get(len(data), 0) + 1
        inside = {name: data.find(ends) for name, ends in self.pairs.items()}
        for name, (needle, pair) in self.needles.items():
            at = data.find(needle)
            if at < 0 or (pair and not 0 <= inside[pair] < at):
                continue
            if len(self.found[name]) < SHOWN:
                self.found[name].append(
                    {
                        "interface": interface,
                        "from": source,
                        "to": target,
                        "protocol": carrier(protocol, port),
                        "ms": round((time.monotonic() - self.began) * 1000, 1),
                        "size": len(data),
                        "excerpt": data[max(0, at - AROUND) : at + len(needle) + AROUND].decode(
                            "latin-1"
                        ),
                    }
                )
        for name, at in inside.items():
            inner = ip_head(data, at - 12) if at >= 12 else None
            if inner is not None:
                self.between[name]["packets"] += 1
                word = said(data[inner[4] :]) if inner[2] == socket.IPPROTO_TCP else ""
                if word:
                    self.between[name][word] += 1

    def report(self) -> Json:
        for name in list(self.sockets):
            self.read(name)
            counted = self.sockets[name].getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            self.lost += struct.unpack("II", counted)[1]
        self.close()
        return {
            "stage": "capture",
            "end": "complete",
            "interfaces": self.kinds,
            "packets": self.packets,
            "lost": self.lost,
            "found": self.found,
            "between": self.between,
            "carriers": self.carriers,
        }

    def close(self) -> None:
        for sock in self.sockets.values():
            if sock.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(sock.fileno())
                sock.close()
        self.sockets.clear()


def ip_head(data: bytes, at: int) -> typing.Optional[tuple[str, str, int, int, int]]:
    """Source, destination, protocol, destination port (0 without one) and the place of what a
    packet carries, if an IPv4 header is there."""
    if len(data) < at + 20 or data[at] >> 4 != 4:
        return None
    size = (data[at] & 15) * 4
    protocol, begin = data[at + 9], at + size
    source, target = (
        socket.inet_ntoa(data[at + 12 : at + 16]),
        socket.inet_ntoa(data[at + 16 : at + 20]),
    )
    port = 0
    if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(data) >= begin + 8:
        port = struct.unpack("!H", data[begin + 2 : begin + 4])[0]
        if protocol == socket.IPPROTO_UDP:
            begin += 8
        elif len(data) >= begin + 13:
            begin += (data[begin + 12] >> 4) * 4
    return source, target, protocol, port, begin


def carrier(protocol: int, port: int) -> str:
    names = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", 50: "esp"}
    name = names.get(protocol, "ip-%d" % protocol)
    return "%s/%d" % (name, port) if port else name


def said(payload: bytes) -> str:
    """What a TCP segment carries: "tls" if it begins with a record (RFC 8446, section 5.1),
    "other" if not, nothing if it is empty."""
    if not payload:
        return ""
    begins = len(payload) > 2 and payload[0] in (20, 21, 22, 23) and payload[1] == 3
    return "tls" if begins and payload[2] <= 4 else "other"


def probe_capture(request: Json) -> Json:
    """Begin a capture, or end one and tell what it saw."""
    token = request["token"]
    try:
        if request["do"] == "start":
            captures[token] = Capture(request)
            captures[token].start()
            return {"stage": "capture", "end": "started", "interfaces": captures[token].kinds}
        if token not in captures:
            return {"stage": "capture", "end": "failed", "errno": "no such capture runs"}
        capture = captures.pop(token)
        if not capture.sockets:
            return {"stage": "capture", "end": "failed", "errno": "the capture had ended"}
        return capture.report()
    except OSError as error:
        captures.pop(token, None)
        return {"stage": "capture", "end": "failed", "errno": say(error)}


# -- requests


async def run_one(request: Json, pool: concurrent.futures.Executor) -> Json:
    kind = request["kind"]
    try:
        if "host" in request:
            request = await with_address(request)
        if request.get("ip") == "kubernetes":
            request = {**request, "ip": os.environ["KUBERNETES_SERVICE_HOST"]}
        if kind in ("tcp", "sctp", "udp"):
            report = await (probe_udp if kind == "udp" else probe_tcp)(request)
            return {**report, "ip": request["ip"]}
        if kind == "watch":
            return await probe_watch(request)
        if kind == "birth":
            return await probe_birth(request)
        if kind == "dns":
            return await probe_dns(request)
        if kind == "ipv6":
            return look_at_ipv6()
        if kind == "capture":
            return probe_capture(request)
        if kind == "tls":
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(pool, probe_tls, request)
        return {"stage": "none", "end": "failed", "errno": "unknown kind %r" % kind}
    except NoName as error:
        return {"stage": "resolve", "end": "unresolved", "errno": str(error)}
    except Exception as error:  # one bad probe must not lose the whole batch
        return {"stage": "none", "end": "failed", "errno": "%s: %s" % (type(error).__name__, error)}


async def with_address(request: Json) -> Json:
    """The same probe with the first address of its host name. Raises NoName if there is none."""
    asked = {"name": request["host"], "timeout": request["timeout"]}
    for protocol in ("UDP", "TCP"):
        report = await probe_dns({**asked, "protocol": protocol})
        if report["end"] == "complete":
            break
    if report["end"] != "complete":
        raise NoName("%s: no answer (%s)" % (request["host"], report["end"]))
    if report["rcode"] or not report["addresses"]:
        raise NoName("%s: rcode %s, no address" % (request["host"], report["rcode"]))
    # The same one for all who ask, whatever order a name server shuffles them into.
    return {**request, "ip": min(report["addresses"])}


async def run_batch(probes: list[Json]) -> list[Json]:
    """Make the probes wave by wave (a probe's "wave", 0 if it says none) and report in order.

    A wave's probes start at once, but no more than PACE a second; the next wave starts when all
    of them have ended, so that later waves are independent observations.
    """
    results: dict[int, Json] = {}
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        for wave in sorted({probe.get("wave", 0) for probe in probes}):
            tasks: dict[int, asyncio.Future[Json]] = {}
            for index, probe in enumerate(probes):
                if probe.get("wave", 0) != wave:
                    continue
                if tasks and len(tasks) % (PACE // 10) == 0:
                    await asyncio.sleep(0.1)
                tasks[index] = asyncio.ensure_future(run_one(probe, pool))
            reports = await asyncio.gather(*tasks.values())
            results.update(zip(tasks, reports))
    return [results[index] for index in range(len(probes))]


async def handle(request: Json) -> Json:
    for number, protocol in request.get("listen", []):
        await listen(number, protocol)
    started = time.time()
    results = await run_batch(request.get("probes", []))
    return {
        "v": 1,
        "nonce": request["nonce"],
        "pod": POD,
        "kubernetes": os.environ.get("KUBERNETES_SERVICE_HOST", ""),
        "proof": proof(request["nonce"].encode()).decode(),
        "listening": sorted(listening),
        "failed_ports": failed_ports,
        "started": started,
        "took": round(time.time() - started, 3),
        "results": results,
    }


def framed(reply: Json) -> bytes:
    """A reply with its length and digest ahead, so that one that is cut off is never believed."""
    body = json.dumps(reply).encode()
    digest = hashlib.sha256(body).hexdigest().encode()
    return b"ZT1 %d %s\n" % (len(body), digest) + body


async def serve_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        data = await reader.read(MAX_REQUEST)
        while not reader.at_eof():
            data += await reader.read(MAX_REQUEST)
            if len(data) > MAX_REQUEST:
                raise ValueError("request too large")
        writer.write(framed(await handle(json.loads(data))))
        await writer.drain()
    except (OSError, ValueError, KeyError, TypeError) as error:
        # No reply at all would look like a cut stream; say what was wrong.
        writer.write(framed({"v": 1, "error": "%s: %s" % (type(error).__name__, error)}))
    finally:
        writer.close()


async def main() -> None:
    wanted = json.loads(sys.argv[1])
    if wanted.get("birth"):
        birth.append(Birth(wanted["birth"]))
        background = asyncio.ensure_future(birth[0].live())
        background.add_done_callback(lambda task: task.cancelled() or task.exception())
    for number, protocol in wanted["ports"]:
        await listen(number, protocol)
    control = socket.socket(socket.AF_UNIX)
    control.bind(SOCKET)
    server = await asyncio.start_unix_server(serve_request, sock=control, limit=MAX_REQUEST)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        pass
