"""Reads the SPIFFE names out of a certificate (X509-SVID: exactly one URI in the SAN)."""

from __future__ import annotations


def spiffe_names(pem: str) -> tuple[str, ...]:
    """Return all URI names of a PEM certificate; empty if it cannot be parsed or has none."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        return ()
    return tuple(extension.value.get_values_for_type(x509.UniformResourceIdentifier))
