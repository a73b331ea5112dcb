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


@pytest.mark.zt_each("foreign-certificate")
def test_foreign_certificate_is_refused(zt_mesh, check):
    """Certificates that the mesh did not issue are refused, whatever they claim."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("certificate")
def test_certificate_is_short_lived(zt_mesh, check):
    """A workload's certificate is short-lived, renewed ahead of its end, and of the one root."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("other-ports")
def test_other_ports_are_not_open(zt_mesh, check):
    """No port beside the declared ones takes plaintext."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("enrolled")
def test_every_pod_is_in_the_mesh(zt_mesh, check):
    """Every pod of a meshed workload has a proxy, and nothing leads around it."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("authorization")
def test_wrong_identity_is_refused(zt_mesh, check):
    """A pod like an allowed caller, but with another service account, is refused by the mesh."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("declared-mode")
def test_port_does_what_is_declared(zt_mesh, check):
    """A port's mode of mutual TLS is the one that PeerAuthentications declare for it."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("forged-header")
def test_forged_identity_is_not_told(zt_mesh, check):
    """What a caller writes into x-forwarded-client-cert does not reach the application."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("mesh-call")
def test_allowed_call_works(zt_mesh, check):
    """An allowed call from inside the mesh is answered by the application."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("mesh-wire")
def test_call_within_the_mesh_is_unreadable_on_the_wire(zt_mesh, check):
    """A call within the mesh leaves its node as TLS, and its nonce nowhere in the clear."""
    zt_mesh.verify(check)


@pytest.mark.zt_each("wire")
def test_wire_between_nodes_is_encrypted(zt_mesh, check):
    """What pods say from node to node leaves no node in the clear."""
    zt_mesh.verify(check)
