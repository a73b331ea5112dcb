"""From what one port answered to the verdicts of the controls on it. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pytest_zerotrust.core.mesh.certificate import judge_lifetime
from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.mesh.port import PortEvidence, PortMode, classify
from pytest_zerotrust.core.mesh.signals import Plain, Tls
from pytest_zerotrust.core.verdict import Verdict

_OPEN: Mapping[PortMode, str] = {
    PortMode.PERMISSIVE: "plaintext was ANSWERED, expected REFUSED",
    PortMode.DISABLED: "plaintext was ANSWERED, expected REFUSED",
    PortMode.NOT_MESHED: "plaintext was ANSWERED by a pod without a proxy, expected REFUSED",
    PortMode.PASSED_ON: "TLS of an outsider REACHED the application, expected REFUSED",
}
"""The modes in which an outsider gets through, and how the headline says so."""


def judge_plaintext(evidence: PortEvidence) -> Conclusion:
    """Is plaintext refused by a proxy that demands mutual TLS?"""
    mode = classify(evidence)
    if mode in _OPEN:
        return Conclusion(Verdict.VIOLATED, "", _open_text(evidence, mode))
    if mode is PortMode.STRICT and _refuser_is_of_the_mesh(evidence):
        return Conclusion(
            Verdict.HOLDS, "", "plaintext is reset by the proxy, which demands a certificate"
        )
    return _inconclusive(evidence, mode)


def shown_mode(evidence: PortEvidence) -> PortMode:
    """The mode of a port; a strict one only where the refuser is of the mesh."""
    mode = classify(evidence)
    unshown = mode is PortMode.STRICT and not _refuser_is_of_the_mesh(evidence)
    return PortMode.UNKNOWN if unshown else mode


def _open_text(evidence: PortEvidence, mode: PortMode) -> str:
    unanswered = mode is PortMode.PERMISSIVE and Plain.ANSWERED not in evidence.plains
    text = (
        "plaintext was TAKEN by its proxy, which demands a certificate from its own kind only, "
        "expected REFUSED"
    )
    return f"{text if unanswered else _OPEN[mode]} (mode {mode.value})"


def _refuser_is_of_the_mesh(evidence: PortEvidence) -> bool:
    """True if the refuser shows one SPIFFE identity that chains to the mesh's own root.

    An application may demand client certificates as well; its certificate is not of the mesh.
    """
    return (
        evidence.tls is Tls.CERTIFICATE_REQUIRED
        and evidence.tls_verified is Tls.CERTIFICATE_REQUIRED
        and len(evidence.spiffe) == 1
        and evidence.spiffe[0].startswith("spiffe://")
    )


def judge_identity(evidence: PortEvidence, expected: str) -> Conclusion:
    """Does the port demand a client certificate, and prove ``expected`` (a SPIFFE URI)?"""
    mode = classify(evidence)
    if evidence.tls is Tls.ACCEPTED:
        return Conclusion(Verdict.VIOLATED, "", "TLS was ACCEPTED without a client certificate")
    if mode in _OPEN:
        return Conclusion(
            Verdict.VIOLATED,
            "",
            f"no client certificate is DEMANDED: {_open_text(evidence, mode)}",
        )
    if evidence.tls is not Tls.CERTIFICATE_REQUIRED:
        return _inconclusive(evidence, mode)
    if evidence.spiffe != (expected,):
        seen = ", ".join(evidence.spiffe) or "no SPIFFE identity"
        return Conclusion(
            Verdict.VIOLATED, "", f"the server shows {seen}, expected exactly {expected}"
        )
    if evidence.tls_verified is Tls.UNVERIFIED:
        return Conclusion(
            Verdict.VIOLATED, "", "the server's certificate does NOT CHAIN to the mesh root"
        )
    if evidence.tls_verified is not Tls.CERTIFICATE_REQUIRED:
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "chain-not-verified",
            f"the chain to the mesh root was not shown ({evidence.tls_verified.value})",
        )
    return Conclusion(
        Verdict.HOLDS, "", f"a certificate is demanded, and the server proves {expected}"
    )


def judge_foreign(evidence: PortEvidence) -> Conclusion:
    """Are certificates that the mesh did not issue refused, by a server that demands one of it?

    The demand is the control: the same handshake without a certificate is refused as well, by a
    server of the mesh. So what is refused here is the certificate, and nothing else.
    """
    mode = classify(evidence)
    accepted = [name for name, tls in evidence.foreign.items() if tls is Tls.ACCEPTED]
    if accepted:
        return Conclusion(
            Verdict.VIOLATED,
            "",
            f"a certificate that the mesh did not issue was ACCEPTED: {', '.join(accepted)}",
        )
    if mode in _OPEN:
        return Conclusion(
            Verdict.VIOLATED, "", f"no certificate is DEMANDED: {_open_text(evidence, mode)}"
        )
    if not _refuser_is_of_the_mesh(evidence):
        return _inconclusive(evidence, mode)
    unclear = {n: t for n, t in evidence.foreign.items() if t is not Tls.CERTIFICATE_REFUSED}
    if unclear or not evidence.foreign:
        said = "; ".join(f"{name}: {tls.value}" for name, tls in unclear.items())
        return Conclusion(
            Verdict.INCONCLUSIVE,
            "refusal-not-told",
            f"it was not told that the certificate is why ({said or 'none was shown'})",
        )
    return Conclusion(
        Verdict.HOLDS, "", f"foreign certificates are refused: {', '.join(evidence.foreign)}"
    )


def judge_certificate(
    evidence: PortEvidence, now: datetime.datetime, longest: datetime.timedelta
) -> Conclusion:
    """Is the certificate that the mesh's proxy shows valid, short-lived and renewed in time?

    A permissive proxy shows it as well, to those who ask for the mesh's protocol.
    """
    if evidence.unreadable:
        return Conclusion(
            Verdict.INCONCLUSIVE, "certificate-unreadable", "its certificate cannot be parsed"
        )
    # A strict proxy's certificate is held against the mesh's root. A permissive one shows it only
    # to those who speak the mesh's protocol.
    vouched = (
        evidence.tls_verified is Tls.CERTIFICATE_REQUIRED
        or classify(evidence) is PortMode.PERMISSIVE
    )
    named = any(name.startswith("spiffe://") for name in evidence.spiffe_istio)
    of_mesh = (
        named and evidence.proxied and vouched and evidence.tls_istio is Tls.CERTIFICATE_REQUIRED
    )
    if evidence.certificate is None or not of_mesh:
        return _inconclusive(evidence, classify(evidence))
    return judge_lifetime(evidence.certificate, now, longest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """Whether the application behind a port was shown to answer inside the mesh, and by what."""

    shown: bool
    text: str


def with_application(conclusion: Conclusion, alive: Alive) -> Conclusion:
    """A refusal holds only in front of an application that answers those who may ask."""
    if conclusion.verdict is not Verdict.HOLDS or alive.shown:
        return conclusion
    return replace(
        conclusion,
        verdict=Verdict.INCONCLUSIVE,
        reason="application-not-shown",
        text=f"{conclusion.text}, but nothing shows an application behind it: {alive.text}",
    )


_WHY = {
    PortMode.PERMISSIVE: ("not-strict", "the port is permissive"),
    PortMode.DISABLED: ("not-strict", "the port takes plaintext only"),
    PortMode.NOT_MESHED: ("not-strict", "the pod has no proxy"),
    PortMode.PASSED_ON: ("not-strict", "the application's own TLS is passed through"),
    PortMode.MASKED: ("masked", "a network policy drops the attempt before the mesh can answer"),
    PortMode.APPLICATION_DOWN: (
        "application-down",
        "everything is reset or refused, as by a permissive port whose application is down",
    ),
    PortMode.STRICT: (
        "refuser-not-identified",
        "the refuser did not identify itself by a certificate demand and a SPIFFE identity",
    ),
    PortMode.UNKNOWN: ("unknown", "the answers fit no known mode"),
}


def _inconclusive(evidence: PortEvidence, mode: PortMode) -> Conclusion:
    reason, why = _WHY[mode]
    return Conclusion(
        Verdict.INCONCLUSIVE,
        reason,
        f"{why} (plaintext: {evidence.plain.value}; TLS: {evidence.tls.value})",
    )
