"""Destinations that are no pods: what is read, what follows from it, and every mistake."""

from __future__ import annotations

import pytest

from pytest_zerotrust.core.intent import Flow, OutsideKind, Port
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.load import intent_from_text

WORKLOADS = """version: 1
workloads:
  a: {namespace: x, labels: {app: a}, ports: [80]}
  b: {namespace: x, labels: {app: b}, ports: [80]}
"""
TEXT = f"""{WORKLOADS}outside:
  internet: {{address: 203.0.113.10, port: 80, send: "GET / HTTP/1.0\\r\\n\\r\\n"}}
  updates: {{dnsName: updates.example.com, port: 443}}
  time: {{address: "2001:db8::0:1", port: 123, protocol: UDP}}
  metadata: {{kind: metadata}}
  api-server: {{kind: api-server}}
  kubelet: {{kind: kubelet}}
  etcd: {{kind: etcd, port: 12379}}
  ssh: {{kind: node, port: 22}}
flows:
  - b -> updates:443
  - a -> b:80
  - a -> time:123/udp
"""


def test_every_way_to_name_a_destination_is_read():
    outside = intent_from_text(TEXT, "zero.yaml").outside
    assert list(outside) == [
        "internet", "updates", "time", "metadata", "api-server", "kubelet", "etcd", "ssh",
    ]  # fmt: skip
    assert outside["internet"].kind is OutsideKind.ADDRESS
    assert outside["internet"].address == "203.0.113.10"
    assert outside["internet"].port.send == "GET / HTTP/1.0\r\n\r\n"
    assert outside["internet"].name == "internet:80/tcp"
    assert outside["updates"].kind is OutsideKind.DNS_NAME
    assert (outside["updates"].dns_name, outside["updates"].address) == ("updates.example.com", "")
    assert (outside["time"].address, outside["time"].port) == ("2001:db8::1", Port(123, "UDP"))
    assert outside["metadata"].address == "169.254.169.254"
    ports = {key: outside[key].port.number for key in ("metadata", "api-server", "kubelet", "etcd")}
    assert ports == {"metadata": 80, "api-server": 443, "kubelet": 10250, "etcd": 12379}
    assert outside["ssh"].kind is OutsideKind.NODE


def test_a_flow_to_a_destination_is_egress_and_no_flow_between_workloads():
    intent = intent_from_text(TEXT, "zero.yaml")
    assert intent.flows == (Flow("a", "b", Port(80)),)
    assert intent.egress == (
        Flow("b", "updates", Port(443)),
        Flow("a", "time", Port(123, "UDP")),
    )


def test_every_workload_and_destination_is_allowed_or_denied_in_a_stable_order():
    intent = intent_from_text(TEXT, "zero.yaml")
    allowed = [(w.key, o.key) for w, o in intent.allowed_egress()]
    denied = [(w.key, o.key) for w, o in intent.denied_egress()]
    assert allowed == [("b", "updates"), ("a", "time")]
    assert denied == [
        (workload, destination)
        for workload in intent.workloads
        for destination in intent.outside
        if (workload, destination) not in allowed
    ]


def test_without_destinations_nothing_is_invented():
    intent = intent_from_text(WORKLOADS, "zero.yaml")
    assert intent.outside == {}
    assert list(intent.allowed_egress()) == list(intent.denied_egress()) == []


def outside(*lines: str) -> str:
    return "\n".join([f"{WORKLOADS}outside:", *(f"  {line}" for line in lines)]) + "\n"


# mistake: the text, the line that the message must name, and words that it must contain
MISTAKES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "no way": (outside("i: {port: 80}"), 6, ("outside.i", "address, dnsName, kind")),
    "two ways": (
        outside("i: {address: 203.0.113.1, kind: node, port: 1}"),
        6,
        ("outside.i", "address and kind exclude each other"),
    ),
    "no port": (outside("i: {address: 203.0.113.1}"), 6, ("outside.i", "port is missing")),
    "a node without a port": (outside("i: {kind: node}"), 6, ("outside.i", "port is missing")),
    "no address": (
        outside("i: {address: example.com, port: 80}"),
        6,
        ("'example.com'", "IP address", "dnsName"),
    ),
    "a network for an address": (
        outside("i: {address: 203.0.113.0/24, port: 80}"),
        6,
        ("'203.0.113.0/24'", "IP address"),
    ),
    "a wildcard": (outside("i: {dnsName: '*.example.com', port: 80}"), 6, ("dnsName", "*.example")),
    "an unknown kind": (
        outside("i: {kind: internet, port: 80}"),
        6,
        ("outside.i.kind", '"internet"', "api-server, kubelet, etcd, node, metadata"),
    ),
    "an unknown key": (
        outside("i: {adress: 203.0.113.1, port: 80}"),
        6,
        ("'adress'", "outside.i", "Did you mean 'address'"),
    ),
    "port 65536": (
        outside("i: {address: 203.0.113.1, port: 65536}"),
        6,
        ("outside.i.port", "65536", "65535"),
    ),
    "nothing": (outside("i: {}"), 6, ("outside.i", "must not be empty")),
    "a bad name": (outside("I: {kind: kubelet}"), 6, ("I", "lower-case")),
    "a workload's namesake": (outside("a: {kind: kubelet}"), 6, ("outside.a", "Rename")),
    "one address twice": (
        outside(
            "i: {address: '2001:db8:0::1', port: 80}",
            "j: {kind: kubelet}",
            "k: {address: '2001:db8::1', port: 80}",
        ),
        8,
        ("outside.k", "'i'", "same destination"),
    ),
    "a kind twice": (
        outside("i: {kind: kubelet}", "j: {kind: kubelet, port: 10250}"),
        7,
        ("outside.j", "'i'"),
    ),
    "the metadata service in two words": (
        outside("i: {kind: metadata}", "j: {address: 169.254.169.254, port: 80}"),
        7,
        ("outside.j", "'i'"),
    ),
    "a flow from outside": (
        outside("i: {kind: kubelet}") + "flows: [i -> a:80]\n",
        7,
        ("'i'", "which is outside"),
    ),
    "a flow to another port": (
        outside("i: {kind: kubelet}") + "flows: [a -> i:80]\n",
        7,
        ("outside destination 'i'", "80/tcp", "Declared: 10250/tcp"),
    ),
    "a flow to nobody": (
        outside("internet: {kind: kubelet}") + "flows: [a -> interet:80]\n",
        7,
        ("unknown workload or outside destination 'interet'", "Did you mean 'internet'"),
    ),
    "a flow twice": (
        outside("i: {kind: kubelet}") + "flows: [a -> i:10250, 'a->i:10250/tcp']\n",
        7,
        ("'a->i:10250/tcp'", "twice"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_line_key_and_value(mistake):
    text, line, words = MISTAKES[mistake]
    with pytest.raises(IntentProblem) as caught:
        intent_from_text(text, "zero.yaml")
    message = str(caught.value)
    assert message.startswith(f"zero.yaml:{line}: ")
    for word in words:
        assert word in message
    assert "\n" not in message
    assert len(message) < 400


def test_the_known_names_are_not_all_listed_in_a_file_of_hundreds():
    many = "".join(
        f"  w{n}: {{namespace: x, labels: {{app: w{n}}}, ports: [80]}}\n" for n in range(300)
    )
    text = f"version: 1\nworkloads:\n{many}flows: [none -> w1:80]\n"
    with pytest.raises(IntentProblem, match="and 288 more") as caught:
        intent_from_text(text, "zero.yaml")
    assert len(str(caught.value)) < 400
