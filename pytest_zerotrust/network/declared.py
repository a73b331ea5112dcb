"""The declared policies around one batch, and what they imply for flows between its probe pods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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
        self._before, self._reading = before, after
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
        return self.explain_ends(source, [(self._endpoint(target), port.number)], port.protocol)

    def explain_ends(
        self,
        source: Member,
        ends: Sequence[tuple[Endpoint, int]],
        protocol: str,
        gaps: Sequence[str] = (),
    ) -> Explanation:
        """What the policies imply for a flow from a probe pod to any one of these ends.

        ``gaps`` say what is not known of the ends. Where the ends differ, the explanation is
        incomplete.
        """
        subject = self._endpoint(source)
        found = [*self.gaps, *gaps]
        decisions = {}
        for dialect, rules in self._sets.items():
            each = [rules.decide(subject, end, number, protocol) for end, number in ends]
            if each:
                decisions[dialect] = each[0]
            if len({decision.outcome for decision in each}) > 1:
                found.append(f"policies imply different things for {ends[0][0]} and others")
            if dialect is Dialect.LETTER and any(_same_node(subject, end) for end, _ in ends):
                found.append("networks differ in whether a pod always reaches its own node")
        return Explanation(decisions=decisions, gaps=tuple(dict.fromkeys(found)))

    def joined(self, before: PolicyReading, after: PolicyReading) -> Declared:
        """The same with what was read of further namespaces."""
        return Declared(_joined(self._before, before), _joined(self._reading, after))

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """The labels of a namespace, if they were read."""
        return self._reading.namespace_labels.get(namespace)

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


def _same_node(subject: Endpoint, end: Endpoint) -> bool:
    return end.is_node and end.node == subject.node


def _joined(one: PolicyReading, more: PolicyReading) -> PolicyReading:
    policies = {str(policy): policy for policy in (*one.policies, *more.policies)}
    return PolicyReading(
        policies=tuple(policies[name] for name in sorted(policies)),
        namespace_labels={**one.namespace_labels, **more.namespace_labels},
        dialects=one.dialects,
        gaps=tuple(dict.fromkeys((*one.gaps, *more.gaps))),
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
