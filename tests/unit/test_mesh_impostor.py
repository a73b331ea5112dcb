"""An impostor is refused for its identity only if the caller it imitates is answered."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_zerotrust.cluster.discovery import LiveService, LiveWorkload
from pytest_zerotrust.core.mesh import Call, Pair, judge_pair, read_identities
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.fleet import Member
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.mesh.checks import CallCheck, ImpostorCheck, impostor_checks
from pytest_zerotrust.mesh.engine import MeshEngine, Snapshot
from pytest_zerotrust.mesh.judge_impostor import judge_impostor
from tests.fakes.fleet import FakeFleet
from tests.fakes.world import World

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
ME = "spiffe://lab.local/ns/web/sa/default"
TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, meshed: true}
  other: {namespace: web, labels: {app: other}}
  payments: {namespace: web, labels: {app: payments}, ports: [8080], meshed: true}
  store: {namespace: web, labels: {app: store}, ports: [{port: 5432, send: "ping"}], meshed: true}
  plain: {namespace: web, labels: {app: plain}, ports: [8080]}
flows:
  - gateway -> payments:8080
  - other -> payments:8080
  - gateway -> store:5432
  - gateway -> plain:8080
mesh: {trustDomain: lab.local, authorization: true}
"""


def pair(**changes: Any) -> Pair:
    sound: dict[str, Any] = {
        "allowed": [Call.ANSWERED] * 2,
        "impostor": [Call.DENIED] * 3,
        "shown": (ME,),
        "expected": ME,
        "http": True,
    }
    return Pair(**{**sound, **changes})


def test_a_pair_that_differs_in_nothing_but_its_identity_holds():
    conclusion = judge_pair(pair())
    assert conclusion.verdict is HOLDS
    assert ME in conclusion.text
    assert judge_pair(pair(http=False, impostor=[Call.CUT] * 3)).verdict is HOLDS


def test_of_all_pairs_only_those_hold_and_only_an_answer_is_a_violation():
    for first, last, allowed, http in itertools.product(Call, Call, Call, (True, False)):
        calls = [first, last]
        verdict = judge_pair(pair(impostor=calls, allowed=[allowed], http=http)).verdict
        refused = all(call is (Call.DENIED if http else Call.CUT) for call in calls)
        assert (verdict is VIOLATED) is (Call.ANSWERED in calls)
        assert (verdict is HOLDS) is (refused and allowed is Call.ANSWERED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"allowed": []}, "caller-not-answered"),
        ({"allowed": [Call.ANSWERED, Call.DENIED]}, "caller-not-answered"),
        ({"shown": ()}, "impostor-without-identity"),
        ({"shown": ("spiffe://lab.local/ns/web/sa/gateway",)}, "impostor-without-identity"),
        ({"shown": (ME, "spiffe://other/x")}, "impostor-without-identity"),
        ({"impostor": []}, "no-clear-answer"),
        ({"impostor": [Call.NOT_DELIVERED] * 3}, "no-clear-answer"),
    ],
)
def test_without_its_controls_a_refusal_shows_nothing(changes, reason):
    conclusion = judge_pair(pair(**changes))
    assert (conclusion.verdict, conclusion.reason) == (INCONCLUSIVE, reason)


def certs(*names: str, root: str = "spiffe://lab.local") -> dict[str, Any]:
    chain = [{"serial_number": "1", "subject_alt_names": [{"uri": name}]} for name in names]
    ca = [{"serial_number": "2", "subject_alt_names": [{"uri": root}]}]
    body = json.dumps({"certificates": [{"ca_cert": ca, "cert_chain": chain}]})
    return {"stage": "exchange", "end": "closed", "data": f"HTTP/1.1 200 OK\r\n\r\n{body}"}


def test_the_identity_of_the_proxy_is_read_from_its_own_chain():
    assert read_identities(certs(ME)) == (ME,)
    assert read_identities(certs(ME, "spiffe://x/y")) == (ME, "spiffe://x/y")


def test_an_answer_in_chunks_is_put_together():
    head, _, body = certs(ME)["data"].partition("\r\n\r\n")
    parts = [body[:40], body[40:41], body[41:]]
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in parts) + "0\r\n\r\n"
    data = f"{head}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
    assert read_identities({"data": data}) == (ME,)
    assert read_identities({"data": data.replace("28\r\n", "zz\r\n")}) == ()
    assert read_identities({"data": data[:-20]}) == ()


@pytest.mark.parametrize(
    "data",
    ["", "HTTP/1.1 200 OK\r\n\r\n", "x\r\n\r\n[]", "x\r\n\r\n{}", 'x\r\n\r\n{"certificates": [1]}',
     'x\r\n\r\n{"certificates": [{"cert_chain": [{"subject_alt_names": [{"dns": "a"}]}]}]}'],
)  # fmt: skip
def test_a_proxy_that_tells_no_identity_has_none(data):
    assert read_identities({"data": data}) == ()


# -- from a snapshot


def live(key: str, account: str) -> LiveWorkload:
    service = LiveService(
        name=key, ip="10.96.9.9", ports={8080: 80, 5432: 5432}, names={8080: "http"}
    )
    return LiveWorkload(
        key=key, labels={"app": key}, service_account=account, annotations={},
        nodes=("node-1",), port_names={}, adopter="", service=service,
    )  # fmt: skip


def http(status: str, body: str = "", *fields: str) -> dict[str, Any]:
    head = "\r\n".join((f"HTTP/1.1 {status}", *fields))
    return {"stage": "exchange", "end": "closed", "data": f"{head}\r\n\r\n{body}"}


OK = http("200 OK", "", "x-envoy-upstream-service-time: 1")
DENIED = http("403 Forbidden", "RBAC: access denied", "x-envoy-upstream-service-time: 1")
OWN_403 = http("403 Forbidden", "you may not", "x-envoy-upstream-service-time: 1")


class Scene:
    """An engine, and a snapshot that is filled by hand."""

    def __init__(self, **accounts: str) -> None:
        self.intent = intent_from_text(TEXT, "zero.yaml")
        self.fleet = FakeFleet(World())
        found = {key: live(key, accounts.get(key, key)) for key in self.intent.workloads}
        self.engine = MeshEngine(self.fleet, self.intent, found)
        self.check, self.to_store = impostor_checks(self.intent)
        self.reports: dict[Any, tuple[Mapping[str, Any], ...]] = {}
        self.problems: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.changed = ""

    def see(self, allowed: Mapping[str, Any], impostor: Mapping[str, Any]) -> Scene:
        self.reports["call", CallCheck(flow=self.check.flow).id] = (allowed,) * 3
        self.reports["call", self.check.id] = (impostor,) * 3
        spec = self.impostor
        self.reports["identities", spec.name] = (certs(ME),) * 3
        return self

    @property
    def impostor(self) -> PodSpec:
        spec = self.engine.impostor("gateway")
        assert spec is not None
        return spec

    def judge(self) -> Result:
        specs = [self.engine.meshed_twin("gateway"), self.engine.impostor("gateway")]
        members = {s.name: self.member(s) for s in specs if s is not None}
        snapshot = Snapshot(
            members=members, pods={}, changed={"payments": self.changed}, targets=(),
            reports=self.reports, failed=self.failed, covered=frozenset({self.check.id}),
        )  # fmt: skip
        return judge_impostor(self.engine, snapshot, self.check)

    def member(self, spec: PodSpec) -> Member:
        self.fleet.members([spec])
        problem = self.problems.get(spec.name, "")
        return Member(spec=spec, state=self.fleet.state(spec), problem=problem)


def test_only_flows_within_the_mesh_are_tried():
    intent = intent_from_text(TEXT, "zero.yaml")
    found = [check.subject for check in impostor_checks(intent)]
    assert found == ["gateway->payments:8080/tcp", "gateway->store:5432/tcp"]
    quiet = intent_from_text(TEXT.replace(", authorization: true", ""), "zero.yaml")
    assert list(impostor_checks(quiet)) == []


def test_an_impostor_differs_from_the_caller_in_its_service_account_alone():
    scene = Scene()
    twin = scene.engine.meshed_twin("gateway")
    assert replace(scene.impostor, name=twin.name, subject=twin.subject) == replace(
        twin, service_account="default"
    )
    assert Scene(gateway="default").impostor.service_account == "other"


def test_without_another_account_there_is_no_impostor():
    scene = Scene(**dict.fromkeys(("gateway", "other", "payments", "store", "plain"), "default"))
    result = scene.judge()
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "probe-not-available")
    assert "no other service account" in result.headline


def test_a_refusal_by_the_mesh_holds():
    assert Scene().see(OK, DENIED).judge().verdict is HOLDS


@pytest.mark.parametrize("answer", [OK, OWN_403])
def test_an_answer_of_the_application_is_a_violation_even_if_it_refuses(answer):
    result = Scene().see(OK, answer).judge()
    assert result.verdict is VIOLATED
    assert ME in result.headline


def test_where_the_caller_is_refused_as_well_nothing_is_shown():
    assert Scene().see(DENIED, DENIED).judge().verdict is INCONCLUSIVE


@pytest.mark.parametrize("missing", ["call", "identities"])
def test_what_was_not_observed_shows_nothing(missing):
    scene = Scene().see(OK, DENIED)
    for name in [name for name in scene.reports if name[0] == missing]:
        del scene.reports[name]
    assert scene.judge().verdict is INCONCLUSIVE


@pytest.mark.parametrize("trouble", ["failed", "problems"])
@pytest.mark.parametrize("who", ["caller", "impostor"])
def test_a_caller_that_cannot_be_asked_shows_nothing(trouble, who):
    scene = Scene().see(OK, DENIED)
    spec = scene.impostor if who == "impostor" else scene.engine.meshed_twin("gateway")
    getattr(scene, trouble)[spec.name] = "the mesh injected no proxy into it"
    result = scene.judge()
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "probe-not-available")
    assert "injected no proxy" in result.headline


def test_a_target_that_changed_shows_nothing_but_an_answer():
    scene = Scene().see(OK, DENIED)
    scene.changed = "pod web/payments-1 went away during the batch"
    assert (scene.judge().verdict, scene.judge().reason) == (INCONCLUSIVE, "pods-changed")
    answered = Scene().see(OK, OK)
    answered.changed = scene.changed
    assert answered.judge().verdict is VIOLATED


def test_both_callers_are_planned():
    scene = Scene()
    names = [spec.name for spec in scene.engine.plan([scene.check])]
    assert sorted(names) == sorted([scene.impostor.name, scene.engine.meshed_twin("gateway").name])
    assert ImpostorCheck(flow=scene.check.flow).id == scene.check.id
