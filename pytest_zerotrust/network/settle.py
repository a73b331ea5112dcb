"""Rounds until nothing changes any more: what matches must match twice in a row, what does not
must have had time to settle. A fixed sleep would be too short on one cluster, too long on another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.network.batch import Name, Round

HOLD = 2
"""Rounds that must agree."""

SETTLE = 10.0
"""Seconds for which an unexpected observation is given time to change, from the first round."""

LIMIT = 30.0
"""Seconds after which rounds end even though observations still change."""


def observe_until_settled(
    observe: Callable[[int], Sequence[Round]],
    expected: Mapping[Name, bool],
    *,
    since: Callable[[], float] = lambda: 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> list[Round]:
    """Return all rounds, the last ``HOLD`` of them settled if that was possible.

    ``observe`` makes as many rounds as it is asked for. ``expected`` tells for each attempt
    whether it should come to be open. ``since`` gives the moment (of the same clock) before which
    something was still to change; it may move while rounds are made.
    """
    started = clock()
    rounds = list(observe(HOLD))
    while True:
        last = rounds[-HOLD:]
        stable = all(_same(last, name) for name in expected) and _same_dns(last)
        matches = all(_as_expected(_seen(last[-1], n), open_) for n, open_ in expected.items())
        dns_works = all(o.seen is Seen.OPEN for o in last[-1].dns.values())
        elapsed = clock() - started
        settled = clock() - max(started, since()) >= SETTLE
        if stable and ((matches and dns_works) or settled):
            return rounds
        if elapsed >= LIMIT:
            return rounds
        rounds += observe(1)


def _as_expected(seen: Seen, open_: bool) -> bool:
    """A probe that failed is never as expected: the next round may answer. What the kernel does
    not know never changes."""
    if seen is Seen.UNSUPPORTED:
        return True
    return seen is Seen.OPEN if open_ else seen not in (Seen.OPEN, Seen.FAILED)


def _seen(round_: Round, name: Name) -> Seen:
    observation = round_.flows.get(name)
    return observation.seen if observation is not None else Seen.FAILED


def _same(rounds: list[Round], name: Name) -> bool:
    return len({_seen(r, name) for r in rounds}) == 1


def _same_dns(rounds: list[Round]) -> bool:
    return all(
        len({r.dns[name].seen for r in rounds if name in r.dns}) == 1 for name in rounds[-1].dns
    )
