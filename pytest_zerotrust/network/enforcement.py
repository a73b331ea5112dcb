"""How long this cluster takes to enforce a new policy, and what becomes of open connections.

The sealed canaries are reached before their policy exists, which also shows that nothing but the
policy closes them; a note at the policy tells the other processes of the run. Then the policy is
made while every pair is being watched. Reported as evidence, without judgement: the verdict on
enforcement rests on the batch that comes afterwards.
"""

from __future__ import annotations

import json
import secrets
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.core.observation import Seen, expected_answer
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec
from pytest_zerotrust.network.attempts import canary_pairs, usable_ip
from pytest_zerotrust.network.batch import Attempt, Name, run_rounds

Pair = tuple[str, str]
"""A node and the node whose sealed canary is reached from it."""

NOTE_LIMIT = 200_000
"""Bytes of the note at the policy, at most."""

BEFORE = 10.0
"""Seconds within which sealed canaries must be reached while their policy does not exist yet."""

WATCH: Mapping[str, Any] = {
    "every": 0.1,
    "seconds": 8.0,
    "hold": 10,
    "timeout": 0.5,
    "last_timeout": 3.0,
}
"""Fresh attempts every 0.1 s, until ten in a row went unanswered, for 8 s at most. The open
connection gets longer to answer at last: by then the batch keeps the nodes busy."""

LEAD = 0.8
"""Seconds for which the watch looks at open canaries before the policy is made. Where that was
too short nothing is measured, and the result says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What was measured, by (from node, to node).

    ``closed`` are the milliseconds from the policy's creation to the first attempt of those that
    were never answered again; ``kept`` tells what became of a connection that was open.
    ``unreached`` are pairs of which nothing shows that they were reached without the policy.
    ``why_not`` says why nothing was measured, if so.
    """

    closed: Mapping[Pair, float] = field(default_factory=dict)
    kept: Mapping[Pair, str] = field(default_factory=dict)
    unreached: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def median(self) -> float | None:
        """The median in milliseconds, or None."""
        return statistics.median(self.closed.values()) if self.closed else None

    @property
    def worst(self) -> float | None:
        """The longest in milliseconds, or None."""
        return max(self.closed.values(), default=None)

    def lines(self) -> tuple[str, ...]:
        """What was seen, in words."""
        if self.why_not:
            return (f"time to enforce a new policy: not measured: {self.why_not}",)
        if self.median is None or self.worst is None:
            return ("time to enforce a new policy: not measured",)
        kept = sorted({state for state in self.kept.values() if state != "never opened"})
        return (
            f"time to enforce a new policy: median {self.median:.0f} ms, worst {self.worst:.0f} ms "
            f"over {len(self.closed)} pairs of nodes",
            "a connection that was open when the policy came: "
            + (_KEPT.get(kept[0], kept[0]) if len(kept) == 1 else ", ".join(kept) or "not seen"),
        )


_KEPT = {"answered": "goes on", "silent": "is cut (no answer)", "closed": "is cut (closed)"}


class Sealing:
    """The sealed canaries' policy: made, and watched while it comes into force.

    The watch goes on while the batch is made, for it takes seconds in which nothing else need wait.
    """

    def __init__(
        self,
        unreached: set[Pair],
        enforcement: Callable[[], Enforcement],
        watched_until: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._unreached = unreached
        self._enforcement = enforcement
        self.watched_until = watched_until
        """When the watch ended (of the monotonic clock); the present moment while it goes on."""

    def measured(self) -> Enforcement:
        """What the watch saw; waits for its end. It is evidence only, so what goes wrong with it
        costs the measure and nothing else."""
        try:
            return self._enforcement()
        except Exception as error:
            why = f"the watch failed: {error}"
            return Enforcement(unreached=_told(self._unreached), why_not=why)


def seal(fleet: Fleet, members: Mapping[str, Member], nodes: Iterable[str]) -> Sealing:
    """Make the policy of the sealed canaries, while a watch looks at them.

    Another process of the run may have made it already; then nothing is measured, and the note at
    the policy says what was reached before it. Raises ApiFailure or ApiUnreachable if the policy
    cannot be made.
    """
    pairs = [
        (name, caller, target)
        for name, caller, target, open_ in canary_pairs(fleet, members, nodes)
        if not open_
    ]
    note = fleet.seal_note()
    if note is not None:
        joined = _joined(note, {(here, there) for (_, here, there), _, _ in pairs})
        return Sealing(set(), lambda: joined)
    unreached = _reach(fleet, members, pairs)
    reached = {(here, there) for (_, here, there), _, _ in pairs} - unreached
    pool = ThreadPoolExecutor(1)
    try:
        watching = pool.submit(_watch, fleet, members, pairs)
        time.sleep(LEAD if pairs else 0)
        ours = fleet.seal(note_of(reached))
        made = time.time()
        note = None if ours else fleet.seal_note()
    finally:
        # Lets the watch end by itself, and takes no other.
        pool.shutdown(wait=False)
    if not ours:
        joined = _joined(note or "", unreached)
        return Sealing(set(), lambda: joined)
    ended: list[float] = []
    watching.add_done_callback(lambda _: ended.append(time.monotonic()))
    return Sealing(
        unreached,
        lambda: _read(watching.result(), made, _told(unreached)),
        lambda: ended[0] if ended else time.monotonic(),
    )


def _joined(note: str, unknown: set[Pair]) -> Enforcement:
    """What a process knows that found the policy made: the note, for pairs that are unknown."""
    return Enforcement(
        unreached=_told(unknown - reached_by(note)),
        why_not="another process of this run made the policy",
    )


def note_of(reached: Iterable[Pair]) -> str:
    """What the maker of the policy leaves for the others: which nodes' canaries reached which."""
    found: dict[str, list[str]] = {}
    for here, there in sorted(reached):
        found.setdefault(here, []).append(there)
    text = json.dumps(found, separators=(",", ":"))
    # The API server refuses annotations of more than 256 KiB. Without a note the others conclude
    # nothing, which is better than a run in which nobody can make the policy.
    return text if len(text) <= NOTE_LIMIT else ""


def reached_by(note: str) -> set[Pair]:
    """The pairs for which a note vouches; none if it cannot be read."""
    try:
        found = json.loads(note)
        return {(here, there) for here, targets in found.items() for there in targets}
    except (ValueError, AttributeError, TypeError):
        return set()


def _told(pairs: Iterable[Pair]) -> tuple[str, ...]:
    return tuple(f"{here} -> {there}" for here, there in sorted(pairs))


def _reach(
    fleet: Fleet, members: Mapping[str, Member], pairs: list[tuple[Name, PodSpec, PodSpec]]
) -> set[Pair]:
    """Reach the canaries that will be sealed; return the pairs for which that never worked."""
    attempts = {
        name: Attempt(
            pod=caller.name,
            ip=usable_ip(members, target),
            port=CANARY_PORT.number,
            protocol=CANARY_PORT.protocol,
            key=fleet.key_of(target),
        )
        for name, caller, target in pairs
    }
    deadline = time.monotonic() + BEFORE
    while attempts:
        (round_,) = run_rounds(fleet, attempts, frozenset(), 1)
        attempts = {n: a for n, a in attempts.items() if round_.flows[n].seen is not Seen.OPEN}
        # Another process that was quicker ends this: from then on they are rightly closed.
        if time.monotonic() > deadline or (attempts and fleet.seal_note() is not None):
            break
    return {(here, there) for _, here, there in attempts}


@dataclass(frozen=True, slots=True)
class _Watched:
    """One pair's report, and how far its pod's clock is ahead of ours, at least and at most."""

    pair: tuple[str, str]
    report: Mapping[str, Any]
    proof: str
    ahead: tuple[float, float]


def _watch(
    fleet: Fleet, members: Mapping[str, Member], pairs: list[tuple[Name, PodSpec, PodSpec]]
) -> list[_Watched]:
    requests: dict[str, list[Mapping[str, Any]]] = {}
    places: dict[str, list[tuple[tuple[str, str], str]]] = {}
    for (_, here, there), caller, target in pairs:
        nonce = secrets.token_hex(16)
        probe = {
            **WATCH,
            "kind": "watch",
            "ip": usable_ip(members, target),
            "port": CANARY_PORT.number,
            "send": f"ZT1 {nonce}\n",
            "until": "\n",
        }
        requests.setdefault(caller.name, []).append(probe)
        proof = expected_answer(fleet.key_of(target), nonce)
        places.setdefault(caller.name, []).append(((here, there), proof))
    sent = time.time()
    replies = fleet.ask_all(requests)
    received = time.time()
    found = []
    for pod, reply in replies.items():
        if isinstance(reply, str):
            continue
        begun = float(reply.get("started", 0.0))
        ahead = (begun + float(reply.get("took", 0.0)) - received, begun - sent)
        for (pair, proof), report in zip(places[pod], reply["results"], strict=True):
            found.append(_Watched(pair, report, proof, ahead))
    return found


def _read(seen: list[_Watched], made: float, unreached: tuple[str, ...]) -> Enforcement:
    closed: dict[tuple[str, str], float] = {}
    kept: dict[tuple[str, str], str] = {}
    for watched in seen:
        after = closed_after(watched.report, watched.proof)
        if after is None:
            continue
        low, high = watched.ahead
        # Clocks that may agree are taken to agree; the bounds of the exec are no finer.
        ahead = 0.0 if low <= 0.0 <= high else (low + high) / 2
        at = float(watched.report["began"]) - ahead + after / 1000
        closed[watched.pair] = max(0.0, (at - made) * 1000)
        kept[watched.pair] = str(watched.report.get("kept", ""))
    return Enforcement(closed=closed, kept=kept, unreached=unreached)


def closed_after(report: Mapping[str, Any], proof: str) -> float | None:
    """When, in milliseconds from the watch's beginning, the first attempt was made of those at
    the end that were not answered. None unless earlier ones were answered by the right server.
    """
    if report.get("end") != "complete":
        return None
    entries = sorted(report.get("entries", ()), key=lambda entry: float(entry[0]))
    answered = [proof in str(entry[3]) for entry in entries]
    if not any(answered) or all(answered) or answered[-1]:
        return None
    last = max(index for index, right in enumerate(answered) if right)
    return float(entries[last + 1][0])
