"""Which ways around a denied flow were tried, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.intent import Flow


@dataclass(frozen=True, slots=True)
class Way:
    """One flow by a node's address. ``service`` (``namespace/name``) is the user's Service whose
    like stands before the twin; ``number`` is the node port of that one."""

    flow: Flow
    service: str
    ip: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysAround:
    """The ways around that were tried, by check id, and why others could not be."""

    ways: Mapping[str, tuple[Way, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
