"""Nodes, network, mesh, admission, names and clocks that break under a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.conftest import LAB
from tests.faults.support import (
    NETWORK,
    finish,
    green,
    process_of,
    run,
    running,
    scaled_down,
    start,
    stopped,
    twins,
    unearned,
    wait_for,
)
from tests.live.support import HOLDS, INCONCLUSIVE, VIOLATED, Cluster, zt_lab

pytestmark = pytest.mark.faults

WEBHOOK = "gatekeeper-validating-webhook-configuration"


def no_pass(verdicts: dict[str, str]) -> None:
    assert verdicts
    assert HOLDS not in verdicts.values(), verdicts


def test_a_kubelet_hangs(lab: Cluster, tmp_path: Path):
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    with stopped(f"kubelet-{LAB}-node1"):
        found = finish(process, tmp_path)
    assert found.status in (0, 6), found.output
    assert VIOLATED not in found.verdicts.values(), found.output
    deadline = time.monotonic() + 60
    while lab.left_behind() and time.monotonic() < deadline:
        time.sleep(1)


def test_a_twin_is_evicted(lab: Cluster, tmp_path: Path):
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    (twin,) = [t for t in twins(lab) if "web" in t]
    namespace, name = twin.split("/")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    lab.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    found = finish(process, tmp_path)
    unearned(found)
    assert {v for n, v in found.verdicts.items() if "web" in n} == {INCONCLUSIVE}, found.output


def test_an_agent_is_killed_as_for_want_of_memory(lab: Cluster, tmp_path: Path):
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    (twin,) = [t for t in twins(lab) if "reports" in t]
    name = twin.split("/")[1]
    killed = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"ZT_POD={name}\0".encode() in environment:
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
    assert killed
    found = finish(process, tmp_path)
    unearned(found)
    assert {v for n, v in found.verdicts.items() if "reports" in n} == {INCONCLUSIVE}


def test_a_node_is_drained_of_everything(lab: Cluster, tmp_path: Path):
    node = f"{LAB}-node2"
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    pods = lab.items("pods", "-A", "-l", "zerotrust.dev/run", "--field-selector",
                     f"spec.nodeName={node}")  # fmt: skip
    assert pods
    for pod in pods:
        meta = pod["metadata"]
        lab.kubectl("delete", "pod", "-n", meta["namespace"], meta["name"], "--now", check=False)
    unearned(finish(process, tmp_path))


def test_the_networks_agents_are_restarted_while_a_batch_runs(
    lab: Cluster, mended: None, tmp_path: Path
):
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    for node in ("node1", "node2"):
        os.kill(process_of(f"cilium-agent-{LAB}-{node}"), signal.SIGKILL)
    zt_lab("up", "--name", LAB, timeout=300)
    found = finish(process, tmp_path)
    assert found.status in (0, 6), found.output
    assert VIOLATED not in found.verdicts.values(), found.output


def test_dns_is_down(lab: Cluster, tmp_path: Path):
    with scaled_down(lab, "kube-system", "coredns"):
        found = run(tmp_path, lab.config, "-k", "ZT-NET-004 and (web or reports)")
    no_pass(found.verdicts)
    assert found.status in (1, 6), found.output


def test_istiod_is_down(lab: Cluster, tmp_path: Path):
    with scaled_down(lab, "istio-system", "istiod"):
        found = run(tmp_path, lab.config, "-k", "ZT-MSH-003 and frontend")
    unearned(found)
    no_pass(found.verdicts)


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
    assert set(found.verdicts.values()) == {verdict}, found.output
    assert found.status == (1 if verdict == VIOLATED else 6)


def test_our_namespace_is_deleted_under_us(lab: Cluster, tmp_path: Path):
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    lab.kubectl("delete", "namespace", "zerotrust-probes", "--wait=false")
    unearned(finish(process, tmp_path))


def plugin(tmp_path: Path, text: str) -> dict[str, str]:
    folder = tmp_path / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / "zt_fault.py").write_text(text)
    return {"PYTHONPATH": str(folder), "PYTEST_PLUGINS": "zt_fault"}


def test_two_runs_with_the_same_id(lab: Cluster, tmp_path: Path):
    same = plugin(
        tmp_path,
        "import dataclasses\n"
        "import pytest_zerotrust.session as s\n"
        "new = s.new_run\n"
        "s.new_run = lambda owner: dataclasses.replace(new(owner), id='samesame')\n",
    )
    first = start(tmp_path / "1", lab.config, *NETWORK, **same)
    wait_for(running(lab), first)
    second = run(tmp_path / "2", lab.config, *NETWORK, **same)
    one = finish(first, tmp_path / "1")
    # The second finds the first one's pods, which do not prove themselves with its key.
    network = [v for n, v in second.verdicts.items() if "->" in n]
    assert HOLDS not in network, second.output
    assert second.status == 6, second.output
    assert VIOLATED not in one.verdicts.values(), one.output


def test_the_clock_of_the_runner_is_a_day_behind(lab: Cluster, tmp_path: Path):
    skewed = plugin(
        tmp_path,
        "import datetime\n"
        "import pytest_zerotrust.fleet.run as r\n"
        "class Past(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        "        return datetime.datetime.now(tz) - datetime.timedelta(days=1)\n"
        "class module:\n"
        "    datetime, timedelta, UTC = Past, datetime.timedelta, datetime.UTC\n"
        "r.datetime = module\n",
    )
    process = start(tmp_path, lab.config, *NETWORK, **skewed)
    wait_for(running(lab), process)
    swept = run_sweep(lab)
    assert "0 removed" in swept
    green(finish(process, tmp_path))


def run_sweep(lab: Cluster) -> str:
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--kubeconfig={lab.config}", "--zt-sweep"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_and_swept(lab: Cluster, tmp_path: Path):
    """SIGKILL leaves pods; the sweep removes them when they have expired, and not before."""
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    process.kill()
    process.communicate()
    left = lab.left_behind()
    assert left
    assert "0 removed" in run_sweep(lab)
    assert lab.left_behind() == left
    for kind in ("pods", "services", "networkpolicies"):
        lab.kubectl("annotate", kind, "-A", "-l", "zerotrust.dev/run", "--overwrite",
                    "zerotrust.dev/expires=2020-01-01T00:00:00Z")  # fmt: skip
    lab.kubectl("annotate", "namespace", "zerotrust-probes", "--overwrite",
                "zerotrust.dev/expires=2020-01-01T00:00:00Z")  # fmt: skip
    applications = len(lab.items("pods", "-A"))
    pods = [one for one in left if one.startswith("pods ")]
    run_sweep(lab)
    assert lab.left_behind() == []
    assert len(lab.items("pods", "-A")) == applications - len(pods)


def test_no_room_for_the_evidence(lab: Cluster, tmp_path: Path):
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)], check=True)
    try:
        (folder / "filler").write_bytes(b"x" * 4096)
        found = run(folder, lab.config, *NETWORK)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert "the evidence could not be written" in found.output
    assert found.results == {}


def test_a_hostile_pod_pretends_to_be_behind_our_service(lab: Cluster, tmp_path: Path):
    """It has every label of the twin, the twin's name and its protocol, but not its key."""
    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(lambda: len(twins(lab)) >= 1, process)
    pods = lab.items("pods", "-n", "staging", "-l", "zerotrust.dev/role=twin,app=reports")
    wait_for(lambda: bool(pods) or bool(pods.extend(
        lab.items("pods", "-n", "staging", "-l", "zerotrust.dev/role=twin,app=reports"))
    ), process)  # fmt: skip
    pod = pods[0]
    fake = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "impostor", "namespace": "staging", "labels": pod["metadata"]["labels"],
        },
        "spec": {
            key: pod["spec"][key]
            for key in ("automountServiceAccountToken", "securityContext", "containers",
                        "readinessGates")
        },
    }  # fmt: skip
    for variable in fake["spec"]["containers"][0]["env"]:
        if variable["name"] == "ZT_KEY":
            variable["value"] = "of-somebody-else"
    fake["spec"]["containers"][0].pop("volumeMounts", None)
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(fake))
    found = finish(process, tmp_path)
    lab.kubectl("delete", "pod", "impostor", "-n", "staging", "--now", check=False)
    assert found.status in (0, 6), found.output
    assert VIOLATED not in found.verdicts.values(), found.output


@pytest.mark.parametrize("workers", ["worker", "fixture", "maxfail"])
def test_a_run_that_ends_oddly_leaves_nothing(lab: Cluster, tmp_path: Path, workers: str):
    if workers == "worker":
        process = start(tmp_path, lab.config, *NETWORK, "-n", "2")
        wait_for(running(lab), process)
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        os.kill(int(children[0]), signal.SIGKILL)
        found = finish(process, tmp_path)
        assert found.status == 6, found.output
        return
    broken = plugin(
        tmp_path,
        "import pytest\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_setup(item):\n"
        "    zt_fault.append(item)\n"
        "    assert len(zt_fault) < 3, 'a fixture failed'\n"
        "zt_fault = []\n",
    )
    words = ("--maxfail=1",) if workers == "maxfail" else ()
    found = run(tmp_path, lab.config, *NETWORK, *words, **broken)
    assert found.status == 1, found.output
