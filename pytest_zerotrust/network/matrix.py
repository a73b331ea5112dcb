"""Answers to a user's own questions: one flow, or every flow between some workloads."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from pytest_zerotrust.core.explanation import BY_NOTHING
from pytest_zerotrust.core.intent import Flow, Intent, Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.network.checks import FlowCheck, Via
from pytest_zerotrust.report.picture import text_of, worst

_FLOW = re.compile(r"\s*(\S+)\s*->\s*(\S+):(\d+)(?:/(tcp|udp|sctp))?\s*", re.IGNORECASE)


class Reach(enum.Enum):
    """What became of a flow."""

    REACHED = "reached"
    DENIED = "denied"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Answer:
    """What became of one flow. ``result`` is its evidence; its verdict is about ``expected``.

    An answer has no truth value, because ``not answer`` would make a denial out of anything.
    """

    source: str
    target: str
    port: Port
    expected: Expected
    result: Result
    on_read: Callable[[Answer], None]

    @property
    def reach(self) -> Reach:
        """Reached, denied with all other causes excluded, or unclear. Looking at it asserts
        nothing; ``reached`` does."""
        if self.result.verdict not in (Verdict.HOLDS, Verdict.VIOLATED):
            return Reach.UNCLEAR
        if len(set(self.result.evidence.get("held", ()))) > 1:
            return Reach.UNCLEAR
        as_expected = self.result.verdict is Verdict.HOLDS
        if as_expected is (self.expected is Expected.ALLOWED):
            return Reach.REACHED
        policies = dict(self.result.evidence.get("policies") or {})
        # An outage denies as well as a policy does.
        return Reach.UNCLEAR if policies.get("finding") == BY_NOTHING else Reach.DENIED

    @property
    def reached(self) -> bool:
        """True if the right server answered, False if the flow was denied.

        Raises Inconclusive if it is unclear, so that ``assert not answer.reached`` can be trusted.
        """
        if self.reach is Reach.UNCLEAR:
            raise Inconclusive(self.result.headline, self.result)
        self.on_read(self)
        return self.reach is Reach.REACHED

    @property
    def flow(self) -> str:
        """``source -> target:port``."""
        return f"{self.source} -> {self.target}:{self.port}"

    def __bool__(self) -> NoReturn:
        raise TypeError(f"an answer has no truth value: look at answer.reached ({self!r})")

    def __repr__(self) -> str:
        return f"<{self.flow} {self.reach.value}>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Matrix:
    """Every flow between some workloads, observed in one batch. ``repr`` draws it."""

    answers: tuple[Answer, ...]
    conclude: Callable[[Result], None] = field(repr=False)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __bool__(self) -> NoReturn:
        raise TypeError("a matrix has no truth value: use expect(), or the answers")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("a matrix is compared with expect(), which knows what is unclear")

    __hash__ = None  # type: ignore[assignment]

    def flow(
        self, source: Workload | str, target: Workload | str, port: int, protocol: str = "TCP"
    ) -> Answer:
        """The answer for one flow. Raises KeyError if the matrix does not hold it."""
        wanted = (_key(source), _key(target), Port(port, protocol.upper()))
        for answer in self.answers:
            if (answer.source, answer.target, answer.port) == wanted:
                return answer
        raise KeyError(f"{wanted[0]} -> {wanted[1]}:{wanted[2]} is not in this matrix")

    def expect(self, *flows: str) -> Result:
        """These flows, each ``source -> target:port``, must be reached and all others denied.

        Returns the result if that is so. Raises Violation that names every flow that differs,
        Inconclusive if one is unclear, and ValueError for a flow that the matrix does not hold.
        """
        __tracebackhide__ = True
        wanted = {id(self._named(flow)) for flow in flows}
        wrong = [
            f"{a.flow} {'REACHED, expected DENIED' if a.reach is Reach.REACHED else ''}"
            f"{'DENIED, expected to be ALLOWED' if a.reach is Reach.DENIED else ''}"
            for a in self.answers
            if a.reach is not Reach.UNCLEAR and (a.reach is Reach.REACHED) != (id(a) in wanted)
        ]
        unclear = [a.result.headline for a in self.answers if a.reach is Reach.UNCLEAR]
        verdict, reason = Verdict.HOLDS, ""
        what = f"{len(self.answers)} flows, {len(wanted)} reached and all others denied"
        if wrong:
            verdict, what = Verdict.VIOLATED, f"{wrong[0]}{_and_more(wrong)}"
        elif unclear or not self.answers:
            verdict, reason = Verdict.INCONCLUSIVE, "not-observed"
            what = f"{unclear[0]}{_and_more(unclear)}" if unclear else "the matrix is empty"
        result = Result(
            control="custom",
            subject="matrix",
            verdict=verdict,
            reason=reason,
            headline=f"custom matrix: {what}",
            observed=(*wrong, *unclear),
        )
        self.conclude(result)
        return result

    def _named(self, flow: str) -> Answer:
        match = _FLOW.fullmatch(flow)
        if match is None:
            raise ValueError(f"{flow!r} is no flow: write 'source -> target:port'")
        try:
            return self.flow(match[1], match[2], int(match[3]), match[4] or "TCP")
        except KeyError as error:
            raise ValueError(str(error.args[0])) from error

    def __repr__(self) -> str:
        cells: dict[tuple[str, str], str] = {}
        for answer in self.answers:
            pair = (answer.source, answer.target)
            sign = {Reach.REACHED: "o", Reach.DENIED: "."}.get(answer.reach, "?")
            cells[pair] = worst(cells.get(pair, "."), sign)
        return text_of(cells, ". denied   o reached   ? unclear")


def _and_more(lines: list[str]) -> str:
    return f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""


def _key(workload: Workload | str) -> str:
    return workload if isinstance(workload, str) else workload.key


def questions(
    intent: Intent, workloads: Iterable[Workload], port: Port | None
) -> list[tuple[Workload, Workload, FlowCheck]]:
    """Source, target and check of every flow between two of the workloads, to the given port or
    to each declared one. What is expected follows from the intent; what it does not know is
    expected to be denied, which only decides how long is waited for it.

    Raises Inconclusive for a workload that the intent does not name, if no port is given: of its
    ports nothing is known, so nothing could be said about the ways to it.
    """
    ends = list(workloads)
    unknown = [w.name for w in ends if not w.ports and w.key not in intent.workloads]
    if port is None and unknown:
        raise Inconclusive(f"no port is known of {', '.join(unknown)}: give matrix(..., port=N)")
    return [
        (source, target, question(intent, source, target, each))
        for source in ends
        for target in ends
        if source.key != target.key
        for each in ([target.port(port.number, port.protocol)] if port else target.ports)
    ]


def question(intent: Intent, source: Workload, target: Workload, port: Port) -> FlowCheck:
    """The check of one flow by pod IP."""
    allowed = intent.allows(source.key, target.key, port)
    return FlowCheck(
        control="custom",
        flow=Flow(source.key, target.key, port),
        via=Via.POD_IP,
        expected=Expected.ALLOWED if allowed else Expected.DENIED,
    )
