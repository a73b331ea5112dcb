"""Reads the intent file: YAML with line numbers, checked against the published schema."""

from __future__ import annotations

from pytest_zerotrust.intent.load import load_intent

__all__ = ["load_intent"]
