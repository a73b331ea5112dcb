"""What policies imply for flows that do not end at a probe pod: outside, nodes, DNS servers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pytest_zerotrust.cluster.servers import DNS_NAMESPACE, ApiServers, DnsServers
from pytest_zerotrust.core.egress import AddressFacts
from pytest_zerotrust.core.explanation import Explanation
from pytest_zerotrust.core.intent import Outside, OutsideKind
from pytest_zerotrust.core.policy import Endpoint, node, world
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.network.declared import Declared

_MAYBE_INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"""Where clusters have their nodes, pods and Services (RFC 1918, RFC 6598, RFC 4193)."""


class Servers(Protocol):
    """Reads where the cluster's own servers are; never raises."""

    def api_servers(self) -> ApiServers:
        """The API servers."""

    def dns_servers(self, server: str, labels: Mapping[str, str] | None) -> DnsServers:
        """The pods behind a name server's address."""


class UnreadServers:
    """Reads nothing, and says so."""

    def api_servers(self) -> ApiServers:
        """None are known."""
        return ApiServers(gap="where the API server is was not read")

    def dns_servers(self, server: str, labels: Mapping[str, str] | None) -> DnsServers:
        """None are known."""
        return DnsServers(ends={}, gap="which pods answer for names was not read")


@dataclass(slots=True)
class Beyond:
    """Explains flows to ends that are no probe pods.

    ``declared`` holds the policies around the workloads, ``declared_dns`` those and the ones
    around the DNS servers. ``nodes`` maps the names of nodes to their addresses.
    """

    declared: Declared
    declared_dns: Declared
    servers: Servers
    nodes: Mapping[str, str]
    _api: ApiServers | None = None
    _dns: DnsServers | None = None

    def outside(self, source: Member, where: Outside, facts: AddressFacts) -> Explanation:
        """What the policies imply for a destination at one of its addresses."""
        number, protocol = where.port.number, where.port.protocol
        if where.kind is OutsideKind.API_SERVER:
            api = self._api_servers()
            ends = [(self._at(address), port) for address, port in api.addresses]
            return self.declared.explain_ends(source, ends, protocol, _gaps(api.gap))
        tried = {o.address for o in facts.held} if where.dns_name else {facts.ip}
        if len(tried) != 1 or not all(tried):
            gap = f"it is not known which address {where.dns_name} led to"
            return self.declared.explain_ends(source, [], protocol, [gap])
        end = self._at(tried.pop())
        return self.declared.explain_ends(source, [(end, number)], protocol, _doubts(end))

    def dns(self, source: Member, server: str, protocol: str) -> Explanation:
        """What the policies imply for a look-up at this name server."""
        if self._dns is None:
            labels = self.declared_dns.labels_of(DNS_NAMESPACE)
            self._dns = self.servers.dns_servers(server, labels)
        ends = self._dns.ends.get(protocol, ())
        gap = self._dns.gap or ("" if ends else f"no port of the DNS is known over {protocol}")
        return self.declared_dns.explain_ends(source, ends, protocol, _gaps(gap))

    def _api_servers(self) -> ApiServers:
        if self._api is None:
            self._api = self.servers.api_servers()
        return self._api

    def _at(self, ip: str) -> Endpoint:
        """What stands at an address: a node, if it is a known one's, or the world."""
        api = self._api_servers()
        serves = None if api.gap else ip in {address for address, _ in api.addresses}
        for name, address in self.nodes.items():
            if address == ip:
                return node(name, ip=ip, kube_apiserver=serves)
        return replace(world(ip), kube_apiserver=serves)


def _doubts(end: Endpoint) -> list[str]:
    """Why it is not certain that an address is outside."""
    if end.is_node or end.kube_apiserver:
        return []
    address = ipaddress.ip_address(end.ip)
    if any(address.version == n.version and address in n for n in _MAYBE_INSIDE):
        return [f"{end.ip} may be the address of a node, a pod or a Service"]
    return []


def _gaps(gap: str) -> list[str]:
    return [gap] if gap else []
