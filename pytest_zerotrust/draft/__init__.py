"""A first intent file from a live cluster, for a person to correct. Reads, and makes nothing."""

from __future__ import annotations

from pytest_zerotrust.draft.collect import collect
from pytest_zerotrust.draft.render import render

__all__ = ["collect", "render"]
