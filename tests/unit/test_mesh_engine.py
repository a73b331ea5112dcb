"""From an intent to verdicts over a pretended mesh: one batch for all checks, and none for more."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509

from pytest_zerotrust.cluster.discovery import LiveService, LiveWorkload
from pytest_zerotrust.core.intent import Intent, Port, Workload
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive, IntentProblem
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.mesh.checks import (
    Check,
    EnrolCheck,
    PortCheck,
    SweepCheck,
    call_checks,
    calls_to,
    enrol_checks,
    impostor_checks,
    port_checks,
    sweep_checks,
)
from pytest_zerotrust.mesh.custom import PortAnswer, about_port, answered, refused
from pytest_zerotrust.mesh.engine import MeshEngine
from pytest_zerotrust.mesh.judge import judge_port
from pytest_zerotrust.mesh.judge_call import judge_call
from pytest_zerotrust.mesh.judge_impostor import judge_impostor
from pytest_zerotrust.mesh.judge_pods import judge_enrol, judge_other_ports
from tests.fakes.mesh import ANSWER, CUT, DENIED, OK, TLS_RESET, MeshFleet, pod_item
from tests.fakes.servers import authority

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, meshed: true}
  batch: {namespace: web, labels: {app: batch}, meshed: true}
  payments: {namespace: web, labels: {app: payments}, ports: [8080], meshed: true}
flows: [gateway -> payments:8080]
mesh: {trustDomain: lab.local, authorization: true, maxCertificateHours: 25}
"""
PORT = Port(8080)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The certificate of payments, and the root of the mesh."""
    root = authority(tmp_path_factory.mktemp("mesh"), "root")
    name = x509.UniformResourceIdentifier("spiffe://lab.local/ns/web/sa/payments")
    file, _ = root.issue("payments", name)
    with open(file, encoding="ascii") as text:
        return text.read(), root.pem


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the pretended mesh ever changes by itself, so nothing is waited for."""
    monkeypatch.setattr("pytest_zerotrust.mesh.rounds.SETTLE", 0.0)


class Scene:
    """An engine over a pretended mesh."""

    def __init__(self, pem: tuple[str, str], text: str = TEXT, **proxied: bool) -> None:
        self.intent: Intent = intent_from_text(text, "zero.yaml")
        apps = ("gateway", "batch", "payments")
        items = [
            pod_item(app, f"10.0.9.{i}", proxied=proxied.get(app, True))
            for i, app in enumerate(apps)
        ]
        self.fleet = MeshFleet(items, *pem)
        live = {key: self.live(key) for key in self.intent.workloads}
        self.engine: Any = MeshEngine(self.fleet, self.intent, live)  # type: ignore[arg-type]

    @staticmethod
    def live(key: str) -> LiveWorkload:
        service = LiveService(name=key, ip="10.96.9.9", ports={8080: 80}, names={8080: "http"})
        return LiveWorkload(
            key=key, labels={"app": key}, service_account=key, annotations={}, nodes=("node-1",),
            port_names={}, adopter="", service=service,
        )  # fmt: skip

    def checks(self) -> list[Check]:
        kinds = ("ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004", "ZT-MSH-007", "ZT-MSH-009")
        return [
            *(check for control in kinds for check in port_checks(self.intent, control)),
            *call_checks(self.intent),
            # batch and gateway have no port, and no place from which to attack them.
            *(c for c in sweep_checks(self.intent) if c.workload == "payments"),
            *impostor_checks(self.intent),
        ]

    def verdicts(self) -> dict[str, Verdict]:
        return {check.id: self.verdict(check).verdict for check in self.checks()}

    def verdict(self, check: Check) -> Result:
        snapshot = self.engine.snapshot(check, self.checks())
        if isinstance(check, PortCheck):
            return judge_port(self.engine, snapshot, check)
        if isinstance(check, SweepCheck):
            return judge_other_ports(self.engine, snapshot, check)
        if check.control == "ZT-MSH-008":
            return judge_impostor(self.engine, snapshot, check)  # type: ignore[arg-type]
        return judge_call(self.engine, snapshot, check, network)  # type: ignore[arg-type]


def network() -> Result:
    return Result(control="ZT-NET-003", subject="s", verdict=HOLDS, headline="the network")


WHOLE = {
    "ZT-MSH-001-payments:8080/tcp": HOLDS,
    "ZT-MSH-002-payments:8080/tcp": HOLDS,
    "ZT-MSH-003-gateway->payments:8080/tcp": HOLDS,
    "ZT-MSH-004-payments:8080/tcp": HOLDS,
    "ZT-MSH-005-payments": HOLDS,
    "ZT-MSH-007-payments:8080/tcp": HOLDS,
    "ZT-MSH-008-gateway->payments:8080/tcp": HOLDS,
    "ZT-MSH-009-payments:8080/tcp": HOLDS,
}


@pytest.fixture
def scene(pem: tuple[str, str]) -> Scene:
    made = Scene(pem)
    made.fleet.answers["call", ("gateway", "default")] = DENIED
    return made


def test_a_sound_mesh_holds_and_is_observed_once(scene):
    assert scene.verdicts() == WHOLE
    requests = len(scene.fleet.execs)
    assert scene.verdicts() == WHOLE
    assert len(scene.fleet.execs) == requests


@pytest.mark.parametrize(
    ("answers", "changed"),
    [
        (
            {("plain", 8080): ANSWER, ("tls", 8080): TLS_RESET, ("forged", 8080): TLS_RESET},
            ("ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004", "ZT-MSH-009"),
        ),
        ({("plain", 9090): ANSWER}, ("ZT-MSH-005",)),
        ({("call", ("gateway", "default")): OK}, ("ZT-MSH-008",)),
        ({("forged", 8080): {"stage": "exchange", "end": "data"}}, ("ZT-MSH-004",)),
    ],
)
def test_one_break_changes_its_own_checks_and_no_others(scene, answers, changed):
    scene.fleet.answers |= answers
    expected = {n: VIOLATED if n.startswith(changed) else v for n, v in WHOLE.items()}
    assert scene.verdicts() == expected


def test_a_port_that_only_a_policy_names_is_asked(scene):
    scene.fleet.answers["plain", 9277] = ANSWER
    check = SweepCheck(workload="payments")
    result = judge_other_ports(scene.engine, scene.engine.snapshot(check, []), check)
    assert (result.verdict, 9277 in result.evidence["ports"]) == (HOLDS, False)
    exception = {
        "metadata": {"namespace": "web", "name": "hole", "creationTimestamp": "2026-01-02"},
        "spec": {
            "selector": {"matchLabels": {"app": "payments"}},
            "portLevelMtls": {"9277": {"mode": "DISABLE"}},
        },
    }
    scene.fleet.policies["web"] = [exception]
    again = MeshEngine(scene.fleet, scene.intent, scene.engine.live)
    result = judge_other_ports(again, again.snapshot(check, []), check)
    assert result.verdict is VIOLATED
    assert "undeclared port 9277" in result.headline


def test_policies_that_change_while_ports_are_attacked_show_nothing(scene):
    ask = scene.fleet.ask_all

    def asked(requests: Any) -> Any:
        scene.fleet.policies.clear()
        return ask(requests)

    scene.fleet.ask_all = asked
    check = next(iter(port_checks(scene.intent, "ZT-MSH-009")))
    result = judge_port(scene.engine, scene.engine.snapshot(check, []), check)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "unsettled")


def test_several_replicas_behind_a_service_are_told(scene):
    scene.fleet.items.append(pod_item("payments", "10.0.9.8"))
    scene.fleet.items[-1]["metadata"] |= {"name": "payments-2", "uid": "uid-payments-2"}
    said = "replicas: the Service chose among 2 for each of 3 calls"
    for check in (*call_checks(scene.intent), *impostor_checks(scene.intent)):
        assert said in scene.verdict(check).controls


def test_a_call_that_the_mesh_denies_is_its_own_violation(scene):
    scene.fleet.answers["call", "gateway"] = DENIED
    found = scene.verdicts()
    assert found["ZT-MSH-003-gateway->payments:8080/tcp"] is VIOLATED
    assert found["ZT-MSH-008-gateway->payments:8080/tcp"] is INCONCLUSIVE
    # The kubelet still shows that the application lives.
    assert found["ZT-MSH-001-payments:8080/tcp"] is HOLDS


def test_a_plaintext_check_alone_makes_the_calls_that_show_the_application(scene):
    check = next(iter(port_checks(scene.intent, "ZT-MSH-001")))
    for item in scene.fleet.items:
        item["spec"]["containers"][0].pop("readinessProbe")
    assert scene.engine.plan([check]) == [scene.engine.meshed_twin("gateway")]
    snapshot = scene.engine.snapshot(check, [])
    assert judge_port(scene.engine, snapshot, check).verdict is HOLDS
    assert calls_to(scene.intent, "payments", PORT) == list(call_checks(scene.intent))


def test_pods_that_went_during_the_batch_prove_nothing(scene):
    check = next(iter(port_checks(scene.intent, "ZT-MSH-002")))
    ask = scene.fleet.ask_all

    def asked(requests: Any) -> Any:
        scene.fleet.items = [i for i in scene.fleet.items if i["metadata"]["name"] != "payments-1"]
        return ask(requests)

    scene.fleet.ask_all = asked
    result = judge_port(scene.engine, scene.engine.snapshot(check, []), check)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "pods-changed")


def test_enrolment_is_read_anew_for_each_check(pem):
    scene = Scene(pem, batch=False)
    found = {
        check.workload: judge_enrol(scene.fleet.api, scene.intent, check).verdict
        for check in enrol_checks(scene.intent)
    }
    assert found == {"gateway": HOLDS, "batch": VIOLATED, "payments": HOLDS}
    scene.fleet.items.clear()
    result = judge_enrol(scene.fleet.api, scene.intent, EnrolCheck(workload="batch"))
    assert result.verdict is INCONCLUSIVE


def test_without_a_mesh_in_the_intent_there_are_no_checks():
    text = TEXT.replace("mesh: {trustDomain: lab.local, authorization: true, maxCertif", "#")
    intent = intent_from_text(text, "zero.yaml")
    assert intent.mesh is None
    assert not [*sweep_checks(intent), *enrol_checks(intent), *impostor_checks(intent)]
    assert not [*port_checks(intent, "ZT-MSH-004"), *call_checks(intent)]


def test_a_workload_without_a_port_is_still_checked_for_its_place_in_the_mesh(scene):
    assert [c.workload for c in enrol_checks(scene.intent)] == ["gateway", "batch", "payments"]
    check = SweepCheck(workload="batch")
    result = judge_other_ports(scene.engine, scene.engine.snapshot(check, []), check)
    # Nobody may reach it, so there is no place to attack it from.
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "masked")


# -- sentences of a user's own tests


def test_a_port_is_asked_for_its_mode_and_its_identity(scene):
    read: list[PortAnswer] = []
    payments = scene.intent.workloads["payments"]
    result = about_port(scene.engine, payments, PORT, "ZT-MSH-001")
    assert (result.control, result.verdict) == ("custom", HOLDS)
    answer = PortAnswer(result=result, on_read=read.append)
    assert answer.mode == "strict"
    assert answer.identity == "spiffe://lab.local/ns/web/sa/payments"
    assert read == [answer, answer]


def test_a_port_that_says_nothing_clear_has_no_mode(scene):
    dropped = {"stage": "connect", "end": "timeout"}
    scene.fleet.answers |= {(kind, 8080): dropped for kind in ("plain", "tls", "istio", "forged")}
    payments = scene.intent.workloads["payments"]
    result = about_port(scene.engine, payments, PORT, "ZT-MSH-001")
    answer = PortAnswer(result=result, on_read=lambda answer: None)
    with pytest.raises(Inconclusive, match="the mode of this port is not clear"):
        _ = answer.mode
    with pytest.raises(Inconclusive, match="no single identity"):
        _ = answer.identity


@pytest.mark.parametrize(
    ("modes", "verdict"),
    [
        # Another replica that could not be attacked may be anything.
        ({"one": "strict", "two": "masked by a network policy"}, INCONCLUSIVE),
        # The suite itself does not call this one strict: nobody vouches for its certificate.
        ({"one": "strict"}, INCONCLUSIVE),
        ({}, INCONCLUSIVE),
    ],
)
def test_a_mode_that_was_not_shown_for_every_replica_is_not_told(modes, verdict):
    result = Result(
        control="custom",
        subject="web/payments:8080",
        verdict=verdict,
        headline="h",
        evidence={"modes": modes},
    )
    answer = PortAnswer(result=result, on_read=lambda answer: pytest.fail("it was told"))
    with pytest.raises(Inconclusive):
        _ = answer.mode


def ends(scene: Scene, caller: str) -> tuple[Workload, Workload]:
    return scene.intent.workloads[caller], scene.intent.workloads["payments"]


def test_who_is_answered_and_who_is_refused(scene):
    assert answered(scene.engine, ends(scene, "gateway"), PORT, network).verdict is HOLDS
    assert refused(scene.engine, ends(scene, "gateway"), PORT, network).verdict is VIOLATED
    scene.fleet.answers["call", "batch"] = DENIED
    assert refused(scene.engine, ends(scene, "batch"), PORT, network).verdict is HOLDS
    assert answered(scene.engine, ends(scene, "batch"), PORT, network).verdict is VIOLATED


def test_a_refusal_needs_another_caller_that_is_answered(scene):
    scene.fleet.answers |= {("call", "batch"): DENIED, ("call", "gateway"): DENIED}
    result = refused(scene.engine, ends(scene, "batch"), PORT, network)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "caller-not-answered")


def test_a_cut_connection_is_a_refusal_only_where_the_network_lets_it_through(pem):
    scene = Scene(pem, TEXT.replace("[8080]", '[{port: 8080, send: "ping"}]'))
    port = scene.intent.workloads["payments"].ports[0]
    scene.fleet.answers["call", "batch"] = CUT
    assert refused(scene.engine, ends(scene, "batch"), port, network).verdict is HOLDS

    def cut() -> Result:
        return Result(control="n", subject="s", verdict=VIOLATED, headline="the network")

    result = refused(scene.engine, ends(scene, "batch"), port, cut)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "masked")


def test_a_workload_that_the_intent_does_not_name_is_looked_up(pem):
    scene = Scene(pem)
    scene.fleet.items.append(pod_item("stranger", "10.0.9.7"))
    stranger = Workload(key="web/app=stranger", namespace="web", labels={"app": "stranger"})
    scene.fleet.answers["call", "stranger"] = DENIED
    pair = (stranger, scene.intent.workloads["payments"])
    assert refused(scene.engine, pair, PORT, network).verdict is HOLDS
    gone = Workload(key="web/app=gone", namespace="web", labels={"app": "gone"})
    with pytest.raises(IntentProblem, match="app=gone"):
        about_port(scene.engine, gone, PORT, "ZT-MSH-001")


def test_certificates_are_judged_by_the_clusters_clock(pem):
    """This machine's clock may be wrong by days: neither the proxies' certificates nor those that
    are forged for them may be measured by it."""
    scene = Scene(pem)
    scene.fleet.date = "Tue, 05 Mar 2041 10:00:00 GMT"
    (check,) = (c for c in scene.checks() if c.control == "ZT-MSH-007")
    result = scene.verdict(check)
    assert result.verdict is VIOLATED
    assert "EXPIRED" in result.headline.upper()
