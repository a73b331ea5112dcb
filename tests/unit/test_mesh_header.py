"""Whether an application is told a forged identity of its caller."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509

from pytest_zerotrust.cluster.discovery import LiveService, LiveWorkload
from pytest_zerotrust.core.mesh import Forgery, Told, judge_forwarded, told_by
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.mesh.checks import HeaderCheck, header_checks
from pytest_zerotrust.mesh.engine import MeshEngine
from pytest_zerotrust.mesh.judge_header import judge_header
from pytest_zerotrust.mesh.probes import forged_request
from tests.fakes.mesh import CUT, DENIED, MeshFleet, http, pod_item
from tests.fakes.servers import authority

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
GENUINE, FORGED = "spiffe://d/ns/web/sa/api", "spiffe://d/ns/web/sa/zerotrust-1"


def told(body: str, status: str = "200 OK") -> Told:
    return told_by(http(status, body), nonce="1-nonce", forged=FORGED, genuine=GENUINE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"1-nonce By=spiffe://d/ns/web/sa/x;URI={GENUINE}", Told.GENUINE),
        (f'{{"nonce": "1-nonce", "xfcc": "URI={GENUINE}"}}'.replace("/", "\\/"), Told.GENUINE),
        ("1-nonce", Told.NOBODY),
        # Another one that begins like it.
        (f"1-nonce URI={GENUINE}-gateway", Told.NOBODY),
        # The server's own, which may be the same.
        (f"1-nonce By={GENUINE};Hash=1", Told.NOBODY),
        (f"URI={GENUINE}", Told.NOT_SHOWN),
        (f"1-nonce URI={FORGED},By=x;URI={GENUINE}", Told.FORGED),
        (FORGED.replace("/", "\\/"), Told.FORGED),
    ],
)
def test_what_an_answer_shows(body, expected):
    assert told(body) is expected


@pytest.mark.parametrize("report", [DENIED, CUT, {"stage": "connect", "end": "timeout"}, {}])
def test_what_is_no_answer_of_the_application_shows_nothing(report):
    words = {"nonce": "1-nonce", "forged": FORGED, "genuine": GENUINE}
    assert told_by(report, **words) is Told.NOT_ANSWERED


def judged(*inside: Told, outside: tuple[Told, ...] = ()) -> Any:
    return judge_forwarded(Forgery(inside=inside, outside=outside, genuine=GENUINE, forged=FORGED))


@pytest.mark.parametrize(
    ("inside", "outside", "verdict", "reason"),
    [
        ([Told.GENUINE] * 3, [Told.NOT_ANSWERED] * 3, HOLDS, ""),
        ([Told.GENUINE] * 3, [Told.NOBODY] * 3, HOLDS, ""),
        # The first call may meet a proxy that is not ready yet, but never excuses a forgery.
        ([Told.NOT_ANSWERED, Told.GENUINE, Told.GENUINE], [], HOLDS, ""),
        ([Told.FORGED, Told.GENUINE, Told.GENUINE], [], VIOLATED, ""),
        ([Told.GENUINE, Told.GENUINE, Told.FORGED], [], VIOLATED, ""),
        ([Told.GENUINE] * 3, [Told.NOT_ANSWERED, Told.FORGED], VIOLATED, ""),
        ([Told.NOBODY] * 3, [], INCONCLUSIVE, "identity-not-shown"),
        ([Told.NOT_SHOWN] * 3, [], INCONCLUSIVE, "headers-not-shown"),
        ([Told.GENUINE, Told.GENUINE, Told.NOT_ANSWERED], [], INCONCLUSIVE, "caller-not-answered"),
        ([Told.GENUINE], [], INCONCLUSIVE, "caller-not-answered"),
        ([], [], INCONCLUSIVE, "caller-not-answered"),
    ],
)
def test_one_forgery_is_a_violation_and_only_the_truth_holds(inside, outside, verdict, reason):
    found = judged(*inside, outside=tuple(outside))
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_request_carries_a_claim_and_a_nonce():
    request = forged_request("shop:80", "/headers", identity=FORGED, nonce="1-nonce")
    assert request.startswith("GET /headers HTTP/1.1\r\nHost: shop:80\r\n")
    assert request.endswith("\r\n\r\n")
    assert f";URI={FORGED}\r\n" in request
    assert "X-Zerotrust-Nonce: 1-nonce\r\n" in request


# -- from an intent to a verdict

TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, meshed: true}
  batch: {namespace: web, labels: {app: batch}}
  payments:
    {namespace: web, labels: {app: payments}, ports: [{port: 8080, echo: /h}, 9090], meshed: true}
flows: [gateway -> payments:8080, gateway -> payments:9090, batch -> payments:8080]
mesh: {trustDomain: lab.local}
"""


@pytest.fixture
def scene(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[MeshEngine, MeshFleet]:
    monkeypatch.setattr("pytest_zerotrust.mesh.rounds.SETTLE", 0.0)
    root = authority(tmp_path, "root")
    name = x509.UniformResourceIdentifier("spiffe://lab.local/ns/web/sa/payments")
    file, _ = root.issue("payments", name)
    with open(file, encoding="ascii") as text:
        pem = text.read()
    items = [pod_item(app, f"10.0.9.{i}") for i, app in enumerate(("gateway", "batch", "payments"))]
    fleet = MeshFleet(items, pem, root.pem)
    intent = intent_from_text(TEXT, "zero.yaml")

    def live(key: str) -> LiveWorkload:
        ports = {8080: 80, 9090: 90}
        service = LiveService(name=key, ip="10.96.9.9", ports=ports, names={8080: "http"})
        return LiveWorkload(
            key=key, labels={"app": key}, service_account=key, annotations={}, nodes=("node-1",),
            port_names={}, adopter="", service=service,
        )  # fmt: skip

    engine = MeshEngine(fleet, intent, {key: live(key) for key in intent.workloads})  # type: ignore[arg-type]
    return engine, fleet


def verdict(engine: MeshEngine) -> Result:
    (check,) = header_checks(engine.intent)
    return judge_header(engine, engine.snapshot(check, []), check)


def repeating(request: str) -> Any:
    """The answer of an application that is given all that the caller wrote."""
    return http("200 OK", request)


def test_only_ports_with_an_echo_are_asked_and_only_by_callers_within_the_mesh(scene):
    engine, _ = scene
    (check,) = header_checks(engine.intent)
    assert check.id == "ZT-MSH-010-gateway->payments:8080/tcp"
    assert engine.plan([check]) == [engine.meshed_twin("gateway")]


def test_sound_proxies_tell_the_caller_s_own_identity(scene):
    result = verdict(scene[0])
    assert result.verdict is HOLDS, result
    assert "spiffe://lab.local/ns/web/sa/gateway" in result.headline
    assert "in plaintext to payments-1: not answered by the application" in result.observed


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_what_reaches_the_application_is_a_violation(scene, where):
    engine, fleet = scene
    fleet.answers["header", where] = repeating
    result = verdict(engine)
    assert result.verdict is VIOLATED
    assert f"a caller {where} the mesh wrote spiffe://lab.local/ns/web/sa/zerotrust-" in (
        result.headline
    )
    assert result.remedy


def test_pods_that_went_away_prove_nothing(scene):
    engine, fleet = scene
    ask = fleet.ask_all

    def asked(requests: Any) -> Any:
        fleet.items = [i for i in fleet.items if i["metadata"]["name"] != "payments-1"]
        return ask(requests)

    fleet.ask_all = asked
    result = verdict(engine)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "pods-changed")


def test_a_port_without_a_service_cannot_be_called(scene):
    engine, _ = scene
    (known,) = header_checks(engine.intent)
    object.__setattr__(engine.live["payments"], "service", None)
    result = judge_header(engine, engine.snapshot(known, []), known)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "probe-not-available")


@pytest.mark.parametrize("path", ["headers", "/with space", "/line\\nbreak", ""])
def test_an_echo_that_is_no_path_is_refused(path):
    with pytest.raises(IntentProblem, match="a path begins with a slash"):
        intent_from_text(TEXT.replace("/h}", f'"{path}"}}'), "zero.yaml")


def test_a_check_names_its_flow():
    intent = intent_from_text(TEXT, "zero.yaml")
    assert HeaderCheck(flow=intent.flows[0]).subject == "gateway->payments:8080/tcp"
