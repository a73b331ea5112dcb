"""Reads what a server's certificate says (X509-SVID: exactly one URI among its names)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from pytest_zerotrust.core.mesh import ServerCertificate


def read_certificate(pem: str) -> ServerCertificate | None:
    """Read a PEM certificate; None if it cannot be parsed."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        return ServerCertificate(
            names=_uris(certificate),
            issuer=certificate.issuer.rfc4514_string(),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            authority=_is_authority(certificate),
        )
    except ValueError:
        return None


def fingerprints(pem: str) -> frozenset[str]:
    """The SHA-256 fingerprints of the certificates in a bundle; empty if one cannot be parsed."""
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return frozenset()
    return frozenset(item.fingerprint(hashes.SHA256()).hex() for item in certificates)


def spiffe_names(pem: str) -> tuple[str, ...]:
    """Return all URI names of a PEM certificate; empty if it cannot be parsed or has none."""
    certificate = read_certificate(pem)
    return certificate.names if certificate is not None else ()


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(extension.value.get_values_for_type(x509.UniformResourceIdentifier))


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return bool(extension.value.ca)
