"""NetworkPolicy and Cilium's policies as rules: what they imply for a flow, and whom they select.

Pure: plain data in, decisions out. What is not understood becomes 'unknown', never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.core.policy.cilium import parse_cilium_policy
from pytest_zerotrust.core.policy.endpoint import Dialect, Endpoint, Kind, node, world
from pytest_zerotrust.core.policy.evaluate import Decision, Outcome, PolicySet, Side, decide, merged
from pytest_zerotrust.core.policy.kubernetes import parse_network_policy
from pytest_zerotrust.core.policy.match import NamedPorts
from pytest_zerotrust.core.policy.model import Policy
from pytest_zerotrust.core.policy.survey import Bare, Idle, bare_pods, idle_policies

__all__ = [
    "Bare",
    "Decision",
    "Dialect",
    "Endpoint",
    "Idle",
    "Kind",
    "NamedPorts",
    "Outcome",
    "Policy",
    "PolicySet",
    "Side",
    "bare_pods",
    "decide",
    "idle_policies",
    "merged",
    "node",
    "parse_cilium_policy",
    "parse_network_policy",
    "parse_policy",
    "world",
]


def parse_policy(raw: Mapping[str, Any]) -> Policy:
    """Read a policy by its ``kind``. Raises ValueError for a kind that is none of the three."""
    kind = raw.get("kind")
    if kind == "NetworkPolicy":
        return parse_network_policy(raw)
    if kind in ("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"):
        return parse_cilium_policy(raw)
    raise ValueError(f"not a policy that can be evaluated: {kind!r}")
