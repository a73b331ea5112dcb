"""What policies imply for ends that are no probe pods, and what follows where nothing denies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_zerotrust.cluster.api import ApiUnreachable
from pytest_zerotrust.cluster.policies import PolicyReading
from pytest_zerotrust.cluster.servers import (
    ApiServers,
    DnsServers,
    ServerReader,
    read_api_servers,
    read_dns_servers,
)
from pytest_zerotrust.core.egress import AddressFacts, EgressFacts, join, judge_address
from pytest_zerotrust.core.explanation import BY_NOTHING, Explanation, explain
from pytest_zerotrust.core.intent import Outside, OutsideKind, Port
from pytest_zerotrust.core.observation import Observation, Seen
from pytest_zerotrust.core.policy import Dialect, Endpoint, Kind, Outcome, parse_policy
from pytest_zerotrust.core.reachability import Expected, Liveness
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.network.beyond import Beyond, UnreadServers
from pytest_zerotrust.network.declared import Declared
from tests.fakes.fleet import FakeFleet
from tests.fakes.world import World
from tests.policies import network_policy

LETTER, CILIUM = Dialect.LETTER, Dialect.CILIUM
DENY = network_policy("deny", podSelector={}, policyTypes=["Egress"])
WEB = Outside(key="w", kind=OutsideKind.ADDRESS, port=Port(80), address="203.0.113.10")
KUBELET = Outside(key="k", kind=OutsideKind.KUBELET, port=Port(10250))
SERVER = Outside(key="s", kind=OutsideKind.API_SERVER, port=Port(443))
NAMED = Outside(key="n", kind=OutsideKind.DNS_NAME, port=Port(80), dns_name="www.example.com")
DNS_POD = Endpoint(kind=Kind.POD, name="dns", namespace="kube-system", ip="10.0.9.9", node="node-1")


class Servers(UnreadServers):
    """API servers on a node, and one pod that answers for names."""

    def api_servers(self) -> ApiServers:
        return ApiServers(addresses=(("172.16.0.1", 6443),))

    def dns_servers(self, server: str, labels: Any) -> DnsServers:
        return DnsServers(ends={"UDP": ((DNS_POD, 53),), "TCP": ((DNS_POD, 53),)})


def reading(*policies: Any, dialect: Dialect = LETTER, gaps: tuple[str, ...] = ()) -> PolicyReading:
    parsed = tuple(map(parse_policy, policies))
    return PolicyReading(policies=parsed, namespace_labels={}, dialects=(dialect,), gaps=gaps)


def beyond(*policies: Any, dialect: Dialect = LETTER, servers: Any = None) -> Beyond:
    found = reading(*policies, dialect=dialect)
    declared = Declared(found, found)
    return Beyond(
        declared=declared,
        declared_dns=declared,
        servers=servers or Servers(),
        nodes={"node-1": "172.16.0.1", "node-2": "172.16.0.2"},
    )


def member() -> Member:
    fleet = FakeFleet(World())
    spec = PodSpec(name="p", namespace="a", role=Role.TWIN, subject="batch", node="node-1")
    return fleet.members([spec])["p"]


def facts(ip: str, *held: Observation) -> AddressFacts:
    return AddressFacts(address=f"{ip}:80/tcp", held=held, reference=(), ip=ip)


@pytest.mark.parametrize("dialect", list(Dialect))
def test_an_address_outside_is_evaluated(dialect: Dialect):
    for policies, outcome in (((), Outcome.ALLOWED), ((DENY,), Outcome.DENIED)):
        found = beyond(*policies, dialect=dialect).outside(member(), WEB, facts("203.0.113.10"))
        assert (found.outcome, found.complete) == (outcome, True)


@pytest.mark.parametrize("ip", ["10.1.2.3", "192.168.0.9", "100.64.1.1", "fd00::1"])
def test_a_private_address_may_be_anything(ip: str):
    where = replace(WEB, address=ip)
    found = beyond(DENY).outside(member(), where, facts(ip))
    assert not found.complete
    assert "may be the address of a node" in found.gaps[0]


def test_a_name_is_evaluated_at_the_one_address_it_led_to():
    at = Observation(seen=Seen.DROPPED, address="203.0.113.10")
    assert beyond().outside(member(), NAMED, facts("www.example.com", at, at)).passes
    for held in ((), (at, replace(at, address="203.0.113.11")), (replace(at, address=""),)):
        found = beyond().outside(member(), NAMED, facts("www.example.com", *held))
        assert not found.complete
        assert "which address www.example.com led to" in found.gaps[0]


def test_cilium_denies_the_own_node_and_the_letter_leaves_it_open():
    own, other = facts("172.16.0.1"), facts("172.16.0.2")
    assert beyond(DENY, dialect=CILIUM).outside(member(), KUBELET, own).outcome is Outcome.DENIED
    found = beyond(DENY).outside(member(), KUBELET, own)
    assert not found.complete
    assert "own node" in found.gaps[0]
    assert beyond(DENY).outside(member(), KUBELET, other).complete


def test_the_api_server_is_evaluated_where_it_is_and_not_at_its_service():
    assert beyond(DENY, dialect=CILIUM).outside(member(), SERVER, facts("kubernetes")).complete
    unread = beyond(DENY, dialect=CILIUM, servers=UnreadServers())
    found = unread.outside(member(), SERVER, facts("kubernetes"))
    assert not found.complete
    assert found.gaps == ("where the API server is was not read",)


def test_a_look_up_is_evaluated_at_the_pods_that_answer():
    assert beyond().dns(member(), "10.96.0.10", "UDP").passes
    assert beyond(DENY).dns(member(), "10.96.0.10", "TCP").outcome is Outcome.DENIED
    unread = beyond(servers=UnreadServers()).dns(member(), "10.96.0.10", "UDP")
    assert (unread.complete, unread.outcome) == (False, Outcome.UNKNOWN)


def test_policies_of_the_dns_namespace_that_cannot_be_read_cloud_look_ups_alone():
    more = reading(gaps=("the policies of kube-system could not be read",))
    declared = Declared(reading(), reading())
    both = declared.joined(more, more)
    assert declared.gaps == ()
    assert both.gaps == ("the policies of kube-system could not be read",)


def test_ends_that_differ_make_the_explanation_incomplete():
    far = replace(DNS_POD, name="far", labels={"app": "far"})
    only_far = network_policy(
        "in",
        "kube-system",
        podSelector={"matchLabels": {"app": "far"}},
        policyTypes=["Ingress"],
    )
    declared = Declared(reading(only_far), reading(only_far))
    found = declared.explain_ends(member(), [(DNS_POD, 53), (far, 53)], "UDP")
    assert not found.complete
    assert "different things" in found.gaps[0]


def test_a_way_out_that_nothing_declared_denies_is_inconclusive_and_names_the_address():
    dropped, open_ = Observation(seen=Seen.DROPPED), Observation(seen=Seen.OPEN)
    places = tuple(
        AddressFacts(address=f"{ip}:80/tcp", held=(dropped,) * 2, reference=(open_,) * 2, ip=ip)
        for ip in ("203.0.113.10", "203.0.113.11")
    )
    whole = EgressFacts(
        control="ZT-NET-006",
        subject="batch->w:80/tcp",
        source="a/batch",
        target="w:80/tcp",
        expected=Expected.DENIED,
        addresses=places,
        source_lives=Liveness(True, "it lives"),
    )

    def verdict(*policies: Any) -> Any:
        found: Explanation = beyond(*policies).outside(member(), WEB, places[0])
        parts = [explain(judge_address(whole, p), whole.expected, found) for p in places]
        return join(whole, parts)

    result = verdict()
    assert (result.verdict, result.reason) == (Verdict.INCONCLUSIVE, BY_NOTHING)
    assert result.headline == (
        "ZT-NET-006 a/batch -> w:80/tcp denied (dropped), but by nothing that is declared"
    )
    assert verdict(DENY).verdict is Verdict.HOLDS
    assert set(verdict(DENY).evidence["policies"]) == {p.address for p in places}


# -- reading


class FakeApi:
    """Answers by path; what it does not know is forbidden."""

    def __init__(self, **lists: list[Any]) -> None:
        self.lists = lists

    def request(self, method: str, path: str, *, params: Any = None) -> Any:
        name = path.rpartition("/")[2]
        if name == "broken":
            raise ApiUnreachable("no answer")
        found = self.lists.get(name)

        class Response:
            ok = found is not None
            status = 200 if ok else 403
            message = "" if ok else "forbidden"
            body = {"items": found} if ok else {}

        return Response()


SLICE = {
    "ports": [{"name": "https", "port": 6443}],
    "endpoints": [{"addresses": ["172.16.0.1"]}, {"addresses": ["172.16.0.2"]}],
}
DNS_SERVICE = {
    "spec": {
        "clusterIP": "10.96.0.10",
        "selector": {"k8s-app": "kube-dns"},
        "ports": [
            {"port": 53, "protocol": "UDP", "targetPort": "dns"},
            {"port": 53, "protocol": "TCP", "targetPort": 5353},
        ],
    }
}
POD = {
    "metadata": {"name": "dns-1", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
    "spec": {
        "nodeName": "node-1",
        "containers": [
            {"ports": [{"name": "dns", "containerPort": 5353, "protocol": "UDP"}]}
        ],
    },
    "status": {"podIP": "10.0.0.7"},
}  # fmt: skip


def test_api_servers_are_read_or_the_gap_is_told():
    found = read_api_servers(FakeApi(endpointslices=[SLICE]))  # type: ignore[arg-type]
    assert found.addresses == (("172.16.0.1", 6443), ("172.16.0.2", 6443))
    assert found.gap == ""
    assert "403 forbidden" in read_api_servers(FakeApi()).gap  # type: ignore[arg-type]
    assert "no endpoints" in read_api_servers(FakeApi(endpointslices=[])).gap  # type: ignore[arg-type]


def test_dns_servers_are_read_or_the_gap_is_told():
    api = FakeApi(services=[DNS_SERVICE], pods=[POD])
    found = ServerReader(api).dns_servers("10.96.0.10", {"a": "b"})  # type: ignore[arg-type]
    assert found.gap == ""
    for protocol in ("UDP", "TCP"):
        ((end, number),) = found.ends[protocol]
        assert (end.ip, number, end.labels) == ("10.0.0.7", 5353, {"k8s-app": "kube-dns"})
    for broken, word in (
        (FakeApi(), "403 forbidden"),
        (FakeApi(services=[], pods=[POD]), "is no Service"),
        (FakeApi(services=[DNS_SERVICE], pods=[]), "no pod is known"),
    ):
        gap = read_dns_servers(broken, "10.96.0.10", None).gap  # type: ignore[arg-type]
        assert word in gap
