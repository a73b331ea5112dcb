"""What follows from an intent: each flow is allowed or denied, each check has one stable id."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.checks import KINDS, NothingToCheck, checks_of
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import Flow, Intent, Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent import load_intent
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.network.checks import FlowCheck, Via, flow_check

SHIPPED = Path(__file__).parents[2] / "zerotrust.yaml"
TEXT = """
version: 1
workloads:
  front: {namespace: web, labels: {app: front}, ports: [80, {port: 53, protocol: UDP}]}
  back: {namespace: web, labels: {app: back}, ports: [{port: 9000, send: "ping"}], meshed: true}
  store: {namespace: data, labels: {app: store, tier: db}, ports: [5432], service: db}
  batch: {namespace: data, labels: {app: batch}, meshed: true}
flows:
  - front -> back:9000
  - back -> store:5432/TCP
  - batch -> front:53/udp
mesh: {nodeVantage: true}
admission: {registries: [r.example.com/], engine: gatekeeper}
probe: {image: "p:1", pullSecrets: [s], maxPods: 7, namespace: probes}
"""


@pytest.fixture
def intent() -> Intent:
    return intent_from_text(TEXT, "zero.yaml")


def test_a_whole_file_is_read_as_it_is_written(intent: Intent):
    assert intent.namespaces == ("web", "data")
    assert list(intent.workloads) == ["front", "back", "store", "batch"]
    front, back = intent.workloads["front"], intent.workloads["back"]
    assert front.ports == (Port(80), Port(53, "UDP"))
    assert [p.send for p in back.ports] == ["ping"]
    assert (front.meshed, back.meshed) == (False, True)
    assert intent.workloads["store"].service == "db"
    assert intent.workloads["store"].labels == {"app": "store", "tier": "db"}
    assert intent.flows[2] == Flow("batch", "front", Port(53, "UDP"))
    assert intent.mesh is not None
    assert (intent.mesh.mode, intent.mesh.node_vantage) == ("STRICT", True)
    assert intent.admission is not None
    assert intent.admission.namespaces == ("web", "data")
    assert intent.admission.engine == "gatekeeper"
    assert intent.probe.image == "p:1"
    assert (intent.probe.namespace, intent.probe.max_pods) == ("probes", 7)
    assert intent.probe.pull_secrets == ("s",)


def test_where_probe_pods_run_is_read():
    text = (
        "version: 1\nprobe:\n  nodeSelector: {pool: tests, kubernetes.io/arch: arm64}\n"
        "  tolerations: [{key: tests, operator: Exists}, {key: a, value: b, effect: NoExecute}]\n"
        "  priorityClassName: low\n"
    )
    probe = intent_from_text(text, "zero.yaml").probe
    assert probe.node_selector == {"pool": "tests", "kubernetes.io/arch": "arm64"}
    assert [one["key"] for one in probe.tolerations] == ["tests", "a"]
    assert probe.priority_class == "low"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("nodeSelector: {pool: 3}", "pool"),
        ("nodeSelector: [pool]", "nodeSelector"),
        ("tolerations: [{key: a, operator: Like}]", "operator"),
        ("tolerations: [{key: a, effect: Never}]", "effect"),
        ("tolerations: [{kee: a}]", "kee"),
        ("priorityClassName: Not A Name", "priorityClassName"),
    ],
)
def test_a_slip_about_where_probe_pods_run_is_told(line, named):
    with pytest.raises(IntentProblem, match=named):
        intent_from_text(f"version: 1\nprobe:\n  {line}\n", "zero.yaml")


def test_a_flow_takes_the_payload_of_its_targets_port(intent: Intent):
    assert intent.flows[0].port.send == "ping"


def test_a_minimal_file_declares_nothing_and_demands_nothing_of_the_mesh():
    intent = intent_from_text("version: 1\n", "zero.yaml")
    assert (intent.workloads, intent.flows, intent.namespaces) == ({}, (), ())
    assert (intent.mesh, intent.admission) == (None, None)


def test_every_pair_of_workloads_and_port_is_either_allowed_or_denied(intent: Intent):
    denied = {(f.source, f.target, f.port) for f in intent.denied_flows()}
    allowed = {(f.source, f.target, f.port) for f in intent.flows}
    everything = {
        (source, target, port)
        for source in intent.workloads
        for target, workload in intent.workloads.items()
        for port in workload.ports
        if source != target
    }
    assert denied | allowed == everything
    assert not denied & allowed


def test_an_allowed_port_does_not_allow_the_same_number_of_the_other_protocol(intent: Intent):
    assert intent.allows("batch", "front", Port(53, "UDP"))
    assert not intent.allows("batch", "front", Port(53))
    assert not intent.allows("front", "batch", Port(53, "UDP"))


def test_the_payload_of_a_port_makes_no_other_port_of_it(intent: Intent):
    assert intent.allows("front", "back", Port(9000))
    assert Port(9000, send="ping") == Port(9000)


def test_denied_flows_across_and_within_namespaces_are_all_the_denied_flows(intent: Intent):
    across = checks_of("denied-across-namespaces", intent)
    within = checks_of("denied-within-namespace", intent)
    assert {c.control for c in across} == {"ZT-NET-001"}
    assert {c.control for c in within} == {"ZT-NET-002"}
    flows = {c.flow for c in (*across, *within) if isinstance(c, FlowCheck)}
    assert flows == set(intent.denied_flows())
    for check in (*across, *within):
        assert check.expected is Expected.DENIED
        ends = {intent.workloads[k].namespace for k in (check.flow.source, check.flow.target)}
        assert (len(ends) == 2) is (check in across)


@pytest.mark.parametrize("kind", ["denied-across-namespaces", "denied-within-namespace", "allowed"])
def test_every_flow_is_checked_every_way_that_there_is(kind, intent: Intent):
    checks = checks_of(kind, intent)
    # A name leads to the Service IP, so only what must work is tried by name as well.
    ways = set(Via) if kind == "allowed" else {Via.POD_IP, Via.SERVICE_IP}
    for via in Via:
        wanted = len(checks) / len(ways) if via in ways else 0
        assert len([c for c in checks if c.via is via]) == wanted


def test_a_flow_check_follows_from_the_intent_alone(intent: Intent):
    allowed = flow_check(intent, intent.flows[0], Via.POD_IP)
    denied = flow_check(intent, Flow("back", "front", Port(80)), Via.POD_IP)
    assert (allowed.control, allowed.expected) == ("ZT-NET-003", Expected.ALLOWED)
    assert (denied.control, denied.expected) == ("ZT-NET-002", Expected.DENIED)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_unique_stable_and_carry_their_control(kind, intent: Intent):
    checks = checks_of(kind, intent)
    ids = [check.id for check in checks]
    assert len(set(ids)) == len(ids)
    assert ids == [c.id for c in checks_of(kind, intent_from_text(TEXT, "other.yaml"))]
    for check in checks:
        assert check.control == KINDS[kind].control
        assert check.id.startswith(f"{check.control}-")
        assert check.id.isascii()


@pytest.mark.parametrize("kind", KINDS)
def test_an_intent_without_a_subject_still_gives_each_kind_one_check_that_says_why(kind):
    checks = checks_of(kind, intent_from_text("version: 1\n", "zero.yaml"))
    assert len(checks) == 1
    if kind != "canaries":
        assert isinstance(checks[0], NothingToCheck)
        assert checks[0].why.startswith("the intent ")
        assert checks[0].control in CONTROLS


def test_only_meshed_workloads_with_tcp_ports_are_attacked(intent: Intent):
    for kind in ("plaintext", "identity"):
        assert [(c.workload, c.port) for c in checks_of(kind, intent)] == [("back", Port(9000))]


def test_only_tcp_flows_of_meshed_sources_are_called_from_inside_the_mesh(intent: Intent):
    assert [c.flow for c in checks_of("mesh-call", intent)] == [intent.flows[1]]


@pytest.mark.parametrize("kind", ["plaintext", "identity", "mesh-call"])
def test_without_a_mesh_in_the_intent_nothing_of_it_is_checked(kind):
    text = TEXT.replace("mesh: {nodeVantage: true}", "")
    assert isinstance(checks_of(kind, intent_from_text(text, "z"))[0], NothingToCheck)


@pytest.mark.parametrize("kind", ["privileged", "run-as-root", "image-from-elsewhere"])
def test_each_rule_is_broken_in_each_namespace_and_list_of_containers(kind, intent: Intent):
    checks = checks_of(kind, intent)
    assert [(c.namespace, c.list_name) for c in checks if isinstance(c, PairCheck)] == [
        (namespace, name)
        for namespace in ("web", "data")
        for name in ("containers", "initContainers")
    ]


@pytest.mark.parametrize(
    ("target", "port", "sources"),
    [
        ("back", Port(9000), ("front",)),
        ("front", Port(53, "UDP"), ("batch",)),
        ("front", Port(80), ()),
    ],
)
def test_the_allowed_sources_of_a_port_are_those_of_its_flows(target, port, sources, intent):
    assert intent.sources_of(target, port) == sources


def test_the_intent_file_of_the_lab_is_valid_and_covers_every_kind():
    intent = load_intent(SHIPPED)
    # The lab's kernel encrypts nothing between nodes, so its intent does not demand it.
    for kind in KINDS.keys() - {"wire", "mesh-wire"}:
        checks = checks_of(kind, intent)
        assert not isinstance(checks[0], NothingToCheck), kind
    for flow in intent.flows:
        assert flow.port in intent.workloads[flow.target].ports


def test_a_port_of_a_workload_is_the_declared_one_or_a_plain_one(intent: Intent):
    back, front = intent.workloads["back"], intent.workloads["front"]
    assert back.port(9000).send == "ping"
    assert back.port(9000, "UDP") == Port(9000, "UDP")
    assert back.port(9001) == Port(9001)
    assert front.port(53, "UDP") == Port(53, "UDP")
    assert front.port(53) == Port(53)


@pytest.mark.parametrize(
    ("key", "name"), [("api", "web/api"), ("web/app=api", "web/app=api"), ("a.b", "web/a.b")]
)
def test_a_workload_is_shown_with_its_namespace_once(key, name):
    assert Workload(key=key, namespace="web", labels={}).name == name


def test_the_sources_of_a_port_are_those_of_this_workload_alone(intent: Intent):
    flows = (Flow("a", "x", Port(80)), Flow("b", "y", Port(80)), Flow("c", "x", Port(81)))
    assert Intent(source="z", flows=flows).sources_of("x", Port(80)) == ("a",)


def test_sctp_is_a_protocol_like_the_others():
    text = """
version: 1
workloads:
  a: {namespace: x, labels: {app: a}, ports: [9000/sctp, 9000, 53/udp]}
  b: {namespace: x, labels: {app: b}, ports: [{port: 9000, protocol: SCTP}]}
flows: [b -> a:9000/sctp]
"""
    intent = intent_from_text(text, "zero.yaml")
    assert intent.workloads["a"].ports == (Port(9000, "SCTP"), Port(9000), Port(53, "UDP"))
    assert intent.workloads["b"].side_ports == (Port(9000), Port(9001))
    checks = {
        c.id for kind in ("allowed", "denied-within-namespace") for c in checks_of(kind, intent)
    }
    assert "ZT-NET-003-b->a:9000/sctp-pod-ip" in checks
    assert "ZT-NET-002-a->b:9000/sctp-pod-ip" in checks
    assert "ZT-NET-002-b->a:9000/tcp-pod-ip" in checks


def test_encryption_is_a_demand_and_the_capture_a_consent_of_its_own():
    silent = intent_from_text("version: 1\n", "zero.yaml")
    assert silent.encryption is None
    assert silent.probe.capture is False
    text = "version: 1\nencryption: {betweenNodes: required}\nprobe: {capture: true}\n"
    asked = intent_from_text(text, "zero.yaml")
    assert asked.encryption is not None
    assert asked.encryption.between_nodes == "required"
    assert asked.probe.capture is True
