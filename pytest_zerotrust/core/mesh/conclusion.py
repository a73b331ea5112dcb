"""What a rule of the mesh layer concludes."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_zerotrust.core.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A verdict on one subject, the machine-readable reason, and the same in words."""

    verdict: Verdict
    reason: str
    text: str
