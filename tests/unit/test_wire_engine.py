"""From an intent to verdicts on the wire, over pretended nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_zerotrust.core.observation import expected_answer
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.plan import Role
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.mesh.engine import MeshEngine
from pytest_zerotrust.mesh.judge_wire import judge_wire
from pytest_zerotrust.mesh.wire import WireEngine
from pytest_zerotrust.mesh.wire_checks import Check, mesh_wire_checks, wire_checks
from tests.fakes.mesh import CUT, OK, MeshFleet, pod_item
from tests.unit.test_mesh_engine import Scene

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
TEXT = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, meshed: true}
  payments: {namespace: web, labels: {app: payments}, ports: [8080], meshed: true}
flows: [gateway -> payments:8080]
mesh: {}
encryption: {betweenNodes: required}
probe: {capture: true}
"""


class WireFleet(MeshFleet):
    """Probe pods on nodes whose wire shows what ``plain`` and ``meshed`` say: 'clear', 'hidden' or
    'nothing'. ``lost`` packets are told by every capture."""

    def __init__(self) -> None:
        super().__init__([pod_item("payments", "10.0.9.2")], "", "")
        self.plain = self.meshed = "hidden"
        self.lost = 0
        self.call: Mapping[str, Any] = OK
        self.refused: Mapping[str, Any] | None = None
        self.wanted: dict[str, Mapping[str, Any]] = {}
        self.sent: list[tuple[str, int]] = []

    def _report(self, spec: Any, source: Any, probe: Mapping[str, Any]) -> Any:
        if probe["kind"] == "capture":
            if probe["do"] == "start":
                self.wanted[spec.name] = probe
                return self.refused or {"stage": "capture", "end": "started"}
            return self.refused or self._captured(self.wanted[spec.name])
        if spec.role is Role.MESHED:
            return self.call
        self.sent.append((probe["kind"], len(probe["send"])))
        words = probe["send"].split()
        if words[0] != "ZT1":
            return {"stage": "connect", "end": "timeout"}
        (listener,) = [n for n, s in self.specs.items() if self.state(s).ip == probe["ip"]]
        proof = expected_answer(self.key_of(self.specs[listener]), words[1])
        return {"stage": "exchange", "end": "complete", "data": f"ZT1 {proof} x\n"}

    def _captured(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        def shown(name: str) -> bool:
            if name == "control":
                return True
            return (self.meshed if name in wanted["pairs"] else self.plain) == "clear"

        seen = {
            "interface": "eth0", "from": "10.0.0.1", "to": "10.0.1.1", "protocol": "tcp/8080",
            "ms": 1, "size": 90,
        }  # fmt: skip
        sizes = {size for kind, size in self.sent if kind == "udp" and size > 350}
        hidden = {size + 28 + 64: 12 for size in sizes}
        carriers = {f"{node} udp/51871": hidden for node in wanted["toward"]}
        tls = {"hidden": 7}.get(self.meshed, 0)
        return {
            "stage": "capture",
            "end": "complete",
            "interfaces": {"eth0": 1},
            "packets": 50,
            "lost": self.lost,
            "found": {
                name: [{**seen, "excerpt": needle["text"]}] if shown(name) else []
                for name, needle in wanted["needles"].items()
            },
            "between": {name: {"packets": 9, "tls": tls, "other": 0} for name in wanted["pairs"]},
            "carriers": carriers if self.plain == "hidden" else {},
        }


class Wire:
    """A wire engine over pretended nodes."""

    def __init__(self, text: str = TEXT, nodes: tuple[str, ...] = ("node-1", "node-2")) -> None:
        self.intent = intent_from_text(text, "zero.yaml")
        self.fleet = WireFleet()
        live = {key: Scene.live(key) for key in self.intent.workloads}
        mesh = MeshEngine(self.fleet, self.intent, live)  # type: ignore[arg-type]
        self.engine = WireEngine(mesh, lambda: nodes, lambda: ("nothing tells of it",))

    def checks(self) -> list[Check]:
        return [*wire_checks(self.intent), *mesh_wire_checks(self.intent)]

    def results(self) -> dict[str, Result]:
        found = {}
        for check in self.checks():
            snapshot = self.engine.snapshot(check, self.checks()) if self.engine.allowed else None
            found[check.id] = judge_wire(self.engine, check, snapshot)
        return found

    def seen(self) -> list[tuple[Verdict, str]]:
        return [(result.verdict, result.reason) for result in self.results().values()]


IDS = [
    "ZT-ENC-001-between-nodes/tcp",
    "ZT-ENC-001-between-nodes/udp",
    "ZT-ENC-002-gateway->payments:8080/tcp",
]


def test_what_is_hidden_everywhere_holds_and_is_observed_in_one_batch():
    wire = Wire()
    results = wire.results()
    assert {name: r.verdict for name, r in results.items()} == dict.fromkeys(IDS, HOLDS)
    assert len(wire.fleet.execs) == 3
    assert "by configuration, which shows nothing" in results[IDS[0]].controls[1]


def test_no_intent_no_check():
    wire = Wire(TEXT.replace("encryption: {betweenNodes: required}", ""))
    assert wire.checks() == []
    assert wire.engine.plan(wire.checks()) == []


def test_without_consent_nothing_is_made():
    wire = Wire(TEXT.replace("probe: {capture: true}", ""))
    assert wire.seen() == [(INCONCLUSIVE, "capture-not-allowed")] * 3
    assert wire.engine.plan(wire.checks()) == []
    assert wire.fleet.specs == {}


def test_plain_traffic_in_the_clear_is_violated_and_the_mesh_is_told_apart():
    wire = Wire()
    wire.fleet.plain = "clear"
    results = wire.results()
    assert [r.verdict for r in results.values()] == [VIOLATED, VIOLATED, HOLDS]
    captured = results[IDS[0]].evidence["captured"]
    assert all(item["bytes"].startswith("zerotrust-") for item in captured)
    # One way there, and one back.
    assert len(captured) == 2


def test_a_call_in_the_clear_is_violated_even_if_the_target_refuses_it():
    wire = Wire()
    wire.fleet.meshed, wire.fleet.call = "clear", CUT
    assert [verdict for verdict, _ in wire.seen()] == [HOLDS, HOLDS, VIOLATED]


def test_a_call_that_nobody_answers_shows_nothing():
    wire = Wire()
    wire.fleet.call = CUT
    assert wire.seen()[2] == (INCONCLUSIVE, "no-exchange")


def test_tls_that_is_not_seen_is_no_pass():
    wire = Wire()
    wire.fleet.plain, wire.fleet.meshed = "clear", "nothing"
    assert wire.seen()[2] == (INCONCLUSIVE, "not-seen")


def test_tls_below_which_all_is_encrypted_is_not_applicable():
    wire = Wire()
    wire.fleet.meshed = "nothing"
    assert wire.seen()[2] == (Verdict.NOT_APPLICABLE, "encrypted-below")


def test_a_wire_on_which_nothing_of_ours_is_seen_is_no_pass():
    wire = Wire()
    wire.fleet.plain = "nothing"
    assert wire.seen()[:2] == [(INCONCLUSIVE, "not-seen")] * 2


def test_lost_packets_are_no_pass():
    wire = Wire()
    wire.fleet.lost = 1
    assert wire.seen() == [(INCONCLUSIVE, "packets-lost")] * 3


def test_a_capture_that_is_not_permitted_is_no_pass():
    wire = Wire()
    wire.fleet.refused = {"stage": "capture", "end": "failed", "errno": "EPERM"}
    assert wire.seen() == [(INCONCLUSIVE, "capture-not-permitted")] * 3


@pytest.mark.parametrize("how", ["problems", "failing"])
def test_a_capturing_pod_that_cannot_be_had_or_is_killed_is_no_pass(how):
    wire = Wire()
    getattr(wire.fleet, how)["node-2"] = "killed"
    seen = wire.seen()
    assert seen == [(INCONCLUSIVE, "probe-not-available")] * 3


def test_a_talker_that_is_killed_is_no_pass():
    wire = Wire()
    wire.fleet.failing["talker on node-1"] = "killed"
    assert wire.seen()[:2] == [(INCONCLUSIVE, "no-exchange")] * 2


@pytest.mark.parametrize("nodes", [(), ("node-1",)])
def test_one_node_has_no_wire(nodes):
    wire = Wire(nodes=nodes)
    assert wire.seen() == [(INCONCLUSIVE, "single-node")] * 3


def test_the_callers_of_the_mesh_are_where_their_target_is_not():
    wire = Wire(nodes=("node-1", "node-2", "node-3"))
    specs = wire.engine.plan(wire.checks())
    callers = [spec for spec in specs if spec.role is Role.MESHED]
    assert [spec.node for spec in callers] == ["node-2"]
    assert {s.node for s in specs if s.role is Role.CAPTURE} == {"node-1", "node-2", "node-3"}


def test_what_a_port_is_sent_is_looked_for_where_no_nonce_can_be():
    text = TEXT.replace("ports: [8080]", "ports: [{port: 8080, send: 'ping 1'}]")
    wire = Wire(text)
    wire.results()
    needles = [n for probe in wire.fleet.wanted.values() for n in probe["needles"].values()]
    assert {"text": "ping 1", "pair": f"{IDS[2]} payments-1"} in needles


def test_too_short_a_text_is_not_looked_for():
    text = TEXT.replace("ports: [8080]", "ports: [{port: 8080, send: 'hi'}]")
    assert Wire(text).seen()[2] == (INCONCLUSIVE, "probe-not-available")
