"""Which ways around a denied flow were tried, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.cluster.nodeports import Door
from pytest_zerotrust.core.intent import Flow


@dataclass(frozen=True, slots=True)
class Way:
    """One flow by one door at one address."""

    flow: Flow
    door: Door
    ip: str

    @property
    def address(self) -> str:
        """Address and port, the way they are shown."""
        return f"{self.ip}:{self.door.number}/{self.door.protocol.lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaysAround:
    """The ways around that were tried, by check id, and why others could not be."""

    ways: Mapping[str, tuple[Way, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
