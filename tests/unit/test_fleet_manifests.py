"""The objects of a run: never endpoints of anybody, never adopted, restricted, soon gone."""

from __future__ import annotations

import ast
import itertools
import json
from typing import Any

import pytest

from pytest_zerotrust.core.intent import Intent, MeshIntent, Port, ProbeIntent
from pytest_zerotrust.fleet import manifests
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.run import LIFETIME, Run

RUN = Run(id="abcdefgh", secret="s" * 64, owner="me@here", expires="2030-01-01T00:00:00Z")
OURS = {"zerotrust.dev/run", "zerotrust.dev/role", "zerotrust.dev/twin", "sidecar.istio.io/inject"}
PORTS = (Port(8080), Port(53, "UDP"), Port(9090))


def spec(role: Role = Role.TWIN, **changes: Any) -> PodSpec:
    values: dict[str, Any] = {
        "name": "zt-abcdefgh-p",
        "namespace": "ns",
        "role": role,
        "subject": "api",
        "labels": {"app": "api"},
        "service_account": "api-account",
        "ports": PORTS,
    }
    return PodSpec(**{**values, **changes})


def pod(role: Role = Role.TWIN, **changes: Any) -> dict[str, Any]:
    return manifests.pod(spec(role, **changes), RUN, "registry/probe:1", ProbeIntent())


def every_object() -> list[dict[str, Any]]:
    return [
        *(pod(role) for role in Role),
        manifests.service("svc", spec(), RUN),
        manifests.namespace("own", RUN, pod_security="restricted"),
        manifests.seal("seal", "own", RUN, "note"),
    ]


@pytest.mark.parametrize("index", range(len(every_object())))
def test_every_object_carries_the_run_its_owner_and_its_expiry(index):
    meta = every_object()[index]["metadata"]
    assert meta["labels"]["zerotrust.dev/run"] == RUN.id
    assert meta["annotations"]["zerotrust.dev/owner"] == "me@here"
    assert meta["annotations"]["zerotrust.dev/expires"] == RUN.expires


@pytest.mark.parametrize("index", range(len(every_object())))
def test_no_object_shows_the_secret_of_the_run(index):
    assert RUN.secret not in json.dumps(every_object()[index])


@pytest.mark.parametrize("role", Role)
def test_a_probe_pod_is_never_ready_so_no_service_sends_it_traffic(role):
    gates = pod(role)["spec"]["readinessGates"]
    assert [gate["conditionType"] for gate in gates] == [manifests.READINESS_GATE]


@pytest.mark.parametrize("role", Role)
def test_a_probe_pod_is_owned_by_nobody_and_looks_like_its_workload(role):
    meta = pod(role)["metadata"]
    assert "ownerReferences" not in meta
    assert meta["labels"]["app"] == "api"
    assert set(meta["labels"]) == {"app"} | OURS


@pytest.mark.parametrize("role", Role)
def test_a_probe_pod_dies_by_itself_and_is_never_started_again(role):
    body = pod(role)["spec"]
    assert body["activeDeadlineSeconds"] == LIFETIME
    assert body["restartPolicy"] == "Never"
    assert body["terminationGracePeriodSeconds"] == 0


@pytest.mark.parametrize("role", Role)
def test_a_probe_pod_has_its_workloads_account_but_no_token(role):
    body = pod(role)["spec"]
    assert body["serviceAccountName"] == "api-account"
    assert body["automountServiceAccountToken"] is False
    assert "volumes" not in body


def restricted_problems(body: dict[str, Any]) -> list[str]:
    """What Pod Security 'restricted' (Kubernetes documentation) has against a pod's spec."""
    problems = [key for key in ("hostNetwork", "hostPID", "hostIPC") if body.get(key)]
    problems += [v["name"] for v in body.get("volumes", ()) if "hostPath" in v]
    shared = body.get("securityContext", {})
    for container in (*body.get("initContainers", ()), *body["containers"]):
        own = container.get("securityContext", {})
        both = {**shared, **own}
        rules = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "seccomp": both.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "hostPort": not any("hostPort" in p for p in container.get("ports", ())),
            "probes": "host" not in container.get("readinessProbe", {}).get("tcpSocket", {}),
        }
        problems += [name for name, good in rules.items() if not good]
    safe = {"net.ipv4.ip_unprivileged_port_start"}
    problems += [s["name"] for s in shared.get("sysctls", ()) if s["name"] not in safe]
    return problems


@pytest.mark.parametrize("ports", [PORTS, (), (Port(80),), (Port(53, "UDP"),)], ids=str)
@pytest.mark.parametrize("role", [r for r in Role if not r.on_node])
def test_a_probe_pod_passes_pod_security_restricted(role, ports):
    assert restricted_problems(pod(role, ports=ports)["spec"]) == []


def test_a_node_probe_breaks_restricted_by_its_network_alone():
    body = pod(Role.NODE)["spec"]
    assert restricted_problems(body) == ["hostNetwork"]


def test_a_capturing_pod_is_root_with_one_capability_and_nothing_more():
    body = pod(Role.CAPTURE)["spec"]
    assert restricted_problems(body) == ["hostNetwork", "runAsNonRoot", "runAsUser", "capabilities"]
    (container,) = body["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_RAW"]}
    assert not any(
        "add" in c["securityContext"]["capabilities"] for c in pod()["spec"]["containers"]
    )
    assert "ports" not in container
    assert "readinessProbe" not in container


@pytest.mark.parametrize("role", [r for r in Role if not r.on_node])
def test_only_a_node_probe_is_in_the_nodes_network(role):
    assert "hostNetwork" not in pod(role)["spec"]


def test_every_container_has_requests_and_limits():
    for role in Role:
        for container in pod(role)["spec"]["containers"]:
            for kind in ("requests", "limits"):
                assert set(container["resources"][kind]) == {"cpu", "memory"}


@pytest.mark.parametrize("role", Role)
def test_only_the_meshed_twin_gets_a_sidecar(role):
    wanted = "true" if role is Role.MESHED else "false"
    assert pod(role)["metadata"]["labels"]["sidecar.istio.io/inject"] == wanted


SETS = [PORTS, (), (Port(80),), (Port(53, "UDP"),)]


@pytest.mark.parametrize("ports", SETS, ids=str)
@pytest.mark.parametrize("role", Role)
def test_the_agent_listens_on_the_workloads_ports_unless_it_is_only_a_client(role, ports):
    container = pod(role, ports=ports)["spec"]["containers"][0]
    listens = json.loads(container["command"][-1])["ports"]
    if role is Role.MESHED or role.on_node:
        assert listens == []
        assert "readinessProbe" not in container
    else:
        assert listens[: len(ports)] == [[port.number, port.protocol] for port in ports]


@pytest.mark.parametrize("ports", SETS, ids=str)
def test_the_kubelet_connects_to_a_tcp_port_that_the_agent_listens_on_whatever_it_stands_for(ports):
    container = pod(ports=ports)["spec"]["containers"][0]
    probed = container["readinessProbe"]["tcpSocket"]["port"]
    assert [probed, "TCP"] in json.loads(container["command"][-1])["ports"]


def test_a_policy_that_names_a_port_means_the_same_port_of_the_twin():
    named = {"http": 8080, "dns": 53}
    container = pod(port_names=named)["spec"]["containers"][0]
    assert container["ports"] == [
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
    ]
    assert restricted_problems(pod(port_names=named)["spec"]) == []


@pytest.mark.parametrize(
    ("ports", "needs"),
    [((Port(80),), True), ((Port(53, "UDP"),), True), ((Port(1024),), False), ((), False)],
)
def test_a_low_port_is_opened_to_a_user_by_a_safe_sysctl(ports, needs):
    context = pod(ports=ports)["spec"]["securityContext"]
    assert ("sysctls" in context) is needs


def test_the_agent_travels_in_the_pods_own_command_and_gets_its_key_in_the_environment():
    container = pod()["spec"]["containers"][0]
    assert container["command"][:4] == ["python3", "-I", "-u", "-c"]
    assert container["command"][4] == manifests.agent_source()
    environment = {e["name"]: e["value"] for e in container["env"]}
    assert environment["ZT_KEY"].encode() == RUN.pod_key("ns", "zt-abcdefgh-p")
    assert environment["ZT_POD"] == "zt-abcdefgh-p"


@pytest.mark.parametrize("source", [manifests.agent_source(), manifests.relay_source()])
def test_what_runs_in_the_pod_is_python_3_9_and_standard_library_alone(source):
    import sys

    tree = ast.parse(source, feature_version=(3, 9))
    names = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        str(node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert names
    assert names <= sys.stdlib_module_names


PLACED = ProbeIntent(
    node_selector={"pool": "tests"},
    tolerations=({"key": "tests", "operator": "Exists", "effect": "NoSchedule"},),
    priority_class="low",
)


@pytest.mark.parametrize("role", Role)
def test_every_probe_pod_runs_where_the_user_wants_it(role):
    body = manifests.pod(spec(role, node="n"), RUN, "i", PLACED)["spec"]
    assert body["nodeSelector"] == {"pool": "tests"}
    assert body["tolerations"] == [PLACED.tolerations[0]]
    assert body["priorityClassName"] == "low"
    assert "requiredDuringSchedulingIgnoredDuringExecution" in body["affinity"]["nodeAffinity"]


@pytest.mark.parametrize("key", ["nodeSelector", "tolerations", "priorityClassName"])
def test_nothing_is_said_about_placing_unless_the_user_does(key):
    assert key not in pod()["spec"]


def test_pull_secrets_are_named_only_if_there_are_any():
    assert "imagePullSecrets" not in pod()["spec"]
    body = manifests.pod(spec(), RUN, "i", ProbeIntent(pull_secrets=("a", "b")))["spec"]
    assert body["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


def test_a_twin_would_rather_run_where_its_workload_runs_but_need_not():
    affinity = pod(near="node-1")["spec"]["affinity"]["nodeAffinity"]
    assert set(affinity) == {"preferredDuringSchedulingIgnoredDuringExecution"}


def test_a_pod_bound_to_a_node_is_still_placed_by_the_scheduler():
    body = pod(Role.CANARY, node="node-1")["spec"]
    assert "nodeName" not in body
    terms = body["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    field = terms["nodeSelectorTerms"][0]["matchFields"][0]
    assert field == {"key": "metadata.name", "operator": "In", "values": ["node-1"]}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def test_our_service_leads_to_one_pod_of_this_run_and_to_nothing_else():
    body = manifests.service("svc", spec(), RUN)["spec"]
    assert selects(body["selector"], pod()["metadata"]["labels"])
    assert not selects(body["selector"], pod(name="other")["metadata"]["labels"])
    assert not selects(body["selector"], {"app": "api"})
    assert body["publishNotReadyAddresses"] is True
    offered = [(p["port"], p["targetPort"], p["protocol"]) for p in body["ports"]]
    assert offered == [(8080, 8080, "TCP"), (53, 53, "UDP"), (9090, 9090, "TCP")]
    assert len({p["name"] for p in body["ports"]}) == 3


def test_the_seal_closes_the_sealed_canaries_of_this_run_and_no_other_pod():
    policy = manifests.seal("seal", "own", RUN, "note")
    assert policy["metadata"]["annotations"]["zerotrust.dev/reached-before"] == "note"
    assert policy["metadata"]["namespace"] == "own"
    selector = policy["spec"]["podSelector"]
    assert set(selector) == {"matchLabels"}
    other = Run(id="other", secret="x", owner="", expires="")
    for role, run in itertools.product(Role, (RUN, other)):
        labels = manifests.pod(spec(role), run, "i", ProbeIntent())["metadata"]["labels"]
        sealed = role is Role.SEALED and run is RUN
        assert selects(selector["matchLabels"], labels) is sealed
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in policy["spec"]


@pytest.mark.parametrize(
    ("intent", "level"),
    [
        (Intent(source="z"), "restricted"),
        (Intent(source="z", mesh=MeshIntent()), "restricted"),
        (Intent(source="z", mesh=MeshIntent(node_vantage=True)), "privileged"),
        (Intent(source="z", probe=ProbeIntent(host_network=True)), "privileged"),
    ],
)
def test_our_namespace_enforces_the_strictest_level_that_its_pods_allow(intent, level):
    assert manifests.own_pod_security(intent) == level
    labels = manifests.namespace("own", RUN, pod_security=level)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == level
    assert labels["istio-injection"] == "disabled"
