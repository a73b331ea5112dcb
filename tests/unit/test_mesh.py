"""A port is STRICT only if its refuser says who it is; every look-alike stays inconclusive."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pytest_zerotrust.core.mesh import (
    Plain,
    PortEvidence,
    PortMode,
    Tls,
    classify,
    judge_identity,
    judge_plaintext,
    read_plain,
    read_tls,
)
from pytest_zerotrust.core.verdict import Verdict

EXPECTED = "spiffe://cluster.local/ns/production/sa/payments"
HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE


def plain(end: str, stage: str = "exchange", sent: int = 60, data: str = "") -> dict[str, Any]:
    return {"stage": stage, "end": end, "sent": sent, "data": data}


def tls(end: str, stage: str = "exchange", alert: str = "") -> dict[str, Any]:
    return {"stage": stage, "end": end, "alert": alert}


ANSWER = plain("complete", data="HTTP/1.1 200 OK\r\n")
RESET, CLOSED, SILENT = plain("reset"), plain("closed"), plain("silent")
SHORT = plain("silent", sent=4)
DROPPED, REFUSED = plain("timeout", "connect", 0), plain("refused", "connect", 0)

DEMAND = tls("alert", alert="TLSV13_ALERT_CERTIFICATE_REQUIRED")
REFUSE_12 = tls("alert", "handshake", "SSLV3_ALERT_HANDSHAKE_FAILURE")
TLS_RESET = tls("reset", "handshake")
TLS_EOF = tls("alert", "handshake", "UNEXPECTED_EOF_WHILE_READING")
NOT_TLS = tls("alert", "handshake", "WRONG_VERSION_NUMBER")
UNVERIFIED = tls("unverified", "handshake")
ACCEPTED, ACCEPTED_DATA = tls("silent"), tls("data")
LOST_ALERT = tls("closed")
TLS_HANGS = tls("silent", "handshake")
TLS_DROPPED, TLS_REFUSED = tls("timeout", "connect"), tls("refused", "connect")

# situation: plaintext, TLS, TLS with ALPN istio, TLS verified, URI names, verdicts on both controls
SITUATIONS: dict[str, tuple[Any, ...]] = {
    "strict": (RESET, DEMAND, DEMAND, DEMAND, (EXPECTED,), HOLDS, HOLDS),
    "permissive http": (ANSWER, TLS_RESET, DEMAND, TLS_RESET, (), VIOLATED, VIOLATED),
    "permissive tcp": (ANSWER, NOT_TLS, DEMAND, NOT_TLS, (), VIOLATED, VIOLATED),
    "permissive http, application down": (
        *(RESET, TLS_RESET, DEMAND, TLS_RESET, ()),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "permissive, application down, end of file instead of reset": (
        *(CLOSED, TLS_EOF, DEMAND, TLS_EOF, ()),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "permissive, the application itself demands certificates": (
        *(RESET, DEMAND, DEMAND, UNVERIFIED, ()),
        *(INCONCLUSIVE, VIOLATED),
    ),
    "disable": (ANSWER, TLS_RESET, TLS_RESET, TLS_RESET, (), VIOLATED, VIOLATED),
    "disable, application down": (
        *(RESET, TLS_RESET, TLS_RESET, TLS_RESET, ()),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "no sidecar": (ANSWER, NOT_TLS, NOT_TLS, NOT_TLS, (), VIOLATED, VIOLATED),
    "no sidecar, application down": (
        *(REFUSED, TLS_REFUSED, TLS_REFUSED, TLS_REFUSED, ()),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "no sidecar, the application speaks TLS": (
        *(RESET, ACCEPTED, ACCEPTED, UNVERIFIED, ()),
        *(INCONCLUSIVE, VIOLATED),
    ),
    "no sidecar, the application speaks TLS and greets": (
        *(CLOSED, ACCEPTED_DATA, ACCEPTED_DATA, UNVERIFIED, ()),
        *(INCONCLUSIVE, VIOLATED),
    ),
    "everything dropped": (
        *(DROPPED, TLS_DROPPED, TLS_DROPPED, TLS_DROPPED, ()),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "only plaintext dropped": (DROPPED, DEMAND, DEMAND, DEMAND, (), INCONCLUSIVE, VIOLATED),
    "silence": (SILENT, DEMAND, DEMAND, DEMAND, (EXPECTED,), INCONCLUSIVE, HOLDS),
    "short payload": (SHORT, DEMAND, DEMAND, DEMAND, (EXPECTED,), INCONCLUSIVE, HOLDS),
    "server speaks first, all hang": (
        *(SILENT, TLS_HANGS, TLS_HANGS, TLS_HANGS, ()),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "strict with TLS 1.2 alone": (
        *(RESET, REFUSE_12, REFUSE_12, REFUSE_12, (EXPECTED,)),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "strict, the alert was lost": (
        *(RESET, LOST_ALERT, LOST_ALERT, LOST_ALERT, (EXPECTED,)),
        *(INCONCLUSIVE, INCONCLUSIVE),
    ),
    "strict, no identity in the certificate": (
        *(RESET, DEMAND, DEMAND, DEMAND, ()),
        *(INCONCLUSIVE, VIOLATED),
    ),
    "strict, another identity": (
        *(RESET, DEMAND, DEMAND, DEMAND, ("spiffe://cluster.local/ns/x/sa/y",)),
        *(HOLDS, VIOLATED),
    ),
    "strict, two identities": (
        *(RESET, DEMAND, DEMAND, DEMAND, (EXPECTED, "spiffe://cluster.local/ns/x/sa/y")),
        *(INCONCLUSIVE, VIOLATED),
    ),
    "strict, foreign root": (
        *(RESET, DEMAND, DEMAND, UNVERIFIED, (EXPECTED,)),
        *(INCONCLUSIVE, VIOLATED),
    ),
    "strict, root not known": (RESET, DEMAND, DEMAND, {}, (EXPECTED,), INCONCLUSIVE, INCONCLUSIVE),
    "permissive, its authorization closes": (
        *(CLOSED, TLS_EOF, DEMAND, TLS_EOF, ()),
        *(VIOLATED, VIOLATED),
    ),
    "ambient": (CLOSED, TLS_RESET, TLS_RESET, TLS_RESET, (), INCONCLUSIVE, INCONCLUSIVE),
    "agent of another version": ({}, {}, {}, {}, (EXPECTED,), INCONCLUSIVE, INCONCLUSIVE),
}


def evidence(situation: str) -> PortEvidence:
    first, second, third, fourth, names, _, _ = SITUATIONS[situation]
    return PortEvidence(
        plain=read_plain(first),
        tls=read_tls(second),
        tls_istio=read_tls(third),
        tls_verified=read_tls(fourth),
        spiffe=names,
        proxied="no sidecar" not in situation,
        # The permissive proxy shows who it is to those who ask for the mesh's protocol.
        spiffe_istio=(EXPECTED,) if "authorization" in situation else (),
    )


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_has_its_verdict_on_plaintext(situation):
    conclusion = judge_plaintext(evidence(situation))
    assert conclusion.verdict is SITUATIONS[situation][5], conclusion.text
    assert bool(conclusion.reason) is (conclusion.verdict is INCONCLUSIVE)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_has_its_verdict_on_identity(situation):
    conclusion = judge_identity(evidence(situation), EXPECTED)
    assert conclusion.verdict is SITUATIONS[situation][6], conclusion.text
    assert bool(conclusion.reason) is (conclusion.verdict is INCONCLUSIVE)


@pytest.mark.parametrize(
    ("situation", "mode"),
    [
        ("strict", PortMode.STRICT),
        ("permissive http", PortMode.PERMISSIVE),
        ("permissive tcp", PortMode.PERMISSIVE),
        ("permissive http, application down", PortMode.APPLICATION_DOWN),
        ("disable", PortMode.DISABLED),
        ("disable, application down", PortMode.APPLICATION_DOWN),
        ("no sidecar", PortMode.NOT_MESHED),
        ("no sidecar, application down", PortMode.APPLICATION_DOWN),
        ("everything dropped", PortMode.MASKED),
        ("silence", PortMode.UNKNOWN),
        ("short payload", PortMode.UNKNOWN),
    ],
)
def test_each_situation_is_recognised_as_a_mode_of_the_port(situation, mode):
    assert classify(evidence(situation)) is mode


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        ("everything dropped", "masked"),
        ("permissive http, application down", "application-down"),
        ("strict with TLS 1.2 alone", "refuser-not-identified"),
        ("silence", "unknown"),
    ],
)
def test_an_inconclusive_plaintext_attack_says_why_in_a_word(situation, reason):
    assert judge_plaintext(evidence(situation)).reason == reason


def every_evidence() -> list[PortEvidence]:
    names = ((), (EXPECTED,), ("spiffe://other/x",), (EXPECTED, "spiffe://other/x"))
    return [
        PortEvidence(plain=p, tls=t, tls_istio=i, tls_verified=v, spiffe=s)
        for p, t, i, v, s in itertools.product(Plain, Tls, Tls, Tls, names)
    ]


def test_plaintext_holds_with_a_reset_and_a_demand_of_the_mesh_and_never_otherwise():
    for e in every_evidence():
        verdict = judge_plaintext(e).verdict
        demanded = e.tls is Tls.CERTIFICATE_REQUIRED and e.tls_verified is Tls.CERTIFICATE_REQUIRED
        whole = e.plain is Plain.RESET and demanded and len(e.spiffe) == 1
        assert (verdict is HOLDS) is whole, e
        # A proxy that demands a certificate from its own kind only, and lets plaintext through to
        # an application that says nothing.
        by_name_only = e.tls_istio is Tls.CERTIFICATE_REQUIRED and e.tls in (Tls.RESET, Tls.NOT_TLS)
        mute = e.plain is Plain.SILENT and by_name_only
        assert (verdict is VIOLATED) is (e.plain is Plain.ANSWERED or mute), e


def test_identity_holds_with_a_demand_the_exact_name_and_its_chain_and_never_otherwise():
    for e in every_evidence():
        verdict = judge_identity(e, EXPECTED).verdict
        demanded = e.tls is Tls.CERTIFICATE_REQUIRED and e.tls_verified is Tls.CERTIFICATE_REQUIRED
        whole = demanded and e.spiffe == (EXPECTED,) and e.plain is not Plain.ANSWERED
        assert (verdict is HOLDS) is whole, e


@pytest.mark.parametrize(
    "name",
    [
        "https://payments.example.com/",
        "spiffe:cluster.local/ns/a/sa/b",
        "SPIFFE",
        " spiffe://x/y",
        "urn:spiffe://x/y",
        "",
    ],
)
def test_a_certificate_with_another_kind_of_name_does_not_identify_the_mesh(name):
    e = PortEvidence(
        plain=Plain.RESET,
        tls=Tls.CERTIFICATE_REQUIRED,
        tls_istio=Tls.CERTIFICATE_REQUIRED,
        tls_verified=Tls.CERTIFICATE_REQUIRED,
        spiffe=(name,),
    )
    assert judge_plaintext(e).verdict is INCONCLUSIVE
    assert judge_identity(e, EXPECTED).verdict is VIOLATED


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (plain("reset", sent=0), Plain.RESET),
        (plain("silent", sent=5), Plain.SILENT),
        (plain("silent", sent=4), Plain.FAILED),
        (plain("closed", sent=0), Plain.FAILED),
        (plain("limit", data="x" * 4096), Plain.ANSWERED),
        (plain("silent", sent=4, data="hello"), Plain.ANSWERED),
        (plain("reset", data="half an ans"), Plain.ANSWERED),
        (plain("reset", "connect", 0), Plain.FAILED),
        (plain("unreachable", "connect", 0), Plain.FAILED),
        (plain("failed"), Plain.FAILED),
        (plain("reset", "none"), Plain.FAILED),
    ],
)
def test_plaintext_reports_are_read_as_they_are(raw, expected):
    assert read_plain(raw) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (tls("alert", alert="TLSV1_ALERT_UNKNOWN_CA"), Tls.CERTIFICATE_REFUSED),
        (tls("alert", alert="TLSV1_ALERT_DECRYPT_ERROR"), Tls.CERTIFICATE_REFUSED),
        (tls("alert", alert="SSLV3_ALERT_CERTIFICATE_EXPIRED"), Tls.CERTIFICATE_REFUSED),
        (tls("alert", alert="SSLV3_ALERT_CERTIFICATE_UNKNOWN"), Tls.CERTIFICATE_REFUSED),
        (tls("alert", alert="SSLV3_ALERT_UNEXPECTED_MESSAGE"), Tls.FAILED),
        (tls("alert", "handshake", "TLSV1_ALERT_PROTOCOL_VERSION"), Tls.FAILED),
        (tls("alert", "handshake", "RECORD_LAYER_FAILURE"), Tls.NOT_TLS),
        (tls("alert", "handshake", "PACKET_LENGTH_TOO_LONG"), Tls.NOT_TLS),
        (tls("alert", "handshake", ""), Tls.FAILED),
        (tls("reset"), Tls.RESET),
        (tls("unreachable", "connect"), Tls.FAILED),
        (tls("failed", "handshake"), Tls.FAILED),
        (tls("data", "handshake"), Tls.FAILED),
        (tls("closed", "handshake"), Tls.FAILED),
        (tls("complete"), Tls.FAILED),
    ],
)
def test_tls_reports_are_read_as_they_are(raw, expected):
    assert read_tls(raw) is expected
