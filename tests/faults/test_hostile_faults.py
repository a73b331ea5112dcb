"""Targets, pods and words that mean harm: none earns a pass, hangs a run or moves a cursor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.faults import hostile
from tests.faults.proxy import Proxy
from tests.faults.support import about, exactly, machine, run, running, through, twins
from tests.live.support import HOLDS, INCONCLUSIVE, VIOLATED, Cluster, SuiteRun

pytestmark = pytest.mark.faults

PROBE = "registry.company.com/zerotrust/probe:1"
ADDRESS = "203.0.113.10"
TARGETS = {"endless": 7001, "drip": 7002, "huge": 7003, "half": 7004, "words": 7005}
LEAK = 7006
MARK = "<script>alert(1)</script>"
WORDS = hostile.WORDS.decode("latin-1").translate({10: " ", 13: " "})
TRUSTED = Path(hostile.__file__)


def intent() -> str:
    """Reports may go to every hostile server but the last one; frontend may go to none."""
    servers = {name: {"address": ADDRESS, "port": port} for name, port in TARGETS.items()}
    flows = ["frontend -> reports:8080"]
    flows += [f"reports -> {name}:{port}" for name, port in TARGETS.items()]
    return json.dumps(
        {
            "version": 1,
            "namespaces": ["staging"],
            "workloads": {
                app: {"namespace": "staging", "labels": {"app": app}, "ports": [8080]}
                for app in ("frontend", "reports")
            },
            "outside": {**servers, "leak": {"address": ADDRESS, "port": LEAK}},
            "flows": flows,
            "probe": {"image": PROBE},
        }
    )


@contextmanager
def applied(lab: Cluster, *objects: dict[str, Any]) -> Iterator[None]:
    """Objects that are there for a while."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    lab.kubectl("apply", "-f", "-", stdin=text)
    try:
        yield
    finally:
        lab.kubectl("delete", "-f", "-", "--now", "--ignore-not-found", stdin=text)


@contextmanager
def servers(*words: str) -> Iterator[None]:
    """The hostile servers, beyond the cluster."""
    enter = ["nsenter", f"--target={machine('outside')}", "--net", "--"]
    process = subprocess.Popen([*enter, sys.executable, str(TRUSTED), ADDRESS, *words])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def hostile_names(lab: Cluster, folder: Path) -> str:
    """The lab's kubeconfig, in which the context has a hostile name."""
    config = yaml.safe_load(Path(lab.config).read_text())
    config["contexts"][0]["name"] = config["current-context"] = f"lab {WORDS}"
    file = folder / "hostile.yaml"
    file.write_text(yaml.safe_dump(config))
    return str(file)


@pytest.fixture(scope="module")
def beyond(lab: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[SuiteRun, Path]:
    """One run against all hostile servers beyond the cluster, with hostile names in it."""
    folder = tmp_path_factory.mktemp("beyond")
    (folder / "zerotrust.yaml").write_text(intent())
    way_out = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "hostile", "namespace": "staging"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "reports"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}],
        },
    }
    words = [f"{name}={port}" for name, port in TARGETS.items()]
    with applied(lab, way_out), servers(*words, f"words={LEAK}"):
        found = run(
            folder, hostile_names(lab, folder), "-k", "ZT-NET-006 or ZT-NET-007", "-rA", "-v",
            f"--zt-intent={folder / 'zerotrust.yaml'}", f"--junitxml={folder / 'junit.xml'}",
        )  # fmt: skip
    return found, folder


@pytest.mark.parametrize("name", TARGETS)
def test_a_hostile_server_beyond_the_cluster(beyond: tuple[SuiteRun, Path], name: str):
    """Who may reach it is answered, whatever it says; who may not is kept from it."""
    found, _ = beyond
    where = f"{name}:{TARGETS[name]}/tcp"
    assert found.verdicts[f"ZT-NET-007-reports->{where}"] == HOLDS, found.output
    assert found.verdicts[f"ZT-NET-006-frontend->{where}"] == HOLDS, found.output


def test_what_a_hostile_server_says_does_not_hide_a_leak(beyond: tuple[SuiteRun, Path]):
    found, _ = beyond
    assert found.verdicts[f"ZT-NET-006-reports->leak:{LEAK}/tcp"] == VIOLATED, found.output
    assert found.verdicts[f"ZT-NET-006-frontend->leak:{LEAK}/tcp"] == HOLDS, found.output
    assert found.status == 1


def test_hostile_names_and_banners_are_only_text(beyond: tuple[SuiteRun, Path]):
    found, folder = beyond
    plain(found.output)
    # The name of the context stands in the header.
    assert MARK in found.output
    plain((folder / "zerotrust.json").read_text())
    written = (folder / "junit.xml").read_text()
    plain(written)
    assert MARK not in written
    ET.fromstring(written)


def plain(text: str) -> None:
    """No terminal does anything but show this."""
    assert {c for c in text if not c.isprintable()} <= {"\n", "\t"}, ascii(text)


def test_hostile_words_of_a_policy(lab: Cluster, tmp_path: Path):
    """Somebody else's policy turns the compliant twin away as well, which proves no rule of ours;
    its message reaches the terminal and the reports as plain text."""
    kinds = {"apiVersion": "admissionregistration.k8s.io/v1"}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["pods"]}  # fmt: skip
    here = {"matchLabels": {"kubernetes.io/metadata.name": "production"}}
    policy = {
        **kinds,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "hostile-words"},
        "spec": {
            "matchConstraints": {"resourceRules": [pods], "namespaceSelector": here},
            "validations": [{"expression": "false", "message": WORDS}],
        },
    }
    binding = {
        **kinds,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "hostile-words"},
        "spec": {"policyName": "hostile-words", "validationActions": ["Deny"]},
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "production"},
           "spec": {"containers": [{"name": "x", "image": PROBE}]}}  # fmt: skip

    def in_force() -> bool:
        command = lab.command("apply", "--dry-run=server", "-f", "-")
        said = subprocess.run(command, input=json.dumps(pod), capture_output=True, text=True,
                              check=False)  # fmt: skip
        return "hostile-words" in said.stderr

    with applied(lab, policy, binding):
        deadline = time.monotonic() + 30
        while not in_force():
            assert time.monotonic() < deadline
            time.sleep(0.3)
        found = run(tmp_path, lab.config, "-k", "ZT-ADM-001 and production", "-rA",
                    f"--junitxml={tmp_path / 'junit.xml'}")  # fmt: skip
    assert len(found.verdicts) > 1
    assert set(found.verdicts.values()) == {INCONCLUSIVE}, found.output
    assert found.status == 6
    assert MARK in found.output
    plain(found.output)
    written = (tmp_path / "junit.xml").read_text()
    plain(written)
    assert MARK not in written
    ET.fromstring(written)


def disguised(lab: Cluster, app: str, name: str, *words: str) -> dict[str, Any]:
    """A pod with every label of a twin, and the place of its agent taken by hostile servers."""
    namespace, twin, _ = twins(lab)[app]
    (pod,) = [p for p in lab.items("pods", "-n", namespace) if p["metadata"]["name"] == twin]
    kept = ("automountServiceAccountToken", "securityContext", "readinessGates")
    container = {**pod["spec"]["containers"][0]}
    container.pop("volumeMounts", None)
    container["command"] = ["python3", "-I", "-u", "-c", TRUSTED.read_text(), "0.0.0.0", *words]
    container["env"] = []
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": pod["metadata"]["labels"]},
        "spec": {
            **{key: pod["spec"][key] for key in kept},
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "containers": [container],
        },
    }


def make(lab: Cluster, *pods: dict[str, Any]) -> None:
    """Create pods, and wait until they run."""
    lab.kubectl("apply", "-f", "-",
                stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))  # fmt: skip
    for pod in pods:
        meta = pod["metadata"]
        lab.kubectl("wait", f"pod/{meta['name']}", "-n", meta["namespace"], "--timeout=60s",
                    "--for=jsonpath={.status.phase}=Running")  # fmt: skip


@pytest.mark.parametrize("early", [True, False], ids=["before-the-first-look", "in-the-batch"])
def test_a_hostile_pod_imitates_our_probe(proxy: Proxy, lab: Cluster, tmp_path: Path, early: bool):
    """It takes the place of a twin, by its name as well, and answers what the twin is asked: all
    was reached. But it does not have the twin's key, and later on it is another pod."""

    def replace() -> None:
        deadline = time.monotonic() + 60
        while not running(lab)():
            assert time.monotonic() < deadline
            time.sleep(0.2)
        namespace, name, _ = twins(lab)["reports"]
        pod = disguised(lab, "reports", name, "guess=8080", f"agent={name}")
        lab.kubectl("delete", "pod", "-n", namespace, name, "--now")
        make(lab, pod)

    if early:
        proxy.once("GET", "/pods[?]", replace, after=("POST", "/pods"))
    else:
        proxy.in_the_batch(replace)
    found = through(proxy, tmp_path)
    exactly(found, about("reports"))
    told = "does not prove to be our agent's answer" if early else "was replaced during the batch"
    assert told in found.output


def test_hostile_pods_imitate_our_replies(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """Six pods behind our Service beside the twin: they guess at proofs, talk without an end, or
    drip. Where the Service leads is chance; no answer but the twin's counts."""
    namespace = "staging"
    names = [f"impostor-{number}" for number in range(6)]

    def pretend() -> None:
        kinds = ("guess", "guess", "endless", "drip", "half", "words")
        make(lab, *(disguised(lab, "reports", name, f"{kind}=8080")
                    for name, kind in zip(names, kinds, strict=True)))  # fmt: skip

    proxy.in_the_batch(pretend)
    try:
        found = through(proxy, tmp_path)
    finally:
        lab.kubectl("delete", "pods", "-n", namespace, *names, "--now", "--ignore-not-found")
    fooled = {check for check, verdict in found.verdicts.items() if verdict == INCONCLUSIVE}
    by_service = {f"ZT-NET-003-frontend->reports:8080/tcp-{v}" for v in ("service-ip", "dns-name")}
    assert fooled, found.output
    assert fooled <= by_service, found.output
    exactly(found, fooled)


@pytest.mark.parametrize("behaviour", ["endless", "drip", "malformed", "strict"])
def test_a_hostile_pod_passes_for_a_meshed_one(lab: Cluster, tmp_path: Path, behaviour: str):
    """A pod of the workload without a proxy: it talks without an end, drips, sends what only
    begins like TLS, or imitates the refusals of a proxy that demands a certificate."""
    dropped = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "hostile",
            "namespace": "staging",
            "labels": {"app": "frontend", "sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "app",
                    "image": PROBE,
                    "command": ["python3", "-I", "-u", "-c", TRUSTED.read_text()],
                    "args": ["0.0.0.0", f"{behaviour}=8080"],
                    "securityContext": {**dropped, "readOnlyRootFilesystem": True},
                }
            ],
        },
    }
    with applied(lab, pod):
        lab.kubectl("wait", "--for=condition=Ready", "pod/hostile", "-n", "staging",
                    "--timeout=60s")  # fmt: skip
        found = run(tmp_path, lab.config, "-k",
                    "frontend and (ZT-MSH-001 or ZT-MSH-002 or ZT-MSH-004)")  # fmt: skip
    assert len(found.verdicts) == 3, found.output
    assert HOLDS not in found.verdicts.values(), found.output
    assert found.status == (1 if VIOLATED in found.verdicts.values() else 6), found.output
    plain(found.output)
