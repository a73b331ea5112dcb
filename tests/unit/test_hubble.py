"""Reading Hubble's answers, and listening to one; a server of our own plays the faults."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_zerotrust.cluster import hubble
from pytest_zerotrust.cluster.hubble import HubbleWatch, messages, read_drop
from pytest_zerotrust.core.drops import Drop, FlowKey
from pytest_zerotrust.errors import UsageProblem

grpc = pytest.importorskip("grpc")

# A response as Cilium 1.18 encodes it, byte by byte: an older and a newer field are among them.
WIRE = bytes.fromhex(
    "0a" + "3c"  # flow, 60 bytes
    "1002"  # verdict: DROPPED
    "1885" + "01"  # drop_reason (deprecated): 133
    "2a16"
    + "0a09"
    + b"10.0.0.11".hex()
    + "1209"
    + b"10.0.0.22".hex()  # IP
    + "3209"
    + "0a07"
    + "08b9fa02"
    + "10903f"  # l4.TCP: 48441 -> 8080
    + "5a0b"
    + b"main/node-2".hex()  # node_name
    + "b00101"  # traffic_direction: INGRESS
    + "c80185"
    + "01"  # drop_reason_desc: POLICY_DENIED
)


def response(**fields):
    kinds = messages()
    flow = {
        "verdict": 2,
        "ip": {"source": "10.0.0.1", "destination": "10.0.0.2"},
        "l4": {"udp": {"destination_port": 53}},
        "node_name": "node-1",
        "traffic_direction": 2,
        "drop_reason_desc": 181,
    }
    return kinds["Response"](flow=flow | fields)


def test_an_answer_is_read_as_cilium_sends_it():
    assert read_drop(messages()["Response"].FromString(WIRE)) == (
        FlowKey("10.0.0.11", "10.0.0.22", 8080, "TCP"),
        Drop(node="node-2", reason=133, direction="ingress"),
    )


def test_policies_are_named_with_their_kind():
    denied = [{"name": "no", "namespace": "shop", "kind": "NetworkPolicy"}, {"name": "all"}]
    found = read_drop(response(egress_denied_by=denied, ingress_denied_by=denied[:1]))
    assert found is not None
    assert found[1].policies == ("NetworkPolicy shop/no", "policy all")


@pytest.mark.parametrize(
    "other",
    [
        messages()["Response"](),
        messages()["Response"](lost_events={"num_events_lost": 4}),
        response(verdict=1),
        response(l4={}),
    ],
    ids=["nothing", "lost", "forwarded", "no ports"],
)
def test_what_is_no_drop_of_a_connection_is_left_out(other):
    assert read_drop(other) is None


class Observer:
    """Hubble's one method, with prepared answers; then it stays silent or ends with an error."""

    def __init__(self, answers, error=""):
        self.answers, self.error = answers, error
        self.asked = []
        self.over = threading.Event()

    def get_flows(self, request, context):
        self.asked.append(request)
        yield from self.answers
        if self.error:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, self.error)
        while context.is_active() and not self.over.wait(0.05):
            pass


@pytest.fixture
def serve() -> Iterator:
    started = []

    def start(observer: Observer) -> str:
        kinds = messages()
        server = grpc.server(ThreadPoolExecutor(2))
        method = grpc.unary_stream_rpc_method_handler(
            observer.get_flows,
            request_deserializer=kinds["Request"].FromString,
            response_serializer=kinds["Response"].SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("observer.Observer", {"GetFlows": method}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        started.append((server, observer))
        return f"127.0.0.1:{port}"

    yield start
    for server, observer in started:
        observer.over.set()
        server.stop(0).wait()


def test_what_several_hubbles_tell_is_put_together(serve):
    first = Observer([response(), response(), response(node_name="node-2")])
    second = Observer([messages()["Response"](lost_events={"num_events_lost": 4})])
    with HubbleWatch([serve(first), serve(second)]) as watch:
        pass
    log = watch.log()
    key = FlowKey("10.0.0.1", "10.0.0.2", 53, "UDP")
    assert [drop.node for drop in log.of([key])] == ["node-1", "node-2"]
    assert log.problems == ("Hubble lost 4 events during the batch",)
    (request,) = first.asked
    assert request.follow
    assert [list(part.verdict) for part in request.whitelist] == [[2]]


def test_one_that_breaks_off_is_told(serve):
    address = serve(Observer([response()], error="too many"))
    with HubbleWatch([address]) as watch:
        pass
    log = watch.log()
    assert len(log.drops) == 1
    assert log.problems == (
        f"Hubble at {address} could not be heard to the end: RESOURCE_EXHAUSTED: too many",
    )


def test_one_that_is_not_there_is_told_and_nothing_is_raised(monkeypatch):
    monkeypatch.setattr(hubble, "READY_TIMEOUT", 0.2)
    with HubbleWatch(["127.0.0.1:1"]) as watch:
        pass
    assert watch.log().problems == ("Hubble at 127.0.0.1:1 did not answer within 0.2 s",)
    assert watch.log().asked


def test_an_error_of_the_batch_passes_through(serve):
    with pytest.raises(RuntimeError, match="batch"), HubbleWatch([serve(Observer([]))]):
        raise RuntimeError("batch")


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(UsageProblem, match=r"pip install 'pytest-zerotrust\[hubble\]'"):
        hubble.demand_packages()


def test_nothing_of_it_is_imported_unless_it_is_asked_for():
    code = (
        "import sys, pytest_zerotrust.cluster.hubble, pytest_zerotrust.settings; "
        "print([m for m in sys.modules if m.split('.')[0] in ('grpc', 'google')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
