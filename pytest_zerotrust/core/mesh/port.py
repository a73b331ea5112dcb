"""The mode of mutual TLS of a port, concluded from all that was sent to it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.mesh.certificate import ServerCertificate
from pytest_zerotrust.core.mesh.signals import Plain, Tls


class PortMode(enum.Enum):
    """The conclusion about one port."""

    STRICT = "strict"
    """Its proxy resets plaintext, and demands a client certificate from everybody."""
    PERMISSIVE = "permissive"
    """Its proxy takes plaintext as well as mutual TLS."""
    DISABLED = "disabled"
    """The pod has a proxy, but on this port it takes plaintext only, or never sees it."""
    PASSED_ON = "pass-through of the application's own TLS"
    """The application's own certificate was shown: bytes of an outsider reach it."""
    NOT_MESHED = "not meshed"
    """The pod has no proxy, and the application itself answers."""
    MASKED = "masked by a network policy"
    APPLICATION_DOWN = "permissive or unknown, and the application is down"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PortEvidence:
    """What one port answered from one place, in one round.

    ``plain`` is the answer to what a client of the application would say, ``more_plain`` those to
    other protocols by name. ``tls`` is without a client certificate, ``tls_istio`` the same with
    the mesh's protocol name (ALPN), ``tls_verified`` with the server held against the mesh's root.
    ``foreign`` are handshakes with certificates that the mesh did not issue, by name.
    ``spiffe`` and ``spiffe_istio`` are the URI names of the certificates that were shown, and
    ``certificate`` is the whole of the second one; ``unreadable`` if it could not be parsed.
    ``sent`` is the number of bytes of plaintext that were sent before the answer. ``proxied`` tells
    whether the pod has a proxy of the mesh.
    """

    plain: Plain
    tls: Tls
    tls_istio: Tls
    tls_verified: Tls
    spiffe: tuple[str, ...] = ()
    spiffe_istio: tuple[str, ...] = ()
    version: str = ""
    cipher: str = ""
    more_plain: Mapping[str, Plain] = field(default_factory=dict)
    foreign: Mapping[str, Tls] = field(default_factory=dict)
    certificate: ServerCertificate | None = None
    unreadable: bool = False
    sent: int = 0
    proxied: bool = True

    @property
    def plains(self) -> tuple[Plain, ...]:
        """The answers to plaintext of every protocol."""
        return (self.plain, *self.more_plain.values())

    @property
    def verified_names(self) -> tuple[str, ...]:
        """The URI names of a server that the mesh's root vouches for; nothing of any other."""
        vouched = self.tls_verified is Tls.CERTIFICATE_REQUIRED
        return tuple(dict.fromkeys((*self.spiffe, *self.spiffe_istio))) if vouched else ()

    @property
    def shows_own_certificate(self) -> bool:
        """True if, without the mesh's protocol name, a certificate without identity was shown."""
        shown = self.tls in (Tls.ACCEPTED, Tls.CERTIFICATE_REQUIRED)
        return shown and not self.spiffe and self.tls_verified is Tls.UNVERIFIED


def classify(evidence: PortEvidence) -> PortMode:
    """Conclude the mode of a port from the probes of it.

    A server that was answered by a proxy with ALPN ``istio`` and by something else without it
    stands behind a permissive proxy: a strict one demands a certificate either way (measured, and
    istiod's filter chains say so).
    """
    demands = (Tls.CERTIFICATE_REQUIRED, Tls.HANDSHAKE_REFUSED)
    by_proxy = evidence.tls_istio is Tls.CERTIFICATE_REQUIRED
    if Plain.ANSWERED in evidence.plains:
        if by_proxy:
            return PortMode.PERMISSIVE
        return PortMode.DISABLED if evidence.proxied else PortMode.NOT_MESHED
    if Plain.DROPPED in evidence.plains or Tls.DROPPED is evidence.tls:
        return PortMode.MASKED
    if evidence.shows_own_certificate and (by_proxy and evidence.spiffe_istio):
        return PortMode.PASSED_ON
    if all(plain is Plain.RESET for plain in evidence.plains) and evidence.tls in demands:
        return PortMode.STRICT
    # Whatever became of the plaintext: it may have been refused behind the proxy, by its
    # authorization or because the application is down.
    asked_by_name = by_proxy and evidence.tls in (Tls.RESET, Tls.NOT_TLS)
    if asked_by_name and (evidence.spiffe_istio or Plain.SILENT in evidence.plains):
        return PortMode.PERMISSIVE
    reset = all(plain in (Plain.RESET, Plain.CLOSED) for plain in evidence.plains)
    refused = all(plain is Plain.REFUSED for plain in evidence.plains)
    if refused or (reset and evidence.tls is Tls.RESET):
        return PortMode.APPLICATION_DOWN
    return PortMode.UNKNOWN
