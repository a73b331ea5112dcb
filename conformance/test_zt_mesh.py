"""Level 2: mutual TLS between services."""

from __future__ import annotations

import pytest


@pytest.mark.zt_each("plaintext")
def test_plaintext_is_refused(zt_mesh, check):
    """Plaintext to a meshed port is refused by a proxy that says who it is."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("identity")
def test_identity_is_proved(zt_mesh, check):
    """A meshed port demands a client certificate and proves the workload's SPIFFE identity."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("mesh-call")
def test_allowed_call_works(zt_mesh, check):
    """An allowed call from inside the mesh is answered by the application."""
    zt_mesh.verify(check)
