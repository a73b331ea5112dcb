"""Whether a test uses this project at all; kept apart because every test of every project asks."""

from __future__ import annotations

import pytest

FIXTURES = frozenset({"zt_network", "zt_mesh", "zt_admission"})


ASKED: pytest.StashKey[bool] = pytest.StashKey()
"""Set on a test that got one of our fixtures, also by ``request.getfixturevalue``."""


def uses_zerotrust(item: pytest.Item) -> bool:
    """True for a test that uses one of our fixtures."""
    return item.stash.get(ASKED, False) or not FIXTURES.isdisjoint(
        getattr(item, "fixturenames", ())
    )
