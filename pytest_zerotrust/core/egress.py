"""From observations of a destination outside the pods' network to a verdict.

The server there is the user's, or nobody's: it cannot prove a key. So the same attempt is made by
a reference, a pod on the same node that no policy of the user's selects. A denial counts only
where the reference gets through at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_zerotrust.core.observation import Observation, Seen
from pytest_zerotrust.core.reachability import REFUSALS, Expected, Liveness
from pytest_zerotrust.core.verdict import Result, Verdict

CONNECTED = (Seen.SILENT, Seen.CLOSED, Seen.CUT)
"""Something took the connection and said nothing: enough of an answer to tell a leak, if the
reference sees the same, but never enough to show that an allowed flow works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressFacts:
    """One address of a destination: what the source and the reference saw in the last rounds.

    ``address`` is told to people, port included; ``ip`` is the address alone, or a name.
    """

    address: str
    held: tuple[Observation, ...]
    reference: tuple[Observation, ...]
    ip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressFacts:
    """A workload and a destination outside, with everything that was seen around them."""

    control: str
    subject: str
    source: str
    target: str
    expected: Expected
    addresses: tuple[AddressFacts, ...]
    source_lives: Liveness
    objects: tuple[str, ...] = ()
    remedy: str = ""
    reproduce: str = ""


@dataclass(frozen=True, slots=True)
class _Finding:
    verdict: Verdict
    reason: str
    what: str


def judge_egress(facts: EgressFacts) -> Result:
    """Return the verdict on one destination. Pure: depends on ``facts`` alone."""
    return join(facts, [judge_address(facts, address) for address in facts.addresses])


def judge_address(facts: EgressFacts, address: AddressFacts) -> Result:
    """Return the verdict on one address of a destination."""
    finding = _finding(facts, address)
    return Result(
        control=facts.control,
        subject=facts.subject,
        verdict=finding.verdict,
        reason=finding.reason,
        headline=f"{facts.control} {facts.source} -> {facts.target} {finding.what}",
    )


def join(facts: EgressFacts, parts: Sequence[Result]) -> Result:
    """The verdict on a destination from those on its addresses, one for each in their order.

    Violated if one is; else inconclusive if one is; it holds if one address was really shown. If
    nothing listens at any address, for anybody, it is not applicable.
    """
    order = (Verdict.VIOLATED, Verdict.INCONCLUSIVE, Verdict.HOLDS, Verdict.NOT_APPLICABLE)
    worst = next((p for verdict in order for p in parts if p.verdict is verdict), None)
    head = f"{facts.control} {facts.source} -> {facts.target}"
    verdict, reason = Verdict.INCONCLUSIVE, "no-address"
    headline = f"{head} no address of it is known"
    if worst is not None:
        verdict, reason, headline = worst.verdict, worst.reason, worst.headline
    named = list(zip(facts.addresses, parts, strict=True))
    explained = {
        key: {a.address: p.evidence[key] for a, p in named if key in p.evidence}
        for key in ("policies", "hubble")
    }
    return Result(
        control=facts.control,
        subject=facts.subject,
        verdict=verdict,
        reason=reason,
        headline=headline,
        observed=tuple(_line(address) for address in facts.addresses),
        controls=(
            f"source: {'alive' if facts.source_lives.alive else 'NOT SHOWN'}: "
            f"{facts.source_lives.how}",
            *(f"destination {a.address}: {_reference(a)}" for a in facts.addresses),
        ),
        objects=(*facts.objects, *_objects(named)),
        remedy=facts.remedy if verdict is Verdict.VIOLATED else "",
        reproduce=facts.reproduce,
        evidence={
            "expected": facts.expected.value,
            "addresses": {
                a.address: {
                    "source": [o.seen.value for o in a.held],
                    "reference": [o.seen.value for o in a.reference],
                }
                for a in facts.addresses
            },
            **{key: found for key, found in explained.items() if found},
        },
    )


def _objects(named: Sequence[tuple[AddressFacts, Result]]) -> list[str]:
    """What the parts name, with the address where they differ."""
    if len({part.objects for _, part in named}) <= 1:
        return list(named[0][1].objects) if named else []
    return [f"at {address.address}: {line}" for address, part in named for line in part.objects]


def _finding(facts: EgressFacts, address: AddressFacts) -> _Finding:
    seen, known = _kind(address.held), _kind(address.reference)
    where = f"at {address.address}"
    if facts.expected is Expected.DENIED and any(o.seen is Seen.OPEN for o in address.held):
        return _Finding(Verdict.VIOLATED, "", f"REACHED {where}, expected DENIED")
    if seen is None:
        return _unclear("unsettled", f"did not settle {where}")
    if seen is Seen.OPEN:
        return _Finding(Verdict.HOLDS, "", f"reached {where}, as allowed")
    if seen in CONNECTED:
        if facts.expected is Expected.DENIED and known is seen:
            what = f"REACHED {where} ({seen.value}, as for anybody), expected DENIED"
            return _Finding(Verdict.VIOLATED, "", what)
        return _unclear("no-clear-answer", f"has no clear answer {where}: {seen.value}")
    if len({o.address for o in (*address.held, *address.reference)}) > 1:
        return _unclear("different-addresses", f"led to different addresses {where}")
    if seen not in REFUSALS:
        return _unclear("no-clear-answer", f"has no clear answer {where}: {seen.value}")
    if known is Seen.REFUSED and facts.expected is Expected.DENIED:
        what = f"not applicable: nothing listens {where}, not even for a pod without policies"
        return _Finding(Verdict.NOT_APPLICABLE, "nothing-listens", what)
    if known is not Seen.OPEN and known not in CONNECTED:
        return _unclear("target-not-alive", f"{seen.value} {where}, but {_reference(address)}")
    if not facts.source_lives.alive:
        return _unclear("source-not-alive", f"{seen.value}, but {facts.source_lives.how}")
    if facts.expected is Expected.DENIED:
        return _Finding(Verdict.HOLDS, "", f"denied ({seen.value})")
    what = f"DENIED ({seen.value}) {where}, expected to be ALLOWED"
    return _Finding(Verdict.VIOLATED, "", what)


def _unclear(reason: str, what: str) -> _Finding:
    return _Finding(Verdict.INCONCLUSIVE, reason, what)


def _kind(held: tuple[Observation, ...]) -> Seen | None:
    """What all of the last rounds saw; None if there are none or they differ."""
    kinds = {observation.seen for observation in held}
    return kinds.pop() if len(kinds) == 1 else None


def _reference(address: AddressFacts) -> str:
    known = _kind(address.reference)
    if known is None:
        return "the reference on the same node has no steady answer"
    if known is Seen.OPEN or known in CONNECTED:
        return f"alive: the reference on the same node gets through ({known.value})"
    return f"NOT SHOWN: not even the reference on the same node gets through ({known.value})"


def _line(address: AddressFacts) -> str:
    held = ", ".join(map(str, address.held)) or "not observed"
    return f"{address.address}: {held}"
