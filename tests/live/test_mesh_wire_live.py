"""What the wire between the lab's nodes carries: plain traffic in the clear, the mesh's as TLS."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import PROBES
from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    ROOT,
    VIOLATED,
    Cluster,
    differences,
    read_run,
    run_suite,
    suite_command,
)

pytestmark = pytest.mark.live

PLAIN = ("ZT-ENC-001-between-nodes/tcp", "ZT-ENC-001-between-nodes/udp")
CALLS = (
    "ZT-ENC-002-api-gateway->payment-service:8080/tcp",
    "ZT-ENC-002-payment-service->database:5432/tcp",
    "ZT-ENC-002-api->database:5432/tcp",
)
CLEAR = dict.fromkeys(PLAIN, VIOLATED) | dict.fromkeys(CALLS, HOLDS)
"""The lab's kernel encrypts nothing between nodes; the mesh does."""


@pytest.fixture
def wanted(tmp_path: Path) -> tuple[str, ...]:
    """The arguments for a run that looks at the wire: the lab's intent, a demand and a consent."""
    text = (ROOT / "zerotrust.yaml").read_text()
    file = tmp_path / "zerotrust.yaml"
    file.write_text(text.rstrip() + "\n  capture: true\n\nencryption: {betweenNodes: required}\n")
    return (f"--zt-intent={file}", "-k", "ZT-ENC", "conformance")


@contextmanager
def exempted(lab: Cluster) -> Iterator[None]:
    """Let the verifier's own namespace be exempt from the lab's rule about root."""
    constraint = ("k8srestrictedcontainers", "restricted-containers")

    def exclude(*more: str) -> None:
        patch = json.dumps({"spec": {"match": {"excludedNamespaces": ["kube-system", *more]}}})
        lab.kubectl("patch", *constraint, "--type=merge", "-p", patch)

    exclude(PROBES)
    try:
        wait_until_root_may_run(lab)
        yield
    finally:
        exclude()


def wait_until_root_may_run(lab: Cluster) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": PROBES},
        "spec": {"containers": [{"name": "c", "image": "registry.company.com/zerotrust/probe:1"}]},
    }
    end = time.monotonic() + 60
    words = ("create", "-f", "-", "--dry-run=server", "-o", "name")
    while not lab.kubectl(*words, stdin=json.dumps(pod), check=False).strip():
        assert time.monotonic() < end, "the constraint still rejects root"
        time.sleep(0.5)


@pytest.fixture
def allowed(scenario, lab: Cluster) -> Iterator[None]:
    scenario("hardened")
    with exempted(lab):
        yield


def test_plain_traffic_is_read_on_the_wire_and_the_meshs_is_not(
    allowed, wanted: tuple[str, ...], tmp_path: Path
):
    run = run_suite(tmp_path, *wanted)
    assert differences(CLEAR, run.verdicts) == [], run.output
    assert run.status == 1
    for name in PLAIN:
        captured = run.results[name]["evidence"]["captured"]
        # One way there, and one back.
        assert {item["interface"] for item in captured} == {"eth0"}
        assert len({item["from"] for item in captured}) == 2
        assert all("ZT1 zerotrust-" in item["bytes"] for item in captured)
        assert "IN THE CLEAR on eth0" in run.results[name]["headline"]
    for name in CALLS:
        assert "as TLS only" in run.results[name]["headline"]
        assert run.results[name]["evidence"]["captured"] == []
        control, *configured = run.results[name]["controls"]
        assert "not seen" not in control
        assert all("which shows nothing" in text for text in configured)


def test_a_proxy_that_is_told_to_speak_plaintext_is_read_on_the_wire(
    allowed, lab: Cluster, wanted: tuple[str, ...], tmp_path: Path
):
    rule: dict[str, Any] = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "no-tls", "namespace": "production"},
        "spec": {
            "host": "payment-service.production.svc.cluster.local",
            "trafficPolicy": {"tls": {"mode": "DISABLE"}},
        },
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(rule))
    try:
        run = run_suite(tmp_path, *wanted)
    finally:
        lab.kubectl("delete", "-f", "-", stdin=json.dumps(rule))
    assert differences(CLEAR | {CALLS[0]: VIOLATED}, run.verdicts) == [], run.output
    (captured, *_) = run.results[CALLS[0]]["evidence"]["captured"]
    assert "X-Zerotrust-Nonce" in captured["bytes"] or "x-zerotrust-nonce" in captured["bytes"]


@pytest.mark.deep
def test_a_capture_that_admission_turns_away_is_inconclusive(
    scenario, wanted: tuple[str, ...], tmp_path: Path
):
    scenario("hardened")
    run = run_suite(tmp_path, *wanted)
    expected = dict.fromkeys((*PLAIN, *CALLS), INCONCLUSIVE)
    assert differences(expected, run.verdicts) == [], run.output
    assert run.status == 6
    assert "was turned away: 403" in run.output


@pytest.mark.deep
def test_a_capture_without_its_capability_is_inconclusive(
    allowed, wanted: tuple[str, ...], tmp_path: Path
):
    run = run_suite(tmp_path, *wanted, "-p", "tests.live.without_net_raw")
    expected = dict.fromkeys((*PLAIN, *CALLS), INCONCLUSIVE)
    assert differences(expected, run.verdicts) == [], run.output
    reasons = {str(result["reason"]) for result in run.results.values()}
    assert reasons == {"capture-not-permitted"}


def test_a_capture_that_is_killed_is_inconclusive(
    allowed, lab: Cluster, wanted: tuple[str, ...], tmp_path: Path
):
    process = subprocess.Popen(
        suite_command(tmp_path, *wanted),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed = 0
    chosen = ("-n", PROBES, "-l", "zerotrust.dev/role=capture")
    while process.poll() is None:
        if lab.items("pods", *chosen):
            lab.kubectl("delete", "pods", *chosen, "--grace-period=0", "--force", check=False)
            killed += 1
        time.sleep(0.2)
    output, _ = process.communicate()
    run = read_run(process.returncode, output, tmp_path)
    assert killed, output
    expected = dict.fromkeys((*PLAIN, *CALLS), INCONCLUSIVE)
    assert differences(expected, run.verdicts) == [], run.output
    assert run.status == 6


def test_without_consent_no_pod_is_made(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    file = tmp_path / "zerotrust.yaml"
    text = (ROOT / "zerotrust.yaml").read_text()
    file.write_text(text + "\nencryption: {betweenNodes: required}\n")
    run = run_suite(tmp_path, f"--zt-intent={file}", "-k", "ZT-ENC", "conformance")
    expected = dict.fromkeys((*PLAIN, *CALLS), INCONCLUSIVE)
    assert differences(expected, run.verdicts) == [], run.output
    assert "probe.capture: true" in run.output
