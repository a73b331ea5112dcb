"""A pod is in the mesh only with all of its traffic: every way around is found in what it says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from pytest_zerotrust.core.mesh import excluded_ports, judge_enrolment
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.mesh.specs import read_pod

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE

CHECKS = {"/app-health/app/readyz": {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTP"}}}
PROXY: dict[str, Any] = {
    "name": "istio-proxy",
    "restartPolicy": "Always",
    "securityContext": {"runAsUser": 1337, "runAsGroup": 1337},
    "ports": [{"containerPort": 15090, "name": "http-envoy-prom"}],
    "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": json.dumps(CHECKS)}],
}
# As the API server tells an injected pod of a mesh with its CNI plug-in.
POD: dict[str, Any] = {
    "metadata": {
        "name": "one",
        "namespace": "web",
        "uid": "u1",
        "labels": {"app": "payments", "security.istio.io/tlsMode": "istio"},
        "annotations": {
            "sidecar.istio.io/interceptionMode": "REDIRECT",
            "traffic.sidecar.istio.io/excludeInboundPorts": "15020",
            "traffic.sidecar.istio.io/includeInboundPorts": "*",
            "traffic.sidecar.istio.io/includeOutboundIPRanges": "*",
        },
    },
    "spec": {
        "securityContext": {"runAsUser": 65532},
        "initContainers": [{"name": "istio-validation"}, PROXY],
        "containers": [
            {
                "name": "app",
                "ports": [{"containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"}],
                "readinessProbe": {"httpGet": {"path": "/app-health/app/readyz", "port": 15020}},
            }
        ],
    },
    "status": {
        "phase": "Running",
        "initContainerStatuses": [{"name": "istio-proxy", "ready": True}],
        "containerStatuses": [{"name": "app", "ready": True}],
    },
}


def pod(**spec: Any) -> dict[str, Any]:
    made = copy.deepcopy(POD)
    made["spec"] |= spec
    return made


def annotated(**words: str) -> dict[str, Any]:
    made = copy.deepcopy(POD)
    names = {f"traffic.sidecar.istio.io/{key}": value for key, value in words.items()}
    made["metadata"]["annotations"] |= names
    return made


def container(name: str = "app", **security: Any) -> dict[str, Any]:
    return {"name": name, "securityContext": security}


def judge(*pods: dict[str, Any]) -> tuple[Verdict, str]:
    conclusion = judge_enrolment([read_pod(item) for item in pods])
    return conclusion.verdict, conclusion.text


def test_an_injected_pod_holds():
    assert judge(POD)[0] is HOLDS


def test_its_ports_and_the_port_of_its_readiness_probe_are_known():
    read = read_pod(POD)
    assert read.ports == {8080}
    assert read.probed == {8080}
    assert excluded_ports(read) == frozenset()


def test_a_sidecar_in_the_old_form_is_one_too():
    old = pod(initContainers=[{"name": "istio-init"}], containers=[{"name": "app"}, PROXY])
    assert judge(old)[0] is HOLDS


def test_a_proxy_to_which_nothing_leads_is_not_enough():
    verdict, text = judge(pod(initContainers=[], containers=[{"name": "app"}, PROXY]))
    assert verdict is Verdict.INCONCLUSIVE
    assert "nothing shows that the traffic" in text


def test_an_ephemeral_container_may_lead_around_the_proxy():
    verdict, text = judge(pod(ephemeralContainers=[container("debugger", runAsUser=1337)]))
    assert verdict is VIOLATED
    assert "debugger" in text


HOLES: dict[str, tuple[dict[str, Any], str]] = {
    "no proxy": (pod(initContainers=[]), "has no proxy"),
    "the node's network": (pod(hostNetwork=True), "node's network"),
    "a port coming in": (annotated(excludeInboundPorts="15020,9000"), "9000"),
    "all but some ports": (annotated(includeInboundPorts="8080"), "no other ports than 8080"),
    "no port at all": (annotated(includeInboundPorts=""), "no other ports than none"),
    "a port going out": (annotated(excludeOutboundPorts="5432"), "5432"),
    "addresses going out": (annotated(excludeOutboundIPRanges="10.0.0.0/8"), "10.0.0.0/8"),
    "all but some addresses": (annotated(includeOutboundIPRanges="10.1.0.0/16"), "10.1.0.0/16"),
    "an interface": (annotated(excludeInterfaces="net1"), "net1"),
    "the proxy's user": (pod(containers=[container(runAsUser=1337)]), "as the proxy"),
    "the proxy's group": (pod(containers=[container(runAsGroup=1337)]), "as the proxy"),
    "the proxy's user, on the pod": (pod(securityContext={"runAsUser": 1337}), "as the proxy"),
    "an init container as the proxy": (
        pod(initContainers=[container("early", runAsUser=1337), PROXY]),
        "early as the proxy",
    ),
    "NET_ADMIN": (pod(containers=[container(capabilities={"add": ["NET_ADMIN"]})]), "NET_ADMIN"),
    "CAP_NET_ADMIN": (
        pod(containers=[container(capabilities={"add": ["CAP_NET_ADMIN"]})]),
        "NET_ADMIN",
    ),
    "all capabilities": (pod(containers=[container(capabilities={"add": ["ALL"]})]), "ALL"),
    "privileges": (pod(containers=[container(privileged=True)]), "privileges"),
    "a container before the redirection": (
        pod(initContainers=[{"name": "migrate"}, {"name": "istio-init"}, PROXY]),
        "migrate before its traffic is captured",
    ),
}


@pytest.mark.parametrize("what", HOLES)
def test_every_way_around_is_a_violation_that_names_it(what):
    broken, words = HOLES[what]
    verdict, text = judge(POD, broken)
    assert verdict is VIOLATED
    assert words in text


SOUND: dict[str, dict[str, Any]] = {
    "the proxy's own ports": annotated(excludeInboundPorts="15020, 15021,15090"),
    "an init container after the redirection": pod(
        initContainers=[{"name": "istio-init"}, {"name": "migrate"}, PROXY]
    ),
    "an init container where a CNI plug-in redirects": pod(
        initContainers=[{"name": "istio-validation"}, {"name": "migrate"}, PROXY]
    ),
    "a harmless capability": pod(
        containers=[container(capabilities={"add": ["NET_BIND_SERVICE"]})]
    ),
    "the privileges of istio-init": pod(
        initContainers=[container("istio-init", capabilities={"add": ["NET_ADMIN"]}), PROXY]
    ),
    "the proxy's user overruled": pod(
        securityContext={"runAsUser": 1337}, containers=[container(runAsUser=65532)]
    ),
    "the proxy's file group": pod(securityContext={"fsGroup": 1337}),
}


@pytest.mark.parametrize("what", SOUND)
def test_what_leads_nowhere_is_not_reported(what):
    verdict, text = judge(SOUND[what])
    assert verdict is HOLDS, text


@pytest.mark.parametrize(("kind", "where"), [("label", "labels"), ("annotation", "annotations")])
def test_injection_that_was_switched_off_is_told(kind, where):
    broken = pod(initContainers=[])
    broken["metadata"][where]["sidecar.istio.io/inject"] = "false"
    assert f"{kind} sidecar.istio.io/inject: false" in judge(broken)[1]


USUAL = ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"]
CAPTURING = ["-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["-d", "15090,15021,9000"], "ports 9000"),
        (["-o", "5432"], "5432"),
        (["-x", "10.0.0.0/8"], "10.0.0.0/8"),
        (["-i", "10.1.0.0/16"], "no other addresses than 10.1.0.0/16"),
        (["-b", "8080"], "no other ports than 8080"),
    ],
)
def test_what_the_mesh_itself_excludes_for_all_pods_is_a_hole_as_well(more, words):
    def told(*args: str) -> dict[str, Any]:
        item = pod(initContainers=[{"name": "istio-init", "args": [*USUAL, *args]}, PROXY])
        item["metadata"]["annotations"] = {}
        return item

    assert judge(told(*CAPTURING))[0] is HOLDS
    verdict, text = judge(told(*CAPTURING, *more))
    assert verdict is VIOLATED
    assert words in text


def test_a_proxy_that_is_not_ready_is_inconclusive():
    waiting = copy.deepcopy(POD)
    waiting["status"]["initContainerStatuses"][0]["ready"] = False
    assert judge(POD, waiting)[0] is INCONCLUSIVE
    # A hole is one whatever the other pods are.
    assert judge(waiting, pod(hostNetwork=True))[0] is VIOLATED


def test_a_workload_without_pods_is_inconclusive():
    assert judge()[0] is INCONCLUSIVE


LINKERD = pod(initContainers=[], containers=[{"name": "app"}, {"name": "linkerd-proxy"}])
AMBIENT = pod(initContainers=[])
AMBIENT["metadata"]["annotations"]["ambient.istio.io/redirection"] = "enabled"


@pytest.mark.parametrize(
    ("other", "name"), [(LINKERD, "Linkerd"), (AMBIENT, "ambient")], ids=["linkerd", "ambient"]
)
def test_other_meshes_are_recognised_and_never_judged(other, name):
    verdict, text = judge(other)
    assert verdict is INCONCLUSIVE
    assert name in text
    assert judge(other, POD)[0] is INCONCLUSIVE
    assert judge(other, pod(initContainers=[]))[0] is VIOLATED


@pytest.mark.parametrize("value", ["", "no JSON", "[]", "{}", '{"/x/readyz": {}}', '{"a": 1}'])
def test_health_checks_that_cannot_be_read_show_nothing(value):
    broken = copy.deepcopy(POD)
    broken["spec"]["initContainers"][1]["env"][0]["value"] = value
    assert read_pod(broken).probed == frozenset()


@pytest.mark.parametrize("way", ["httpGet", "tcpSocket", "grpc"])
def test_health_checks_that_were_not_redirected_count_as_well(way):
    web = {"name": "web", "containerPort": 9000}
    probe = {way: {"port": 9000 if way == "grpc" else "web"}}
    plain = {"name": "app", "ports": [web], "readinessProbe": probe, "livenessProbe": probe}
    read = read_pod(pod(initContainers=[], containers=[plain]))
    assert read.probed == {9000}
    alive = {"name": "app", "ports": [web], "livenessProbe": probe}
    read = read_pod(pod(initContainers=[], containers=[alive]))
    assert (read.probed, read.ports) == (frozenset(), {9000})


@pytest.mark.parametrize("word", ["9000", " 9000 ", "x,9000", "9000,"])
def test_excluded_ports_are_read_whatever_stands_beside_them(word):
    assert excluded_ports(read_pod(annotated(excludeInboundPorts=word))) == {9000}
