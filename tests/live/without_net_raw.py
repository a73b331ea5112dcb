"""A plugin for runs whose capturing pods lack their capability, as where it is taken away."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Leave the capability out of every container that is made."""
    from pytest_zerotrust.fleet import manifests

    made = manifests._container

    def without(*arguments: Any) -> dict[str, Any]:
        container = made(*arguments)
        container["securityContext"]["capabilities"].pop("add", None)
        return container

    manifests._container = without  # type: ignore[assignment]
