"""The nodes whose addresses are asked, and what is known of those that are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeList:
    """Addresses by the names of nodes. ``left_out`` says which nodes are not among them, and why;
    it is empty if all that are ready are."""

    addresses: Mapping[str, str] = field(default_factory=dict)
    left_out: str = ""
