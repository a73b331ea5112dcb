"""From the raw reports of a snapshot to what one port answered, round by round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.mesh import PortEvidence, read_plain, read_tls
from pytest_zerotrust.mesh.certificates import read_certificate, spiffe_names
from pytest_zerotrust.mesh.engine import Snapshot, Target
from pytest_zerotrust.mesh.forgery import KINDS
from pytest_zerotrust.mesh.probes import MORE_PLAIN

_NOTHING: Mapping[str, Any] = {}


def port_evidence(snapshot: Snapshot, target: Target, port: Port) -> list[PortEvidence]:
    """What one port of one pod answered from one place, one item for each whole round."""
    fact = snapshot.facts.get(target.pod.uid)

    def reports(kind: str) -> tuple[Mapping[str, Any], ...]:
        found = snapshot.reports.get((kind, target.vantage.name, target.pod.ip, port), ())
        return found if kind.startswith("plain") else _patient(found)

    def report(kind: str, number: int) -> Mapping[str, Any]:
        found = reports(kind)
        return found[number] if number < len(found) else _NOTHING

    always = ("plain", *(f"plain {name}" for name in MORE_PLAIN), "tls", "tls-istio")
    rounds = min(len(reports(kind)) for kind in always)
    evidence = []
    for number in range(rounds):
        tls = report("tls", number)
        istio = report("tls-istio", number)
        shown = str(istio.get("certificate", ""))
        evidence.append(
            PortEvidence(
                plain=read_plain(report("plain", number)),
                tls=read_tls(tls),
                tls_istio=read_tls(istio),
                tls_verified=read_tls(report("tls-verified", number)),
                spiffe=spiffe_names(str(tls.get("certificate", ""))),
                spiffe_istio=spiffe_names(shown),
                version=str(tls.get("version", "")),
                cipher=str(tls.get("cipher", "")),
                more_plain={
                    name: read_plain(report(f"plain {name}", number)) for name in MORE_PLAIN
                },
                foreign={name: read_tls(report(f"forged {name}", number)) for name in KINDS},
                certificate=read_certificate(shown) if shown else None,
                unreadable=bool(shown) and read_certificate(shown) is None,
                sent=int(report("plain", number).get("sent", 0)),
                proxied=fact.proxied if fact is not None else True,
            )
        )
    return evidence


def _patient(reports: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    """Silence after a handshake counts as consent only if every round ends in it: a busy server
    may be late with its refusal once."""
    silent = [r.get("stage") == "exchange" and r.get("end") == "silent" for r in reports]
    if all(silent):
        return reports
    return tuple(_NOTHING if s else r for s, r in zip(silent, reports, strict=True))


def in_words(evidence: PortEvidence) -> str:
    """All that one round saw, on one line."""
    more = [f"{name} {plain.value}" for name, plain in evidence.more_plain.items()]
    words = [
        f"plaintext {evidence.plain.value} ({evidence.sent} bytes sent)",
        *more,
        f"TLS {evidence.tls.value}",
        f"with ALPN istio {evidence.tls_istio.value}",
        *(f"certificate {name}: {tls.value}" for name, tls in evidence.foreign.items()),
        f"identity {', '.join(evidence.spiffe) or 'none'} "
        f"{evidence.version} {evidence.cipher}".rstrip(),
    ]
    if evidence.certificate is not None:
        words.append(f"certificate of the server: {evidence.certificate}")
    return "; ".join(words)
