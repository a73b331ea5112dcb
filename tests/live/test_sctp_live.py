"""The lab's kernel has no SCTP: nothing about it may pass, and the cause is told."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.live.support import INCONCLUSIVE, NOT_APPLICABLE, run_suite

pytestmark = pytest.mark.live

INTENT = """
version: 1
workloads:
  web: {namespace: legacy, labels: {app: web}}
  mute: {namespace: legacy, labels: {app: mute}, ports: [9000/sctp]}
probe: {image: "registry.company.com/zerotrust/probe:1"}
"""


def kernel_has_sctp() -> bool:
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
        return True
    return False


@pytest.mark.deep
@pytest.mark.skipif(kernel_has_sctp(), reason="this kernel has SCTP")
def test_without_sctp_in_the_kernel_nothing_passes(scenario, tmp_path: Path):
    scenario("hardened")
    intent = tmp_path / "sctp.yaml"
    for flows, control, verdict in (
        ("", "ZT-NET-002", NOT_APPLICABLE),
        ("flows: [web -> mute:9000/sctp]\n", "ZT-NET-003", INCONCLUSIVE),
    ):
        intent.write_text(INTENT + flows)
        run = run_suite(tmp_path / control, "--zt-intent", str(intent), "-k", control[3:])
        name = f"{control}-web->mute:9000/sctp-pod-ip"
        assert run.verdicts[name] == verdict, run.output
        assert run.results[name]["reason"] == "protocol-not-supported"
        assert "kernel" in run.results[name]["headline"]
        assert run.status == 6, run.output
