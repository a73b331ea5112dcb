"""What a check can conclude, and the result that carries the conclusion with its evidence."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn


class Verdict(enum.Enum):
    """The five conclusions of a check. Only ``HOLDS`` is ever green."""

    HOLDS = "holds"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The conclusion of one check and all that it rests on.

    ``headline`` is one line: who, whom, what was expected and what happened.
    ``observed`` are the raw observations, ``controls`` the positive controls that exclude other
    causes, ``objects`` the cluster objects that decide (``Kind namespace/name``).
    ``reproduce`` is a command a person can type. ``reason`` is a short machine-readable word for
    verdicts other than holds and violated.
    A result has no truth value: ``bool(result)`` raises ``TypeError``, because ``if result:``
    would make a green out of anything.
    """

    control: str
    subject: str
    verdict: Verdict
    headline: str
    reason: str = ""
    observed: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    remedy: str = ""
    reproduce: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> NoReturn:
        raise TypeError(
            f"a zero-trust result has no truth value: compare result.verdict "
            f"(here {self.verdict.value!r}) with a Verdict instead"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-able data."""
        return {
            "control": self.control,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "headline": self.headline,
            "reason": self.reason,
            "observed": list(self.observed),
            "controls": list(self.controls),
            "objects": list(self.objects),
            "remedy": self.remedy,
            "reproduce": self.reproduce,
            "evidence": dict(self.evidence),
        }
