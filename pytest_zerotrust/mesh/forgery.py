"""Client certificates that no mesh issued, made for one run, to be refused by every meshed port.

They claim what an attacker would: an identity of the mesh's own trust domain. Nobody but the mesh
can make an expired certificate of its own authority, so the expired one is of another authority.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

FOREIGN_DOMAIN = "foreign.example"
"""The trust domain of the certificate that comes from another one (RFC 2606: nobody's)."""

SELF_SIGNED = "self-signed"
EXPIRED = "expired"
FOREIGN = "of a foreign trust domain"
FORGED = "with a forged signature"

KINDS = (SELF_SIGNED, EXPIRED, FOREIGN, FORGED)
"""The names of the certificates that ``forge`` makes."""

_DAY = datetime.timedelta(days=1)
_OWN, _OTHER = "zerotrust attacker", "zerotrust other authority"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a certificate shall say: names, the SPIFFE identity (none: an authority), its end."""

    subject: str
    issuer: str
    identity: str
    expires: datetime.datetime


def forge(trust_domain: str, now: datetime.datetime) -> Mapping[str, str]:
    """Make one certificate of each of ``KINDS``; PEM, each with its chain and its private key.

    ``now`` is a time with a zone. The forged one names an authority called like the trust domain,
    as Istio's own is, but that authority never signed it.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    later, before = now + _DAY, now - _DAY
    claimed = f"spiffe://{trust_domain}/ns/default/sa/default"
    foreign = f"spiffe://{FOREIGN_DOMAIN}/ns/default/sa/default"

    def of_other(subject: str, identity: str, end: datetime.datetime) -> x509.Certificate:
        wish = _Wish(subject=subject, issuer=_OTHER, identity=identity, expires=end)
        return _sign(wish, key, root_key, now)

    own = _Wish(subject=_OWN, issuer=_OWN, identity=claimed, expires=later)
    stolen = _Wish(subject=_OWN, issuer=trust_domain, identity=claimed, expires=later)
    root = _sign(
        _Wish(subject=_OTHER, issuer=_OTHER, identity="", expires=later), root_key, root_key, now
    )
    return MappingProxyType(
        {
            SELF_SIGNED: _pem(key, _sign(own, key, key, now)),
            EXPIRED: _pem(key, of_other(_OWN, claimed, before), root),
            FOREIGN: _pem(key, of_other(_OWN, foreign, later), root),
            FORGED: _pem(key, _sign(stolen, key, root_key, now)),
        }
    )


def _sign(
    wish: _Wish,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(wish.subject))
        .issuer_name(named(wish.issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(wish.expires)
        .add_extension(x509.BasicConstraints(ca=not wish.identity, path_length=None), critical=True)
    )
    if wish.identity:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(wish.identity)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _pem(key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate) -> str:
    from cryptography.hazmat.primitives import serialization

    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    parts = [item.public_bytes(serialization.Encoding.PEM) for item in chain]
    return b"".join((*parts, secret)).decode()
