"""What the certificate of a meshed port must be: short-lived, renewed ahead of its end, of the
one root that all workloads agree on. Pure.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.verdict import Verdict

RENEWED_BY = 0.2
"""The part of its lifetime that a certificate must still have. Istio renews at half of it
(``SECRET_GRACE_PERIOD_RATIO`` 0.5); what has less than a fifth left was not renewed."""

CLOCKS = datetime.timedelta(minutes=5)
"""By how much clocks may differ. Istio itself dates certificates two minutes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """What a certificate says: its URI names, issuer (RFC 4514), serial number (hex), first and
    last moment, and whether it may sign others."""

    names: tuple[str, ...]
    issuer: str
    serial: str
    not_before: datetime.datetime
    not_after: datetime.datetime
    authority: bool

    @property
    def lifetime(self) -> datetime.timedelta:
        """From its first to its last moment."""
        return self.not_after - self.not_before

    def __str__(self) -> str:
        hours = self.lifetime.total_seconds() / 3600
        names = ", ".join(self.names) or "no SPIFFE identity"
        return (
            f"{names}, issued by {self.issuer}, serial {self.serial}, "
            f"for {hours:g} h until {self.not_after:%Y-%m-%dT%H:%M:%SZ}"
        )


def judge_lifetime(
    certificate: ServerCertificate, now: datetime.datetime, longest: datetime.timedelta
) -> Conclusion:
    """Is a certificate valid now, no longer than ``longest``, and renewed ahead of its end?"""
    problem = _problem(certificate, now, longest)
    if problem:
        return Conclusion(Verdict.VIOLATED, "", problem)
    left = certificate.not_after - now
    return Conclusion(
        Verdict.HOLDS,
        "",
        f"its certificate lives {_hours(certificate.lifetime)} and has {_hours(left)} left",
    )


def _problem(
    certificate: ServerCertificate, now: datetime.datetime, longest: datetime.timedelta
) -> str:
    left = certificate.not_after - now
    if left < -CLOCKS:
        return f"its certificate EXPIRED {_hours(-left)} ago"
    if certificate.not_before > now + CLOCKS:
        return f"its certificate is NOT YET VALID, only in {_hours(certificate.not_before - now)}"
    if certificate.authority:
        return "its certificate is one of an AUTHORITY, and could sign others"
    if certificate.lifetime > longest + 2 * CLOCKS:
        return (
            f"its certificate LIVES {_hours(certificate.lifetime)}, longer than {_hours(longest)}"
        )
    if left < certificate.lifetime * RENEWED_BY:
        return (
            f"its certificate was NOT RENEWED in time: {_hours(left)} are left of "
            f"{_hours(certificate.lifetime)}"
        )
    return ""


def judge_roots(roots: Iterable[frozenset[str]]) -> str:
    """What keeps namespaces from agreeing on the mesh's root certificates, or nothing.

    ``roots`` are the fingerprints that each namespace trusts.
    """
    seen = set(roots)
    if not seen or frozenset() in seen:
        return "the mesh's root certificates of a namespace could not be read"
    common = frozenset.intersection(*seen)
    return "" if common else "the namespaces trust different root certificates"


def _hours(span: datetime.timedelta) -> str:
    return f"{span.total_seconds() / 3600:.1f} h"
