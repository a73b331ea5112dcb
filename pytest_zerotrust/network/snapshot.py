"""What one batch saw, with the look-ups that judging thousands of flows needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.drops import NOT_ASKED, DropLog
from pytest_zerotrust.core.observation import DnsObservation, Observation, Seen
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.network.batch import Attempt, Name, Round
from pytest_zerotrust.network.beyond import Beyond
from pytest_zerotrust.network.declared import Declared
from pytest_zerotrust.network.enforcement import Enforcement
from pytest_zerotrust.network.newborn import Birth
from pytest_zerotrust.network.settle import HOLD
from pytest_zerotrust.network.surroundings import Surroundings
from pytest_zerotrust.network.ways import WaysAround


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one batch saw: the pods before and after it, the rounds, and the addresses used.
    ``nodes`` are the addresses of the nodes that were asked, by their names; ``nodes_left_out``
    says which were not, and why.

    ``sealed`` is False if the policy of the sealed canaries was not there any more afterwards.
    """

    members: Mapping[str, Member]
    twins: Mapping[str, PodSpec]
    lost: Mapping[str, str]
    rounds: tuple[Round, ...]
    attempts: Mapping[Name, Attempt]
    nodes: Mapping[str, str]
    services: Mapping[str, tuple[str, str]]
    covered: frozenset[str]
    index: Index
    enforcement: Enforcement
    sealed: bool
    births: Mapping[str, Birth]
    declared: Declared
    beyond: Beyond
    around: WaysAround
    surroundings: Surroundings
    drops: DropLog = NOT_ASKED
    nodes_left_out: str = ""

    @property
    def held(self) -> tuple[Round, ...]:
        """The last rounds, on which verdicts rest."""
        return self.rounds[-HOLD:]

    def observations(self, name: Name) -> tuple[Observation, ...]:
        """What the last rounds saw of one attempt."""
        return tuple(r.flows[name] for r in self.held if name in r.flows)

    def is_open(self, name: Name) -> bool:
        """True if the right server answered this attempt in every one of the last rounds."""
        return name in self.index.open

    def node(self, pod: str) -> str:
        """The node on which a probe pod (by name) runs; empty if it never came to be."""
        state = self.members[pod].state
        return state.node if state is not None else ""

    def dns(self, pod: str, protocol: str) -> DnsObservation:
        """The look-up of a pod; one that failed in any of the last rounds counts."""
        last = DnsObservation(seen=Seen.FAILED, detail="not observed")
        for round_ in reversed(self.held):
            last = round_.dns.get((pod, protocol), last)
            if last.seen is not Seen.OPEN:
                return last
        return last


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Which attempts were open, sorted by what is asked of them.

    ``by_source``: an open flow of a pod. ``by_key``: the pod of an open attempt to the listener
    with this key that came from elsewhere. ``by_address``: the pod of an open attempt to an
    address and port from a node.
    """

    open: frozenset[Name]
    by_source: Mapping[str, Name] = field(default_factory=dict)
    by_key: Mapping[bytes, str] = field(default_factory=dict)
    by_address: Mapping[tuple[str, int, str], str] = field(default_factory=dict)


def make_index(
    rounds: tuple[Round, ...], attempts: Mapping[Name, Attempt], members: Mapping[str, Member]
) -> Index:
    """Look through all attempts once."""
    held = rounds[-HOLD:]
    is_open = frozenset(
        name
        for name in attempts
        if held and all(_seen(round_, name) is Seen.OPEN for round_ in held)
    )
    by_source: dict[str, Name] = {}
    by_key: dict[bytes, str] = {}
    by_address: dict[tuple[str, int, str], str] = {}
    for name, attempt in attempts.items():
        if name not in is_open:
            continue
        member = members[attempt.pod]
        node = member.state.node if member.state is not None else ""
        if name[0] == "flow":
            by_source.setdefault(attempt.pod, name)
        if name[0] != "self" and attempt.key is not None:
            by_key.setdefault(attempt.key, attempt.pod)
        by_address.setdefault((attempt.ip, attempt.port, node), attempt.pod)
    return Index(open=is_open, by_source=by_source, by_key=by_key, by_address=by_address)


def _seen(round_: Round, name: Name) -> Seen:
    observation = round_.flows.get(name)
    return observation.seen if observation is not None else Seen.FAILED
