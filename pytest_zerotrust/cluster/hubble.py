"""Listens to Cilium's Hubble for dropped flows while a batch runs.

The interface is ``observer.Observer/GetFlows`` of Cilium's observer API, which an agent and
Hubble Relay both serve over gRPC. Only the fields that are read are described here, by their
numbers in ``observer.proto`` and ``flow.proto`` of Cilium 1.18; protobuf skips the others.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from pytest_zerotrust.core.drops import Drop, DropLog, FlowKey
from pytest_zerotrust.errors import UsageProblem

READY_TIMEOUT = 5.0
"""Seconds within which a Hubble must accept a connection."""

_SETTLE = 0.3
"""Seconds for a request to take effect, and for the last events to arrive."""

_MOST = 200_000
"""Flows that are kept at most; further ones are counted as lost."""

_METHOD = "/observer.Observer/GetFlows"
_PACKAGE = "zerotrust.hubble"
_DROPPED = 2
_DIRECTIONS = {1: "ingress", 2: "egress"}
_PROTOCOLS = ("tcp", "udp", "sctp")

# Message, field, number, type (a scalar's name or another message), repeated.
_FIELDS: tuple[tuple[str, str, int, str, bool], ...] = (
    ("IP", "source", 1, "string", False),
    ("IP", "destination", 2, "string", False),
    ("Ports", "destination_port", 2, "uint32", False),
    ("Layer4", "tcp", 1, "Ports", False),
    ("Layer4", "udp", 2, "Ports", False),
    ("Layer4", "sctp", 5, "Ports", False),
    ("Policy", "name", 1, "string", False),
    ("Policy", "namespace", 2, "string", False),
    ("Policy", "kind", 5, "string", False),
    ("Flow", "verdict", 2, "int32", False),
    ("Flow", "ip", 5, "IP", False),
    ("Flow", "l4", 6, "Layer4", False),
    ("Flow", "node_name", 11, "string", False),
    ("Flow", "traffic_direction", 22, "int32", False),
    ("Flow", "drop_reason_desc", 25, "int32", False),
    ("Flow", "egress_denied_by", 21004, "Policy", True),
    ("Flow", "ingress_denied_by", 21005, "Policy", True),
    ("LostEvent", "num_events_lost", 2, "uint64", False),
    ("Response", "flow", 1, "Flow", False),
    ("Response", "lost_events", 3, "LostEvent", False),
    ("Filter", "verdict", 5, "int32", True),
    ("Request", "follow", 3, "bool", False),
    ("Request", "whitelist", 6, "Filter", True),
)


@functools.cache
def messages() -> Mapping[str, Any]:
    """The message classes by name. Raises ImportError without the package protobuf."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="pytest_zerotrust/hubble.proto", package=_PACKAGE, syntax="proto3"
    )
    described: dict[str, Any] = {}
    for owner, name, number, kind, repeated in _FIELDS:
        if owner not in described:
            described[owner] = file.message_type.add(name=owner)
        field = described[owner].field.add(name=name, number=number)
        field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        if kind[0].isupper():
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
        else:
            field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in described
    }


def demand_packages() -> None:
    """Raise UsageProblem if what a Hubble is asked with is not installed."""
    try:
        import grpc  # noqa: F401

        messages()
    except ImportError as error:
        raise UsageProblem(
            f"--zt-hubble needs the packages grpcio and protobuf, and {error.name} cannot be "
            "imported. Install them with: pip install 'pytest-zerotrust[hubble]'"
        ) from None


def read_drop(response: Any) -> tuple[FlowKey, Drop] | None:
    """Read one response; None if it tells of no drop that can be joined to a probe."""
    if not response.HasField("flow"):
        return None
    flow = response.flow
    if flow.verdict != _DROPPED:
        return None
    for protocol in _PROTOCOLS:
        if flow.l4.HasField(protocol):
            port = getattr(flow.l4, protocol).destination_port
            key = FlowKey(flow.ip.source, flow.ip.destination, port, protocol.upper())
            policies = (*flow.egress_denied_by, *flow.ingress_denied_by)
            return key, Drop(
                node=flow.node_name.rpartition("/")[2],
                reason=flow.drop_reason_desc,
                direction=_DIRECTIONS.get(flow.traffic_direction, ""),
                policies=tuple(dict.fromkeys(_policy(policy) for policy in policies)),
            )
    return None


def _policy(policy: Any) -> str:
    where = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
    return f"{policy.kind or 'policy'} {where}"


class HubbleWatch:
    """Collects drops from one or more Hubbles between ``with`` and its end.

    ``addresses`` are those of gRPC: ``host:port``, or ``unix:///path``. Nothing is raised for a
    Hubble that does not answer: the log says so.
    """

    def __init__(self, addresses: Iterable[str]) -> None:
        self._addresses = tuple(addresses)
        self._lock = threading.Lock()
        self._drops: dict[FlowKey, dict[Drop, None]] = {}
        self._problems: dict[str, None] = {}
        self._lost = 0
        self._ended = False
        self._open: list[Any] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> HubbleWatch:
        import grpc

        # Who verifies a cluster from behind a proxy does not reach a Hubble through it.
        options = [("grpc.enable_http_proxy", 0)]
        made = [(a, grpc.insecure_channel(a, options=options)) for a in self._addresses]
        self._open = [channel for _, channel in made]
        ready = {a: grpc.channel_ready_future(channel) for a, channel in made}
        deadline = time.monotonic() + READY_TIMEOUT
        for address, channel in made:
            try:
                ready[address].result(timeout=max(deadline - time.monotonic(), 0.01))
                self._listen(address, channel)
            except grpc.FutureTimeoutError:
                ready[address].cancel()
                self._note(f"Hubble at {address} did not answer within {READY_TIMEOUT:g} s")
            except Exception as error:  # names are never worth a batch
                self._note(f"Hubble at {address} could not be asked: {error}")
        if self._threads:
            time.sleep(_SETTLE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._threads and error is None:
            time.sleep(_SETTLE)
        self._ended = True
        for channel in self._open:
            with contextlib.suppress(Exception):
                channel.close()
        for thread in self._threads:
            thread.join(timeout=READY_TIMEOUT)

    def log(self) -> DropLog:
        """What was collected."""
        with self._lock:
            problems = tuple(self._problems)
            if self._lost:
                problems = (*problems, f"Hubble lost {self._lost} events during the batch")
            return DropLog(
                drops={key: tuple(drops) for key, drops in self._drops.items()},
                asked=True,
                problems=problems,
            )

    def _listen(self, address: str, channel: Any) -> None:
        kinds = messages()
        call = channel.unary_stream(
            _METHOD,
            request_serializer=kinds["Request"].SerializeToString,
            response_deserializer=kinds["Response"].FromString,
        )
        request = kinds["Request"](follow=True, whitelist=[kinds["Filter"](verdict=[_DROPPED])])
        thread = threading.Thread(
            target=self._read, args=(address, call(request)), name=f"hubble {address}", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def _read(self, address: str, stream: Iterable[Any]) -> None:
        import grpc

        try:
            for response in stream:
                self._take(response)
            self._end_of(address, "it ended its answer")
        except grpc.RpcError as error:
            code = getattr(error, "code", lambda: None)()
            details = getattr(error, "details", lambda: "")()
            self._end_of(address, f"{getattr(code, 'name', 'error')}: {details}"[:300])

    def _end_of(self, address: str, why: str) -> None:
        if not self._ended:
            self._note(f"Hubble at {address} could not be heard to the end: {why}")

    def _note(self, problem: str) -> None:
        with self._lock:
            self._problems[problem] = None

    def _take(self, response: Any) -> None:
        found = read_drop(response)
        with self._lock:
            if response.HasField("lost_events"):
                self._lost += response.lost_events.num_events_lost
            elif found is not None:
                key, drop = found
                if key in self._drops or len(self._drops) < _MOST:
                    self._drops.setdefault(key, {})[drop] = None
                else:
                    self._lost += 1
