"""Nodes, network, mesh, admission and names that break under a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.faults.conftest import LAB
from tests.faults.proxy import Proxy
from tests.faults.support import (
    CANARIES,
    CHECKS,
    NETWORK,
    about,
    agents,
    exactly,
    green,
    host_link,
    machine,
    memory_group,
    out_of_memory,
    process_of,
    run,
    scaled_down,
    through,
    touching,
    twins,
)
from tests.live.support import HOLDS, INCONCLUSIVE, VIOLATED, Cluster, zt_lab

pytestmark = pytest.mark.faults

WEBHOOK = "gatekeeper-validating-webhook-configuration"


def test_a_kubelet_hangs(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """No pod of its node can be asked; what is asked from the other node is known."""
    node = f"{LAB}-node1"
    pid = process_of(f"kubelet-{node}")
    where: dict[str, tuple[str, str, str]] = {}

    def hang() -> None:
        where.update(twins(lab))
        os.kill(pid, signal.SIGSTOP)

    proxy.in_the_batch(hang)
    try:
        found = through(proxy, tmp_path)
    finally:
        os.kill(pid, signal.SIGCONT)
    exactly(found, touching(where, node))


def test_a_node_is_cut_off(proxy: Proxy, lab: Cluster, mended: None, tmp_path: Path):
    """Its link goes down: its pods can neither be asked nor reached."""
    node = f"{LAB}-node2"
    link = host_link(node)
    where: dict[str, tuple[str, str, str]] = {}

    def cut() -> None:
        where.update(twins(lab))
        subprocess.run(["ip", "link", "set", link, "down"], check=True)

    proxy.in_the_batch(cut)
    try:
        found = through(proxy, tmp_path)
    finally:
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
    exactly(found, touching(where, node))


def test_a_node_dies(proxy: Proxy, lab: Cluster, mended: None, tmp_path: Path):
    """All of its processes at once, as if somebody pulled its plug."""
    node = f"{LAB}-node2"
    where: dict[str, tuple[str, str, str]] = {}

    def die() -> None:
        where.update(twins(lab))
        os.kill(machine(node), signal.SIGKILL)

    proxy.in_the_batch(die)
    exactly(through(proxy, tmp_path), touching(where, node))


def test_a_twin_is_evicted(proxy: Proxy, lab: Cluster, tmp_path: Path):
    def evict() -> None:
        namespace, name, _ = twins(lab)["web"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
        lab.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
        lab.kubectl("wait", "--for=delete", f"pod/{name}", "-n", namespace, "--timeout=90s")

    proxy.in_the_batch(evict)
    exactly(through(proxy, tmp_path), about("web"))


def test_an_agent_is_killed_as_for_want_of_memory(proxy: Proxy, lab: Cluster, tmp_path: Path):
    def kill() -> None:
        found = agents(twins(lab)["reports"][1])
        assert found
        for pid in found:
            os.kill(pid, signal.SIGKILL)

    proxy.in_the_batch(kill)
    exactly(through(proxy, tmp_path), about("reports"))


def test_a_pod_runs_out_of_memory(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """Its limit is lowered to what it uses, so that the kernel kills in it when it is asked."""
    before = out_of_memory()

    def starve() -> None:
        folder = memory_group(agents(twins(lab)["reports"][1])[0])
        used = int((folder / "memory.usage_in_bytes").read_text())
        (folder / "memory.limit_in_bytes").write_text(str(used + 65536))

    proxy.in_the_batch(starve)
    found = through(proxy, tmp_path)
    assert out_of_memory() > before
    lost = {check for check, verdict in found.verdicts.items() if verdict == INCONCLUSIVE}
    # The kernel may take the agent, or the process that hands it its request.
    assert about("reports->") <= lost <= about("reports"), found.output
    exactly(found, lost)


def test_a_node_is_drained_of_everything(proxy: Proxy, lab: Cluster, tmp_path: Path):
    node = f"{LAB}-node2"
    where: dict[str, tuple[str, str, str]] = {}

    def drain() -> None:
        where.update(twins(lab))
        pods = lab.items("pods", "-A", "-l", "zerotrust.dev/run", "--field-selector",
                         f"spec.nodeName={node}")  # fmt: skip
        assert pods
        for pod in pods:
            meta = pod["metadata"]
            lab.kubectl("delete", "pod", "-n", meta["namespace"], meta["name"], "--now")

    proxy.in_the_batch(drain)
    exactly(through(proxy, tmp_path), touching(where, node))


def test_the_networks_agents_are_restarted_while_a_batch_runs(
    proxy: Proxy, mended: None, tmp_path: Path
):
    mending = threading.Thread(target=zt_lab, args=("up", "--name", LAB))

    def kill() -> None:
        for node in ("node1", "node2"):
            os.kill(process_of(f"cilium-agent-{LAB}-{node}"), signal.SIGKILL)
        mending.start()

    proxy.in_the_batch(kill)
    found = through(proxy, tmp_path)
    mending.join()
    green(found)


def test_dns_is_down(lab: Cluster, tmp_path: Path):
    with scaled_down(lab, "kube-system", "coredns"):
        found = run(tmp_path, lab.config, "-k", "ZT-NET-004 and (web or reports)")
    assert len(found.verdicts) == 2
    assert set(found.verdicts.values()) == {INCONCLUSIVE}, found.output
    assert found.status == 6, found.output


def test_dns_is_down_for_flows(lab: Cluster, tmp_path: Path):
    """A name that leads nowhere is DNS's fault and no policy's. The others do not need it: that
    reports and web are on the network is shown by the kubelet's connections."""
    with scaled_down(lab, "kube-system", "coredns"):
        found = run(tmp_path, lab.config, *NETWORK)
    exactly(found, about("dns-name"))


def test_istiod_is_down(lab: Cluster, tmp_path: Path):
    with scaled_down(lab, "istio-system", "istiod"):
        found = run(tmp_path, lab.config, "-k", "ZT-MSH-003 and frontend")
    assert found.verdicts
    assert set(found.verdicts.values()) == {INCONCLUSIVE}, found.output
    assert found.status == 6, found.output


@pytest.mark.parametrize(("policy", "verdict"), [("Fail", INCONCLUSIVE), ("Ignore", VIOLATED)])
def test_gatekeeper_is_down(lab: Cluster, mended: None, tmp_path: Path, policy: str, verdict: str):
    """Closed: nobody is admitted, which proves no rule. Open: everything is admitted."""
    before = json.loads(lab.kubectl("get", "validatingwebhookconfiguration", WEBHOOK, "-o", "json"))
    hooks = before["webhooks"]
    index = [h["name"] for h in hooks].index("validation.gatekeeper.sh")
    patch = [{"op": "replace", "path": f"/webhooks/{index}/failurePolicy", "value": policy}]
    undo = [{**patch[0], "value": hooks[index]["failurePolicy"]}]
    names = [d["metadata"]["name"] for d in lab.items("deployments", "-n", "gatekeeper-system")]
    (name,) = [n for n in names if "audit" not in n]
    with scaled_down(lab, "gatekeeper-system", name):
        lab.kubectl("patch", "validatingwebhookconfiguration", WEBHOOK, "--type=json", "-p",
                    json.dumps(patch))  # fmt: skip
        try:
            found = run(tmp_path, lab.config, "-k", "ZT-ADM-001 and production")
        finally:
            lab.kubectl("patch", "validatingwebhookconfiguration", WEBHOOK, "--type=json", "-p",
                        json.dumps(undo))  # fmt: skip
    assert len(found.verdicts) > 1
    assert set(found.verdicts.values()) == {verdict}, found.output
    assert found.status == (1 if verdict == VIOLATED else 6)


def test_our_namespace_is_deleted_under_us(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """With the canaries goes what shows that a path lives; what was reached was reached."""

    def delete() -> None:
        lab.kubectl("delete", "namespace", "zerotrust-probes", "--wait=true")

    proxy.in_the_batch(delete)
    exactly(through(proxy, tmp_path), {CANARIES, *about("ZT-NET-001")})


def test_a_pod_that_does_not_go_is_told_with_what_holds_it(
    proxy: Proxy, lab: Cluster, tmp_path: Path
):
    """All verdicts are there, and all else goes; but what is left is never green."""
    hold, free = (
        json.dumps({"metadata": {"finalizers": names}}) for names in (["example.com/hold"], [])
    )
    held: list[str] = []
    brief = tmp_path / "plugins"
    brief.mkdir()
    (brief / "zt_brief.py").write_text(
        "import pytest_zerotrust.fleet.cleanup\npytest_zerotrust.fleet.cleanup.TIMEOUT = 8.0\n"
    )

    def keep() -> None:
        held.extend(twins(lab)["web"][:2])
        lab.kubectl("patch", "pod", "-n", *held, "--type=merge", "-p", hold)

    proxy.in_the_batch(keep)
    found = run(tmp_path, proxy.kubeconfig(tmp_path / "proxy.yaml"), *NETWORK,
                PYTHONPATH=str(brief), PYTEST_PLUGINS="zt_brief")  # fmt: skip
    try:
        assert found.verdicts == dict.fromkeys(CHECKS, HOLDS), found.output
        assert found.status == 6
        namespace, name = held
        told = f"left behind: Pod {namespace}/{name} (held by finalizer example.com/hold"
        assert told in found.output
        assert f"delete with: kubectl -n {namespace} delete pods" in found.output
        assert [one for one in lab.left_behind() if one.startswith("pods ")] == [
            f"pods {namespace}/{name}"
        ]
    finally:
        lab.kubectl("patch", "pod", "-n", *held, "--type=merge", "-p", free)
        lab.kubectl("delete", "namespace", "zerotrust-probes", "--ignore-not-found")


LIMITS = {
    "full quota": (
        {"kind": "ResourceQuota", "spec": {"hard": {"pods": "1"}}},
        "exceeded quota: tight, requested: pods=1",
    ),
    "limit range": (
        {
            "kind": "LimitRange",
            "spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]},
        },
        "maximum memory usage per Container is 64Mi",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_namespace_has_no_room_for_a_twin(lab: Cluster, tmp_path: Path, name: str):
    """The run says what is to be raised."""
    words, told = LIMITS[name]
    body = {"apiVersion": "v1", "metadata": {"name": "tight", "namespace": "legacy"}, **words}
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    try:
        found = run(tmp_path, lab.config, *NETWORK)
    finally:
        lab.kubectl("delete", str(words["kind"]), "tight", "-n", "legacy")
    exactly(found, about("web"))
    assert told in found.output


def test_our_policy_is_deleted_under_us(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """The sealed canaries are reached then, which is no violation; the flows do not need it."""

    def delete() -> None:
        lab.kubectl("delete", "networkpolicies", "-n", "zerotrust-probes",
                    "-l", "zerotrust.dev/run")  # fmt: skip

    proxy.in_the_batch(delete)
    exactly(through(proxy, tmp_path), {CANARIES})


def test_a_hostile_pod_pretends_to_be_behind_our_service(
    proxy: Proxy, lab: Cluster, tmp_path: Path
):
    """It has every label of the twin, the twin's program and its protocol, but not its key."""

    def pretend() -> None:
        namespace, name, _ = twins(lab)["reports"]
        (pod,) = [p for p in lab.items("pods", "-n", namespace) if p["metadata"]["name"] == name]
        kept = ("automountServiceAccountToken", "securityContext", "containers", "readinessGates")
        fake = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "impostor", "namespace": namespace, "labels": pod["metadata"]["labels"],
            },
            "spec": {key: pod["spec"][key] for key in kept},
        }  # fmt: skip
        for variable in fake["spec"]["containers"][0]["env"]:
            if variable["name"] == "ZT_KEY":
                variable["value"] = "of-somebody-else"
        fake["spec"]["containers"][0].pop("volumeMounts", None)
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(fake))
        lab.kubectl("wait", "pod/impostor", "-n", namespace, "--timeout=60s",
                    "--for=jsonpath={.status.phase}=Running")  # fmt: skip

    proxy.in_the_batch(pretend)
    try:
        found = through(proxy, tmp_path)
    finally:
        lab.kubectl("delete", "pod", "impostor", "-n", "staging", "--now", check=False)
    # Whether the Service leads to the impostor in a round is chance. If it does, the nonce shows.
    assert found.verdicts.keys() == CHECKS
    by_service = {f"ZT-NET-003-frontend->reports:8080/tcp-{v}" for v in ("service-ip", "dns-name")}
    fooled = {check for check, verdict in found.verdicts.items() if verdict == INCONCLUSIVE}
    assert fooled <= by_service, found.output
    exactly(found, fooled)
