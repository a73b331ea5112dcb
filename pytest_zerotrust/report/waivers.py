"""What the exceptions of the intent file did in a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.core.intent import Waiver
from pytest_zerotrust.core.waiving import WaiverState


def show_waivers(reporter: Any, states: Mapping[Waiver, WaiverState]) -> None:
    """Name the waivers that were used, with who answers for them, and those to be removed."""
    for waiver, state in states.items():
        if state is WaiverState.USED:
            reporter.write_line(
                f"waived: {waiver.check} ({waiver.owner}, until {waiver.expires}): {waiver.reason}"
            )
    for waiver, state in states.items():
        if state is WaiverState.UNNEEDED:
            reporter.write_line(
                f"no longer needed: the exception for {waiver.check} ({waiver.where}): all its "
                f"checks hold. Remove it.",
                yellow=True,
            )


def as_data(states: Mapping[Waiver, WaiverState]) -> list[dict[str, str]]:
    """The waivers with their states, as JSON-able data."""
    return [
        {
            "check": waiver.check,
            "reason": waiver.reason,
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
            "state": state.value,
        }
        for waiver, state in states.items()
    ]
