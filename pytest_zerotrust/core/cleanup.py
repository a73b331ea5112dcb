"""What was left behind by a run, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupReport:
    """What was left behind (``Kind namespace/name``), errors on the way, and how to delete it.

    ``kept`` says what was left because the user wanted it (``--zt-keep``), and how to go on.
    """

    left: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """True if nothing of the run is left, and that was seen, not hoped."""
        return not self.left and not self.errors
