"""The declared policies around one batch, and what they imply for flows between its probe pods."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_zerotrust.cluster.policies import PolicyReading
from pytest_zerotrust.core.explanation import Explanation
from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.policy import Dialect, Endpoint, Kind, PolicySet
from pytest_zerotrust.fleet.fleet import Member

ReadPolicies = Callable[[Iterable[str]], PolicyReading]
"""Reads the policies that concern these namespaces."""

_NOTHING_READ = PolicyReading(
    policies=(), namespace_labels={}, dialects=(), gaps=("the policies were not read",)
)


def nothing_read(namespaces: Iterable[str]) -> PolicyReading:
    """Reads nothing, and says so."""
    return _NOTHING_READ


class Declared:
    """What was declared before and after a batch: only what stayed the same explains it."""

    def __init__(self, before: PolicyReading, after: PolicyReading) -> None:
        self._reading = after
        self.gaps = tuple(dict.fromkeys((*before.gaps, *after.gaps, *_changes(before, after))))
        self._sets = {
            dialect: PolicySet(after.policies, dialect=dialect) for dialect in after.dialects
        }
        self._endpoints: dict[str, Endpoint] = {}

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """The readings that may apply."""
        return self._reading.dialects

    def explain(self, source: Member, target: Member, port: Port) -> Explanation:
        """What the policies imply for a flow between two probe pods, by whatever address."""
        ends = self._endpoint(source), self._endpoint(target)
        return Explanation(
            decisions={
                dialect: rules.decide(*ends, port.number, port.protocol)
                for dialect, rules in self._sets.items()
            },
            gaps=self.gaps,
        )

    def _endpoint(self, member: Member) -> Endpoint:
        name = member.spec.name
        if name not in self._endpoints:
            self._endpoints[name] = endpoint_of(member, self._reading)
        return self._endpoints[name]


def endpoint_of(member: Member, reading: PolicyReading) -> Endpoint:
    """A probe pod as policies see it: with the labels that it really carries, ours included."""
    spec, state = member.spec, member.state
    protocols = {port.number: port.protocol for port in spec.ports}
    return Endpoint(
        kind=Kind.POD,
        name=spec.name,
        namespace=spec.namespace,
        labels=dict(state.labels) if state is not None and state.labels else dict(spec.labels),
        namespace_labels=reading.namespace_labels.get(spec.namespace),
        service_account=spec.service_account,
        ip=state.ip if state is not None else "",
        node=state.node if state is not None else "",
        # Only pods that listen carry port names; see the manifest of a probe pod.
        ports={
            name: (number, protocols.get(number, "TCP")) for name, number in spec.port_names.items()
        }
        if spec.listens and spec.ports
        else {},
    )


def _changes(before: PolicyReading, after: PolicyReading) -> list[str]:
    """What changed while the batch was made, and therefore explains nothing."""
    old = {str(policy): policy for policy in before.policies}
    new = {str(policy): policy for policy in after.policies}
    changed = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    said = [f"{name} changed during the batch" for name in changed]
    if before.namespace_labels != after.namespace_labels:
        said.append("labels of namespaces changed during the batch")
    if before.dialects != after.dialects:
        said.append("whether Cilium runs changed during the batch")
    return said
