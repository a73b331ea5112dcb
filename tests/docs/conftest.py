"""The lab for snippets that need one; it is the lab of the live tests."""

from __future__ import annotations

from tests.live.conftest import lab, scenario

__all__ = ["lab", "scenario"]
