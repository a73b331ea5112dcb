"""Joins drops that the network recorded to the attempts of a batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from pytest_zerotrust.core.drops import NOT_ASKED, DropLog, FlowKey, name_refuser
from pytest_zerotrust.core.verdict import Result
from pytest_zerotrust.network.batch import Name
from pytest_zerotrust.network.snapshot import Snapshot


class DropWatch(Protocol):
    """Something that collects drops while a batch runs."""

    def log(self) -> DropLog:
        """What was collected."""
        ...


WatchDrops = Callable[[], AbstractContextManager[DropWatch]]


class _Nobody:
    def log(self) -> DropLog:
        return NOT_ASKED


def nobody_watches() -> AbstractContextManager[DropWatch]:
    """For runs in which no Hubble was named."""
    return nullcontext(_Nobody())


def with_refuser(snapshot: Snapshot, result: Result, name: Name, target: str = "") -> Result:
    """Add who refused an attempt. ``target`` is the probe pod (by name) behind a Service, because
    the address may be translated before the drop."""
    attempt = snapshot.attempts.get(name)
    if attempt is None:
        return result
    member, behind = snapshot.members.get(attempt.pod), snapshot.members.get(target)
    source = member.state.ip if member is not None and member.state is not None else ""
    ends = {attempt.ip, behind.state.ip if behind is not None and behind.state is not None else ""}
    keys = [
        FlowKey(source, end, attempt.port, attempt.protocol.upper()) for end in sorted(ends) if end
    ]
    seen = [observation.seen for observation in snapshot.observations(name)]
    return name_refuser(result, snapshot.drops, keys, seen)
