"""What a set of policies implies for one flow: allowed, denied, or unknown with its reasons.

A flow passes if its source's policies let it out and its target's policies let it in. A pod is
isolated in a direction as soon as a policy that isolates selects it; then only what a rule allows
passes. A deny rule of Cilium's wins over all of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_zerotrust.core.policy.endpoint import Dialect, Endpoint, Kind
from pytest_zerotrust.core.policy.match import (
    NamedPorts,
    own_ports,
    peers_match,
    ports_match,
    selects,
)
from pytest_zerotrust.core.policy.model import Direction, Policy, Rule, Section
from pytest_zerotrust.core.policy.selectors import Selector
from pytest_zerotrust.core.policy.truth import (
    NO,
    YES,
    Truth,
    all_of,
    any_of,
    known,
    negate,
    unknown,
)


class Outcome(enum.Enum):
    """What policies imply for a flow, or for one side of it."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is implied at one end of a flow: egress at its source, or ingress at its target.

    ``selecting`` are the policies that select that end (for certain or perhaps), ``isolated_by``
    those of them after which only what is allowed passes. ``allowed_by`` and ``denied_by`` name
    the rules (``NetworkPolicy a/b ingress[0]``) that match the flow. ``why`` says why the outcome
    is unknown.
    """

    direction: str
    outcome: Outcome
    selecting: tuple[str, ...] = ()
    isolated_by: tuple[str, ...] = ()
    allowed_by: tuple[str, ...] = ()
    denied_by: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What policies imply for a flow, and each end's part in it."""

    outcome: Outcome
    egress: Side
    ingress: Side

    @property
    def why(self) -> tuple[str, ...]:
        """Why the outcome is unknown, if it is."""
        if self.outcome is not Outcome.UNKNOWN:
            return ()
        return tuple(dict.fromkeys((*self.egress.why, *self.ingress.why)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is worth knowing, differences between readings for example."""
        return tuple(dict.fromkeys((*self.egress.notes, *self.ingress.notes)))


def decide(
    policies: Iterable[Policy],
    source: Endpoint,
    target: Endpoint,
    port: int,
    protocol: str = "TCP",
    *,
    dialect: Dialect,
    named_ports: NamedPorts | None = None,
) -> Decision:
    """Evaluate a connection from ``source`` to ``port`` (TCP, UDP or SCTP) of ``target``.

    ``named_ports`` are the port names of all pods of the cluster, which Cilium's egress rules go
    by; where they are not given, such rules come out as unknown. Addresses are those of pods and
    nodes: a Service's has been translated before policies see a packet.
    """
    rules = PolicySet(policies, dialect=dialect, named_ports=named_ports)
    return rules.decide(source, target, port, protocol)


Found = tuple[Policy, Truth, Direction]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The policies that (perhaps) speak about one direction of an endpoint's traffic."""

    endpoint: Endpoint
    found: tuple[Found, ...]
    notes: tuple[str, ...]


class PolicySet:
    """Policies for many decisions: whom each selects is worked out once for each endpoint."""

    def __init__(
        self,
        policies: Iterable[Policy],
        *,
        dialect: Dialect,
        named_ports: NamedPorts | None = None,
    ) -> None:
        self._policies = tuple(policies)
        self._dialect = dialect
        self._named_ports = named_ports
        self._chosen: dict[tuple[int, str], _Chosen] = {}

    def decide(
        self, source: Endpoint, target: Endpoint, port: int, protocol: str = "TCP"
    ) -> Decision:
        """Evaluate one flow; see the function of this name."""
        if source.same_pod(target):
            note = ("a pod's traffic to itself never leaves it",)
            sides = [
                Side(direction=name, outcome=Outcome.ALLOWED, notes=note)
                for name in ("egress", "ingress")
            ]
            return Decision(outcome=Outcome.ALLOWED, egress=sides[0], ingress=sides[1])
        flow = _Flow(source, target, port, protocol, self._dialect, self._named_ports)
        egress = flow.side(self._speaking("egress", source), "egress")
        ingress = flow.side(self._speaking("ingress", target), "ingress")
        outcomes = (egress.outcome, ingress.outcome)
        if Outcome.DENIED in outcomes:
            outcome = Outcome.DENIED
        elif Outcome.UNKNOWN in outcomes:
            outcome = Outcome.UNKNOWN
        else:
            outcome = Outcome.ALLOWED
        return Decision(outcome=outcome, egress=egress, ingress=ingress)

    def _speaking(self, name: str, subject: Endpoint) -> _Chosen:
        key = (id(subject), name)
        if key not in self._chosen:
            notes: dict[str, None] = {}
            found = tuple(self._look(name, subject, notes))
            # The endpoint is kept along with its number, so that the number stays its own.
            self._chosen[key] = _Chosen(subject, found, tuple(notes))
        return self._chosen[key]

    def _look(self, name: str, subject: Endpoint, notes: dict[str, None]) -> Iterable[Found]:
        for policy in self._policies:
            for section in policy.sections:
                direction = section.egress if name == "egress" else section.ingress
                if direction is None:
                    continue
                chosen = selects(section, subject, self._dialect, cilium=policy.cilium)
                if not chosen.possible:
                    continue
                if self._dialect not in direction.dialects:
                    notes[_not_read(policy, name, self._dialect)] = None
                    continue
                yield policy, all_of((chosen, _in_force(section))), direction


@dataclass(frozen=True, slots=True)
class _Flow:
    source: Endpoint
    target: Endpoint
    port: int
    protocol: str
    dialect: Dialect
    named_ports: NamedPorts | None

    def side(self, chosen: _Chosen, name: str) -> Side:
        egress = name == "egress"
        subject, peer = (self.source, self.target) if egress else (self.target, self.source)
        if subject.kind is Kind.WORLD:
            return Side(direction=name, outcome=Outcome.ALLOWED)
        if self.protocol not in ("TCP", "UDP", "SCTP"):
            why = f"the protocol {self.protocol} is not evaluated"
            return Side(direction=name, outcome=Outcome.UNKNOWN, why=(why,))
        notes = dict.fromkeys(chosen.notes)
        found = chosen.found
        free = self._own_node(name, subject, peer)
        requires = _requirements(found)
        allows: list[tuple[str, Truth]] = []
        denies: list[tuple[str, Truth]] = []
        for policy, active, direction in found:
            for rule in direction.allow:
                answer = self._rule(rule, subject, peer, name, requires[0], notes)
                allows.append((f"{policy} {rule.where}", all_of((active, answer))))
            for rule in direction.deny:
                answer = self._rule(rule, subject, peer, name, requires[1], notes)
                denies.append((f"{policy} {rule.where}", all_of((active, answer))))
        isolating = [(str(p), all_of((a, known(d.isolates)))) for p, a, d in found]
        isolated = any_of(answer for _, answer in isolating)
        denied = any_of(answer for _, answer in denies)
        passes = all_of(
            (negate(denied), any_of((*(answer for _, answer in allows), free, negate(isolated))))
        )
        outcome = {True: Outcome.ALLOWED, False: Outcome.DENIED, None: Outcome.UNKNOWN}
        return Side(
            direction=name,
            outcome=outcome[passes.value],
            selecting=tuple(dict.fromkeys(str(policy) for policy, _, _ in found)),
            isolated_by=_certain(isolating),
            allowed_by=_certain(allows),
            denied_by=_certain(denies),
            why=passes.why,
            notes=tuple(notes),
        )

    def _own_node(self, name: str, subject: Endpoint, peer: Endpoint) -> Truth:
        """Whether the flow is between a pod and its own node, which is always let through.

        Kubernetes says so of both directions. Cilium does it for what comes from the node.
        """
        if not subject.is_pod or not peer.is_node:
            return NO
        if self.dialect is Dialect.CILIUM and name == "egress":
            return NO
        if not subject.node or not peer.node:
            return unknown(f"it is not known whether {peer} is the node of {subject}")
        return known(subject.node == peer.node)

    def _rule(
        self,
        rule: Rule,
        subject: Endpoint,
        peer: Endpoint,
        name: str,
        requires: Sequence[tuple[Truth, Selector]],
        notes: dict[str, None],
    ) -> Truth:
        matched, said = peers_match(rule, peer, subject, self.dialect, requires)
        if said:
            notes |= dict.fromkeys(said)
        if not matched.possible:
            return NO
        # Cilium looks port names of egress rules up among all pods of the cluster.
        by_cluster = self.dialect is Dialect.CILIUM and name == "egress"
        named = self.named_ports if by_cluster else own_ports(self.target)
        ports = ports_match(rule, self.port, self.protocol, named)
        answer = all_of((matched, ports))
        if rule.doubt and answer.possible:
            return unknown(rule.doubt)
        return answer


def _certain(answers: Iterable[tuple[str, Truth]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name, answer in answers if answer.value))


def _in_force(section: Section) -> Truth:
    return unknown(section.doubt) if section.doubt else YES


def _requirements(
    found: Iterable[Found],
) -> tuple[list[tuple[Truth, Selector]], list[tuple[Truth, Selector]]]:
    """Demands on peers that are named by labels: for allow rules, and for deny rules."""
    found = list(found)
    return (
        [(active, selector) for _, active, d in found for selector in d.requires],
        [(active, selector) for _, active, d in found for selector in d.requires_deny],
    )


def _not_read(policy: Policy, name: str, dialect: Dialect) -> str:
    if dialect is Dialect.LETTER and policy.cilium:
        return f"{policy} says nothing here: nothing shows that Cilium runs"
    return f"{policy} has {name} rules, but its policyTypes leave {name} out"


def merged(decisions: Mapping[Dialect, Decision]) -> Outcome:
    """The outcome if it is not known which of these readings applies: theirs if they agree."""
    outcomes = {decision.outcome for decision in decisions.values()}
    return outcomes.pop() if len(outcomes) == 1 else Outcome.UNKNOWN
