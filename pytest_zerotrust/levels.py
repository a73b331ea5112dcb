"""``--zt-level N``: keeps the controls up to that level."""

from __future__ import annotations

import pytest

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.suite import check_of


def keep_level(config: pytest.Config, items: list[pytest.Item], level: int) -> None:
    """Deselect tests of controls above ``level``; tests without a control of ours stay."""
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        check = check_of(item)
        control = CONTROLS.get(check.control) if check is not None else None
        (dropped if control is not None and control.level > level else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
