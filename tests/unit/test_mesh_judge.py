"""One violated pod or round is a violation; a mesh control holds only if all of them agree."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from cryptography import x509

from pytest_zerotrust.cluster.discovery import LivePod, LiveService, LiveWorkload
from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.mesh import Declaration, Declared, PeerAuthentication, PodMesh
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet import topology
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.mesh.checks import CallCheck, PortCheck, SweepCheck
from pytest_zerotrust.mesh.engine import MeshEngine, Snapshot, Target
from pytest_zerotrust.mesh.forgery import KINDS as FORGED
from pytest_zerotrust.mesh.judge import judge_port
from pytest_zerotrust.mesh.judge_call import judge_call
from pytest_zerotrust.mesh.judge_pods import judge_other_ports
from pytest_zerotrust.mesh.policies import Policies
from pytest_zerotrust.mesh.probes import MORE_PLAIN
from tests.fakes.fleet import FakeFleet
from tests.fakes.servers import authority
from tests.fakes.world import World

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, meshed: true}
  other: {namespace: web, labels: {app: other}}
  payments: {namespace: web, labels: {app: payments}, ports: [8080], meshed: true}
flows: [gateway -> payments:8080, other -> payments:8080]
mesh: {trustDomain: lab.local}
"""
PORT = Port(8080)
RESET = {"stage": "exchange", "end": "reset", "sent": 60, "data": ""}
ANSWER = {"stage": "exchange", "end": "complete", "sent": 60, "data": "HTTP/1.1 200 OK\r\n"}
DROPPED = {"stage": "connect", "end": "timeout"}
DEMAND = {"stage": "exchange", "end": "alert", "alert": "TLSV13_ALERT_CERTIFICATE_REQUIRED"}
TLS_RESET = {"stage": "handshake", "end": "reset"}
REFUSE = {"stage": "exchange", "end": "alert", "alert": "TLSV1_ALERT_UNKNOWN_CA"}
PLAINS = ("plain", *(f"plain {name}" for name in MORE_PLAIN))
FORGERIES = tuple(f"forged {name}" for name in FORGED)
KINDS = (*PLAINS, "tls", "tls-istio", "tls-verified", *FORGERIES)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Certificates of the mesh by service account."""
    root = authority(tmp_path_factory.mktemp("mesh"), "root")
    made = {"root": root.pem}
    for account in ("payments", "stranger"):
        name = x509.UniformResourceIdentifier(f"spiffe://lab.local/ns/web/sa/{account}")
        file, _ = root.issue(account, name)
        with open(file, encoding="ascii") as text:
            made[account] = text.read()
    return made


def live_pod(name: str, ip: str, account: str = "payments") -> LivePod:
    return LivePod(
        name=name, namespace="web", uid=f"uid-{name}", ip=ip, node="node-1", ready=True, labels={},
        annotations={}, service_account=account, ports={}, adopter="",
    )  # fmt: skip


def live_workload(key: str) -> LiveWorkload:
    service = LiveService(name=key, ip="10.96.9.9", ports={8080: 80}, names={8080: "http"})
    return LiveWorkload(
        key=key, labels={"app": key}, service_account="default", annotations={},
        nodes=("node-1",), port_names={}, adopter="", service=service,
    )  # fmt: skip


def facts(pod: LivePod, **more: Any) -> PodMesh:
    values: dict[str, Any] = {"proxied": True, "proxy_ready": True, "probed": frozenset({8080})}
    named = {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
    return PodMesh(**{**named, **values, **more})


class Case:
    """A mesh engine and a snapshot that is filled by hand."""

    def __init__(self, pem: Mapping[str, str], *pods: LivePod) -> None:
        self.pem = pem
        self.intent = intent_from_text(TEXT, "zero.yaml")
        self.fleet = FakeFleet(World())
        live = {key: live_workload(key) for key in self.intent.workloads}
        self.engine = MeshEngine(self.fleet, self.intent, live)
        self.pods = pods
        self.changed = ""
        self.on_node: tuple[str, ...] = ()
        self.policies = Policies()
        self.policies_changed = ""
        self.failed: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self.facts = {pod.uid: facts(pod) for pod in pods}
        self.roots = {"web": pem["root"]}
        self.moment = datetime.datetime.now(datetime.UTC)
        self.reports: dict[Any, tuple[Mapping[str, Any], ...]] = {}
        self.vantages = {
            key: topology.twin(self.fleet.run, self.intent.workloads[key], live[key])
            for key in ("gateway", "other")
        }
        for vantage in self.vantages:
            for pod in pods:
                self.strict(pod, vantage)

    def see(self, kind: str, vantage: str, pod: LivePod, *reports: Mapping[str, Any]) -> None:
        self.reports[kind, self.vantages[vantage].name, pod.ip, PORT] = reports

    def strict(self, pod: LivePod, vantage: str, account: str = "") -> None:
        shown = {**DEMAND, "certificate": self.pem[account or pod.service_account]}
        for kind in KINDS:
            report = RESET if kind in PLAINS else REFUSE if kind in FORGERIES else shown
            self.see(kind, vantage, pod, *[report] * 3)

    def masked(self, pod: LivePod, vantage: str) -> None:
        for kind in KINDS:
            self.see(kind, vantage, pod, *[DROPPED] * 3)

    def snapshot(self, check: Any, vantages: tuple[str, ...] = ("gateway", "other")) -> Snapshot:
        specs = [*self.vantages.values(), self.engine.meshed_twin("gateway")]
        return Snapshot(
            members={s.name: self.member(s) for s in specs},
            pods={"payments": self.pods},
            changed={"payments": self.changed},
            targets=tuple(
                Target(check=check, pod=pod, vantage=self.vantages[v])
                for pod in self.pods
                for v in vantages
            ),
            reports=self.reports,
            failed=self.failed,
            covered=frozenset({check.id}),
            facts=self.facts,
            on_node={"payments": self.on_node},
            roots=self.roots,
            policies=self.policies,
            policies_changed=self.policies_changed,
            moment=self.moment,
        )

    def declared(self, pod: LivePod) -> Declaration:
        return self.policies.declared(pod.namespace, {}, PORT.number, "istio-system")

    def member(self, spec: PodSpec) -> Member:
        problem = self.problems.get(spec.name, "")
        self.fleet.members([spec])
        return Member(spec=spec, state=self.fleet.state(spec), problem=problem)

    def judge(self, control: str, vantages: tuple[str, ...] = ("gateway", "other")) -> Result:
        check = PortCheck(control=control, workload="payments", port=PORT)
        return judge_port(self.engine, self.snapshot(check, vantages), check)


ONE, TWO = live_pod("one", "10.0.9.1"), live_pod("two", "10.0.9.2")
both = pytest.mark.parametrize("control", ["ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004"])


@both
def test_strict_on_every_pod_from_every_place_holds(pem, control):
    result = Case(pem, ONE, TWO).judge(control)
    assert result.verdict is HOLDS
    assert result.objects == ("Pod web/one", "Pod web/two")


@both
@pytest.mark.parametrize("index", [0, 1, 2])
def test_one_round_of_one_pod_from_one_place_that_answers_is_a_violation(pem, control, index):
    case = Case(pem, ONE, TWO)
    case.see("plain", "other", TWO, *[ANSWER if i == index else RESET for i in range(3)])
    assert case.judge(control).verdict is VIOLATED


@both
def test_a_pod_that_answers_is_a_violation_beside_one_that_says_nothing_clear(pem, control):
    case = Case(pem, ONE, TWO)
    for vantage in case.vantages:
        case.masked(ONE, vantage)
    case.see("plain", "gateway", TWO, *[ANSWER] * 3)
    assert case.judge(control).verdict is VIOLATED


@both
def test_the_ports_of_a_workload_are_judged_one_by_one(pem, control):
    case = Case(pem, ONE)
    other = PortCheck(control=control, workload="payments", port=Port(9090))
    check = PortCheck(control=control, workload="payments", port=PORT)
    for vantage in case.vantages.values():
        for kind in KINDS:
            case.reports[kind, vantage.name, ONE.ip, other.port] = (ANSWER,) * 3
    mixed = case.snapshot(check)
    targets = (*mixed.targets, *case.snapshot(other).targets)
    whole = replace(mixed, targets=targets)
    assert judge_port(case.engine, whole, check).verdict is HOLDS
    assert judge_port(case.engine, whole, other).verdict is VIOLATED


@both
def test_rounds_that_differ_are_inconclusive(pem, control):
    case = Case(pem, ONE)
    case.see("tls", "gateway", ONE, DEMAND, TLS_RESET, DEMAND)
    assert case.judge(control).verdict is not HOLDS


@both
def test_a_masked_place_is_passed_over_if_another_one_is_not(pem, control):
    case = Case(pem, ONE)
    case.masked(ONE, "gateway")
    assert case.judge(control).verdict is HOLDS


@both
def test_a_pod_that_is_masked_from_everywhere_is_inconclusive_whatever_the_others_are(pem, control):
    case = Case(pem, ONE, TWO)
    for vantage in ("gateway", "other"):
        case.masked(TWO, vantage)
    result = case.judge(control)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "masked")


@both
def test_without_any_place_to_attack_from_the_way_out_is_told(pem, control):
    result = Case(pem, ONE).judge(control, vantages=())
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "masked")
    assert "nodeVantage" in result.headline


@both
def test_a_workload_without_pods_is_inconclusive(pem, control):
    assert Case(pem).judge(control).verdict is INCONCLUSIVE


@both
def test_pods_that_changed_during_the_batch_prove_nothing(pem, control):
    case = Case(pem, ONE)
    case.changed = "pod web/one went away during the batch"
    result = case.judge(control)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "pods-changed")
    assert "went away" in result.headline


@both
@pytest.mark.parametrize("trouble", ["failed", "problems"])
def test_probes_that_gave_no_reply_prove_nothing(pem, control, trouble):
    case = Case(pem, ONE)
    for spec in case.vantages.values():
        getattr(case, trouble)[spec.name] = "exec was cut"
    result = case.judge(control)
    assert result.verdict is INCONCLUSIVE
    assert "exec was cut" in result.headline


@both
@pytest.mark.parametrize("kind", ["plain", "plain HTTP/2", "tls", "tls-istio"])
def test_a_round_that_is_missing_proves_nothing(pem, control, kind):
    case = Case(pem, ONE)
    for vantage in case.vantages:
        name = (kind, case.vantages[vantage].name, ONE.ip, PORT)
        case.reports[name] = case.reports[name][:2]
    assert case.judge(control).verdict is INCONCLUSIVE


@both
def test_a_root_that_was_not_there_proves_nothing(pem, control):
    case = Case(pem, ONE)
    for vantage in case.vantages:
        del case.reports["tls-verified", case.vantages[vantage].name, ONE.ip, PORT]
    assert case.judge(control).verdict is INCONCLUSIVE


def test_another_identity_is_a_violation_that_names_both(pem):
    case = Case(pem, ONE)
    case.strict(ONE, "gateway", "stranger")
    result = case.judge("ZT-MSH-002")
    assert result.verdict is VIOLATED
    assert "spiffe://lab.local/ns/web/sa/stranger" in result.headline
    assert "spiffe://lab.local/ns/web/sa/payments" in result.headline


def test_each_pod_must_prove_the_identity_of_its_own_account(pem):
    stranger = live_pod("three", "10.0.9.3", "stranger")
    assert Case(pem, ONE, stranger).judge("ZT-MSH-002").verdict is HOLDS


def http(status: str, *fields: str, body: str = "") -> dict[str, Any]:
    head = "\r\n".join((f"HTTP/1.1 {status}", *fields))
    return {"stage": "exchange", "end": "closed", "data": f"{head}\r\n\r\n{body}"}


OK = http("200 OK", "x-envoy-upstream-service-time: 1")
DOWN = http("503 Service Unavailable", "server: envoy", body="upstream connect error")
DENIED = http("403 Forbidden", "server: envoy", body="RBAC: access denied")
CUT = {"stage": "exchange", "end": "reset", "data": ""}
SILENT = {"stage": "exchange", "end": "silent", "data": ""}
REFUSED = {"stage": "connect", "end": "refused"}


def call(case: Case, *reports: Mapping[str, Any], network: Verdict = HOLDS) -> tuple[Result, int]:
    """The verdict on a call, and how often the network was asked for its own."""
    check = CallCheck(flow=case.intent.flows[0])
    if reports:
        case.reports["call", check.id] = reports
    asked = []

    def of_the_network() -> Result:
        asked.append(1)
        return Result(control="ZT-NET-003", subject="s", verdict=network, headline="the network")

    return judge_call(case.engine, case.snapshot(check), check, of_the_network), len(asked)


@pytest.mark.parametrize("first", [OK, DOWN, CUT, SILENT, REFUSED])
def test_a_call_works_if_the_last_rounds_were_answered(pem, first):
    result, asked = call(Case(pem, ONE), first, OK, OK)
    assert (result.verdict, asked) == (HOLDS, 0)


@pytest.mark.parametrize("reports", [(OK, DOWN, OK), (OK, CUT, OK), (OK, SILENT, OK)])
def test_one_answer_after_a_failure_is_not_yet_a_call_that_works(pem, reports):
    assert call(Case(pem, ONE), *reports)[0].verdict is INCONCLUSIVE


@pytest.mark.parametrize("report", [DOWN, DENIED, CUT])
@pytest.mark.parametrize("network", Verdict)
def test_a_refused_call_is_a_violation_of_the_mesh_only_if_the_network_lets_it_through(
    pem, report, network
):
    result, asked = call(Case(pem, ONE), report, report, report, network=network)
    assert asked == 1
    assert result.verdict is (VIOLATED if network is HOLDS else INCONCLUSIVE)
    assert result.controls[-1] == "network: the network"


@pytest.mark.parametrize("report", [DOWN, DENIED, CUT])
def test_a_call_to_pods_that_changed_is_no_refusal(pem, report):
    case = Case(pem, ONE)
    case.changed = "pod web/one is not ready"
    result, _ = call(case, report, report, report)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "pods-changed")
    assert call(case, OK, OK, OK)[0].verdict is HOLDS


@pytest.mark.parametrize("report", [SILENT, REFUSED, http("nonsense"), {}])
def test_a_call_without_a_clear_answer_is_inconclusive(pem, report):
    assert call(Case(pem, ONE), report, report, report)[0].verdict is INCONCLUSIVE


@pytest.mark.parametrize("reports", [(), (OK,), (OK, OK)])
def test_a_call_that_was_not_made_often_enough_is_inconclusive(pem, reports):
    assert call(Case(pem, ONE), *reports)[0].verdict is INCONCLUSIVE


@pytest.mark.parametrize("trouble", ["failed", "problems"])
def test_a_caller_without_its_proxy_proves_nothing(pem, trouble):
    case = Case(pem, ONE)
    twin = case.engine.meshed_twin("gateway").name
    getattr(case, trouble)[twin] = "the mesh injected no proxy into it"
    result, _ = call(case, OK, OK, OK)
    assert result.verdict is INCONCLUSIVE
    assert "injected no proxy" in result.headline


# -- more than plaintext


@both
@pytest.mark.parametrize("kind", PLAINS)
def test_an_answer_to_any_protocol_in_plaintext_is_a_violation(pem, control, kind):
    case = Case(pem, ONE)
    case.see(kind, "other", ONE, *[ANSWER] * 3)
    assert case.judge(control).verdict is VIOLATED


@pytest.mark.parametrize("kind", FORGERIES)
def test_one_foreign_certificate_that_is_accepted_is_a_violation_that_names_it(pem, kind):
    case = Case(pem, ONE)
    accepted = {"stage": "exchange", "end": "data", "data": "HTTP/1.1 200 OK"}
    case.see(kind, "other", ONE, REFUSE, accepted, REFUSE)
    result = case.judge("ZT-MSH-004")
    assert result.verdict is VIOLATED
    assert kind.removeprefix("forged ") in result.headline


@pytest.mark.parametrize(
    ("control", "kind"), [("ZT-MSH-002", "tls"), *(("ZT-MSH-004", kind) for kind in FORGERIES)]
)
def test_silence_after_a_handshake_is_consent_only_if_it_lasts(pem, control, kind):
    silent = {"stage": "exchange", "end": "silent", "data": "", "certificate": pem["payments"]}
    case = Case(pem, ONE)
    case.see(kind, "other", ONE, *[silent] * 3)
    assert case.judge(control).verdict is VIOLATED
    usual = REFUSE if kind in FORGERIES else {**DEMAND, "certificate": pem["payments"]}
    case.see(kind, "other", ONE, usual, silent, usual)
    assert case.judge(control).verdict is INCONCLUSIVE


@pytest.mark.parametrize("kind", FORGERIES)
@pytest.mark.parametrize(
    "report", [{}, DEMAND, TLS_RESET, DROPPED, {"stage": "exchange", "end": "closed", "data": ""}]
)
def test_a_foreign_certificate_that_was_not_refused_by_name_proves_nothing(pem, kind, report):
    case = Case(pem, ONE)
    for vantage in case.vantages:
        case.see(kind, vantage, ONE, *[report] * 3)
    assert case.judge("ZT-MSH-004").verdict is INCONCLUSIVE


def test_a_certificate_of_a_day_holds_and_one_that_is_too_long_is_a_violation(pem):
    case = Case(pem, ONE)
    # Of the 25 hours of the certificate one has gone by.
    assert case.judge("ZT-MSH-007").verdict is VIOLATED
    mesh = case.intent.mesh
    assert mesh is not None
    case.engine.intent = replace(case.intent, mesh=replace(mesh, certificate_hours=25))
    assert case.judge("ZT-MSH-007").verdict is HOLDS


def test_a_certificate_that_the_meshs_root_does_not_vouch_for_is_not_judged(pem):
    case = Case(pem, ONE)
    mesh = case.intent.mesh
    assert mesh is not None
    case.engine.intent = replace(case.intent, mesh=replace(mesh, certificate_hours=25))
    for vantage in case.vantages:
        case.see("tls-verified", vantage, ONE, *[{"stage": "tls", "end": "unverified"}] * 3)
    assert case.judge("ZT-MSH-007").verdict is INCONCLUSIVE


def lived(pem: dict[str, str], hours: float) -> Result:
    case = Case(pem, ONE)
    mesh = case.intent.mesh
    assert mesh is not None
    case.engine.intent = replace(case.intent, mesh=replace(mesh, certificate_hours=25))
    case.moment += datetime.timedelta(hours=hours)
    return case.judge("ZT-MSH-007")


@pytest.mark.parametrize(
    ("hours", "verdict", "word"),
    [
        (-2.0, VIOLATED, "NOT YET VALID"),
        (0.0, HOLDS, "left"),
        (18.0, HOLDS, "left"),
        (19.5, VIOLATED, "NOT RENEWED"),
        (24.5, VIOLATED, "EXPIRED"),
    ],
)
def test_a_certificate_must_be_valid_and_renewed_ahead_of_its_end(pem, hours, verdict, word):
    result = lived(pem, hours)
    assert result.verdict is verdict, result.headline
    assert word in result.headline


def test_namespaces_that_trust_different_roots_are_a_violation(pem, tmp_path):
    case = Case(pem, ONE)
    mesh = case.intent.mesh
    assert mesh is not None
    case.engine.intent = replace(case.intent, mesh=replace(mesh, certificate_hours=25))
    case.roots["data"] = authority(tmp_path, "other").pem
    assert case.judge("ZT-MSH-007").verdict is VIOLATED
    # During a change of roots both are trusted, and that is sound.
    case.roots["data"] += pem["root"]
    assert case.judge("ZT-MSH-007").verdict is HOLDS
    case.roots["data"] = "no PEM"
    assert case.judge("ZT-MSH-007").verdict is INCONCLUSIVE


def test_a_certificate_that_cannot_be_parsed_is_inconclusive_and_says_so(pem):
    case = Case(pem, ONE)
    for vantage in case.vantages:
        broken = {**DEMAND, "certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n"}
        for kind in ("tls", "tls-istio", "tls-verified"):
            case.see(kind, vantage, ONE, *[broken] * 3)
    result = case.judge("ZT-MSH-007")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "certificate-unreadable")
    assert case.judge("ZT-MSH-001").verdict is INCONCLUSIVE


# -- the application behind the port


def calls(case: Case, *reports: Mapping[str, Any]) -> None:
    case.reports["call", CallCheck(flow=case.intent.flows[0]).id] = reports


def test_a_refusal_before_no_application_is_not_yet_one_that_holds(pem):
    case = Case(pem, ONE)
    case.facts = {ONE.uid: facts(ONE, probed=frozenset())}
    result = case.judge("ZT-MSH-001")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "application-not-shown")
    calls(case, OK, OK, OK)
    assert case.judge("ZT-MSH-001").verdict is HOLDS
    calls(case, OK, OK, DOWN)
    assert case.judge("ZT-MSH-001").verdict is INCONCLUSIVE


@pytest.mark.parametrize("probed", [{8081}, {15020}])
def test_a_readiness_probe_of_another_port_shows_nothing(pem, probed):
    case = Case(pem, ONE)
    case.facts = {ONE.uid: facts(ONE, probed=frozenset(probed))}
    assert case.judge("ZT-MSH-001").verdict is INCONCLUSIVE


def test_the_readiness_probe_must_pass_on_every_pod(pem):
    case = Case(pem, ONE, replace(TWO, ready=False))
    assert case.judge("ZT-MSH-001").verdict is INCONCLUSIVE


@both
@pytest.mark.parametrize("answers", ["strict", "open"])
def test_a_pod_of_another_mesh_is_named_and_never_judged(pem, control, answers):
    case = Case(pem, ONE)
    case.facts = {ONE.uid: facts(ONE, other_mesh="a Linkerd mesh")}
    if answers == "open":
        case.see("plain", "other", ONE, *[ANSWER] * 3)
    result = case.judge(control)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "mesh-not-supported")
    assert "Linkerd" in result.headline


def test_the_mode_of_the_port_stands_in_the_evidence(pem):
    case = Case(pem, ONE)
    case.see("plain", "other", ONE, *[ANSWER] * 3)
    modes = dict(case.judge("ZT-MSH-001").evidence["modes"])
    assert modes == {
        "from twin gateway to one": "strict",
        "from twin other to one": "permissive",
    }


# -- ports beside the declared ones


def sweep(
    case: Case, refusers: Mapping[int, Mapping[str, Any]] = MappingProxyType({}), **answers: Any
) -> Result:
    """The verdict when every other port is reset by the proxy, but for those that are given by
    vantage. ``refusers`` are answers to TLS by port."""
    check = SweepCheck(workload="payments")
    for key, vantage in case.vantages.items():
        for pod in case.pods:
            for number in case.engine.other_ports("payments", case.facts[pod.uid]):
                report = answers.get(f"{key}_{number}", answers.get(key, RESET))
                case.reports["sweep", vantage.name, pod.ip, number] = (report,) * 3
                refuser = refusers.get(number, DEMAND if report is RESET else None)
                if refuser is not None:
                    case.reports["refuser", vantage.name, pod.ip, number] = (refuser,)
    return judge_other_ports(case.engine, case.snapshot(check), check)


def test_other_ports_that_are_all_reset_hold(pem):
    result = sweep(Case(pem, ONE, TWO))
    assert result.verdict is HOLDS
    assert 8080 not in result.evidence["ports"]
    assert {9090, 15000, 15020} <= set(result.evidence["ports"])


def test_a_port_that_answers_is_a_violation_that_names_it(pem):
    case = Case(pem, ONE)
    case.facts = {ONE.uid: facts(ONE, ports=frozenset({7123}))}
    result = sweep(case, other_7123=ANSWER)
    assert result.verdict is VIOLATED
    assert "7123" in result.headline


def test_an_excluded_port_is_asked_though_nobody_declares_it(pem):
    case = Case(pem, ONE)
    words = {"traffic.sidecar.istio.io/excludeInboundPorts": "15020, 7124"}
    case.facts = {ONE.uid: facts(ONE, annotations=words)}
    assert sweep(case, gateway_7124=ANSWER).verdict is VIOLATED


@pytest.mark.parametrize("number", [15020, 15021, 15090])
def test_the_ports_of_the_proxy_itself_are_told_and_do_not_count(pem, number):
    result = sweep(Case(pem, ONE), **{f"gateway_{number}": ANSWER})
    assert result.verdict is HOLDS
    assert any(f":{number} " in line and "own" in line for line in result.observed)


def test_the_admin_port_of_the_proxy_must_not_answer(pem):
    assert sweep(Case(pem, ONE), gateway_15000=ANSWER).verdict is VIOLATED


def test_a_place_that_is_kept_away_is_passed_over_if_another_one_is_not(pem):
    assert sweep(Case(pem, ONE), other=DROPPED).verdict is HOLDS
    result = sweep(Case(pem, ONE), other=DROPPED, gateway=DROPPED)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "masked")


@pytest.mark.parametrize("report", [SILENT, {"stage": "exchange", "end": "closed", "sent": 60}, {}])
def test_a_port_that_gives_no_clear_answer_proves_nothing(pem, report):
    case = Case(pem, ONE)
    assert sweep(case, gateway_9090={**report, "sent": 60}).verdict is INCONCLUSIVE


def test_the_proxys_own_redirected_ports_may_close(pem):
    closed = {"stage": "exchange", "end": "closed", "sent": 60, "data": ""}
    assert sweep(Case(pem, ONE), gateway_15006=closed).verdict is HOLDS


@pytest.mark.parametrize(
    "refuser",
    [
        {},
        {"stage": "handshake", "end": "reset"},
        {"stage": "handshake", "end": "alert", "alert": "WRONG_VERSION_NUMBER"},
        # A server's own TLS, which demands a certificate or not.
        {"stage": "handshake", "end": "unverified"},
        {"stage": "handshake", "end": "alert", "alert": "TLSV13_ALERT_CERTIFICATE_REQUIRED"},
        {"stage": "exchange", "end": "alert", "alert": "TLSV1_ALERT_INTERNAL_ERROR"},
        # One that goes on, or waits for what comes next, whoever vouches for it.
        {"stage": "exchange", "end": "data", "data": "220 hello"},
        {"stage": "exchange", "end": "silent", "data": ""},
        {"stage": "connect", "end": "timeout"},
    ],
    ids=str,
)
def test_a_reset_of_which_nobody_shows_who_did_it_proves_nothing(pem, refuser):
    result = sweep(Case(pem, ONE), refusers={9090: refuser})
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "refuser-not-identified")
    assert ":9090 " in result.headline


@pytest.mark.parametrize(
    "refuser",
    [
        DEMAND,
        {"stage": "exchange", "end": "closed", "data": ""},
        {"stage": "exchange", "end": "reset"},
        {"stage": "exchange", "end": "alert", "alert": "UNEXPECTED_EOF_WHILE_READING"},
    ],
    ids=str,
)
def test_a_proxy_shows_its_certificate_and_then_ends_tls_as_well(pem, refuser):
    # Where nobody listens behind it, it does not come to demand one.
    assert sweep(Case(pem, ONE), refusers={9090: refuser}).verdict is HOLDS


def test_a_refused_connect_is_no_refusal_of_a_proxy_which_takes_every_one(pem):
    refused = {"stage": "connect", "end": "refused"}
    result = sweep(Case(pem, ONE), gateway_9090=refused)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "refuser-not-identified")


def test_nobody_listens_on_the_meshs_port_for_tunnels_which_is_not_captured(pem):
    refused = {"stage": "connect", "end": "refused"}
    assert sweep(Case(pem, ONE), gateway_15008=refused, other_15008=refused).verdict is HOLDS
    assert sweep(Case(pem, ONE), gateway_15008=ANSWER).verdict is VIOLATED


@pytest.mark.parametrize("name", ["status.sidecar.istio.io/port", "prometheus.io/port"])
def test_a_port_that_an_annotation_names_is_asked(pem, name):
    case = Case(pem, ONE)
    case.facts = {ONE.uid: facts(ONE, annotations={name: "7125"})}
    assert sweep(case, gateway_7125=ANSWER).verdict is VIOLATED


@pytest.mark.parametrize("control", ["ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004"])
def test_a_replica_in_the_network_of_its_node_keeps_the_others_from_holding(pem, control):
    case = Case(pem, ONE)
    assert case.judge(control).verdict is HOLDS
    case.on_node = ("web/on-node",)
    result = case.judge(control)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "replica-not-attacked")
    assert "web/on-node" in result.headline
    result = sweep(case)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "replica-not-attacked")


def test_policies_that_could_not_be_read_are_told(pem):
    case = Case(pem, ONE)
    case.policies = Policies(gaps={"web": "PeerAuthentications of web: 403 no"})
    assert "PeerAuthentications of web: 403 no" in sweep(case).controls[1]


# -- what is declared for a port, and what it does


def strict(namespace: str = "istio-system", name: str = "default", **more: Any) -> Any:
    return PeerAuthentication(
        **{"namespace": namespace, "name": name, "mode": Declared.STRICT, **more}
    )


def test_a_strict_port_is_as_declared(pem):
    case = Case(pem, ONE, TWO)
    case.policies = Policies(items=(strict(),))
    result = case.judge("ZT-MSH-009")
    assert result.verdict is HOLDS
    assert result.evidence["declared"] == dict.fromkeys(
        ("one", "two"), "STRICT by istio-system/default"
    )
    assert "declared: STRICT by istio-system/default" in result.controls


def test_one_that_answers_plaintext_though_strict_is_declared_is_a_finding(pem):
    case = Case(pem, ONE)
    case.policies = Policies(items=(strict(),))
    for vantage in case.vantages:
        case.see("plain", vantage, ONE, *[ANSWER] * 3)
    result = case.judge("ZT-MSH-009")
    assert result.verdict is VIOLATED
    assert "PERMISSIVE, though DECLARED STRICT by istio-system/default" in result.headline
    assert case.judge("ZT-MSH-001").evidence["declared"] == {"one": str(case.declared(ONE))}


def test_pods_that_changed_show_no_difference_from_what_is_declared(pem):
    case = Case(pem, ONE)
    case.changed = "pod web/one went away during the batch"
    result = case.judge("ZT-MSH-009")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "pods-changed")


def test_one_that_is_stricter_than_declared_is_a_finding_too(pem):
    assert Case(pem, ONE).judge("ZT-MSH-009").verdict is VIOLATED


def test_a_strict_port_of_which_nobody_shows_who_refuses_is_not_as_declared(pem):
    case = Case(pem, ONE)
    case.policies = Policies(items=(strict(),))
    for vantage in case.vantages:
        case.see("tls-verified", vantage, ONE, *[{"stage": "handshake", "end": "unverified"}] * 3)
    result = case.judge("ZT-MSH-009")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "mode-not-clear")


@pytest.mark.parametrize("namespace", ["web", "istio-system"])
def test_what_is_declared_must_be_readable_for_the_namespace_and_the_mesh(pem, namespace):
    case = Case(pem, ONE)
    case.policies = Policies(items=(strict(),), gaps={namespace: "403 no"})
    result = case.judge("ZT-MSH-009")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "not-readable")
    assert case.judge("ZT-MSH-001").verdict is HOLDS


def test_policies_that_change_during_the_batch_show_nothing(pem):
    case = Case(pem, ONE)
    case.policies = Policies(items=(strict(),))
    case.policies_changed = case.policies.difference(Policies())
    result = case.judge("ZT-MSH-009")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "unsettled")
    assert "istio-system/default" in result.headline


def test_a_place_that_a_network_policy_keeps_away_is_passed_over(pem):
    case = Case(pem, ONE)
    case.policies = Policies(items=(strict(),))
    case.masked(ONE, "other")
    assert case.judge("ZT-MSH-009").verdict is HOLDS
    case.masked(ONE, "gateway")
    result = case.judge("ZT-MSH-009")
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "masked")


def test_a_sweep_that_was_cut_off_proves_nothing(pem):
    case = Case(pem, ONE)
    check = SweepCheck(workload="payments")
    assert judge_other_ports(case.engine, case.snapshot(check), check).verdict is INCONCLUSIVE
    sweep(case)
    for name in list(case.reports):
        if name[0] == "sweep":
            case.reports[name] = case.reports[name][:2]
    assert judge_other_ports(case.engine, case.snapshot(check), check).verdict is INCONCLUSIVE


@pytest.mark.parametrize("trouble", ["failed", "problems"])
def test_a_sweep_without_probes_proves_nothing(pem, trouble):
    case = Case(pem, ONE)
    for spec in case.vantages.values():
        getattr(case, trouble)[spec.name] = "exec was cut"
    result = sweep(case)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "probe-not-available")


def test_a_sweep_of_pods_that_changed_proves_nothing(pem):
    case = Case(pem, ONE)
    case.changed = "pod web/one went away"
    assert sweep(case).verdict is INCONCLUSIVE
    assert sweep(Case(pem)).verdict is INCONCLUSIVE
