"""Sends the mesh probes in rounds until the answers agree, or time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.fleet.fleet import Fleet

ROUNDS = 3
"""Attacks are repeated with fresh connections; the last rounds must agree."""

SETTLE = 10.0
"""Seconds for which connections that cannot be made are given time to come about."""

INSIST = 6
"""Times that a connection is made anew which was cut before it told who is there. A proxy with
nobody behind it may end one at any moment."""

LIMIT = 30.0
"""Seconds after which rounds end even though the answers still change."""

PAUSE = 0.5
"""Seconds between rounds while answers still change."""

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe of a batch: by what name its reports are kept, who sends it, and the request."""

    name: Hashable
    pod: str
    request: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The raw reports by probe, one for each round; and pods that gave no reply, and why."""

    reports: Mapping[Hashable, tuple[Report, ...]]
    failed: Mapping[str, str]


def until_settled(fleet: Fleet, probes: Iterable[Probe]) -> Seen:
    """Send all probes again and again, until ``ROUNDS`` rounds in a row look alike."""
    probes = list(probes)
    reports: dict[Hashable, list[Report]] = {}
    started = time.monotonic()
    while True:
        seen = _once(fleet, probes)
        for name, found in seen.reports.items():
            reports.setdefault(name, []).extend(found)
        elapsed = time.monotonic() - started
        kept = {name: found[-ROUNDS:] for name, found in reports.items()}
        stable = not seen.failed and all(_agree(found) for found in kept.values())
        clear = all(_clear(found[-1]) for found in kept.values())
        if (stable and (clear or elapsed >= SETTLE)) or elapsed >= LIMIT:
            return Seen(
                reports={name: tuple(found) for name, found in kept.items()}, failed=seen.failed
            )
        if not stable and elapsed > PAUSE:
            # What changes needs time, not more connections.
            time.sleep(PAUSE)


def in_waves(fleet: Fleet, probes: Iterable[Probe]) -> Seen:
    """Send all probes ``ROUNDS`` times within one request, each time when the last has ended."""
    return _once(
        fleet,
        [
            Probe(name=probe.name, pod=probe.pod, request={**probe.request, "wave": wave})
            for probe in probes
            for wave in range(ROUNDS)
        ],
    )


def insisting(fleet: Fleet, probes: Iterable[Probe], enough: Callable[[Report], bool]) -> Seen:
    """Send all probes, and those again, up to ``INSIST`` times, whose report is not ``enough``;
    the last report of each counts."""
    left = list(probes)
    reports: dict[Hashable, tuple[Report, ...]] = {}
    failed: dict[str, str] = {}
    for _ in range(INSIST):
        if not left:
            break
        seen = _once(fleet, left)
        reports |= seen.reports
        failed = dict(seen.failed)
        left = [p for p in left if not enough(reports.get(p.name, ({},))[-1])]
    return Seen(reports=reports, failed=failed)


def _once(fleet: Fleet, probes: Iterable[Probe]) -> Seen:
    requests: dict[str, list[Report]] = {}
    names: dict[str, list[Hashable]] = {}
    for probe in probes:
        requests.setdefault(probe.pod, []).append(probe.request)
        names.setdefault(probe.pod, []).append(probe.name)
    reports: dict[Hashable, list[Report]] = {}
    failed: dict[str, str] = {}
    for pod, reply in fleet.ask_all(requests).items():
        if isinstance(reply, str):
            failed[pod] = reply
            continue
        for name, report in zip(names[pod], reply["results"], strict=True):
            reports.setdefault(name, []).append(report)
    return Seen(reports={name: tuple(found) for name, found in reports.items()}, failed=failed)


def _agree(reports: list[Report]) -> bool:
    """True if there are enough rounds, and all of them look alike."""
    return len(reports) == ROUNDS and len({_look(report) for report in reports}) == 1


def _look(report: Report) -> tuple[Any, ...]:
    """What must be the same in all rounds. A connection that is cut within a handshake is told as
    a reset or as an early end, by chance."""
    end, alert = report.get("end"), str(report.get("alert", ""))
    if end == "alert" and "EOF" in alert:
        end, alert = "reset", ""
    return report.get("stage"), end, bool(report.get("data")), alert


def _clear(report: Report) -> bool:
    """True unless the connection was not even made, as it is while pods are still new to a node."""
    return report.get("stage") in ("exchange", "handshake")
