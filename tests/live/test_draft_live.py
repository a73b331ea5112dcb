"""A draft of the lab can be loaded, names every workload and every flow, and makes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_zerotrust.intent import load_intent
from tests.live.support import ROOT, Cluster

pytestmark = pytest.mark.live


def test_a_draft_of_the_lab_is_much_like_the_shipped_file(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    file = tmp_path / "draft.yaml"
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", f"--kubeconfig={lab.config}", "--zt-draft", str(file),
            "-p", "no:cacheprovider",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    draft, shipped = load_intent(file), load_intent(ROOT / "zerotrust.yaml")
    assert set(draft.workloads) == set(shipped.workloads)
    for key, workload in shipped.workloads.items():
        found = draft.workloads[key]
        assert (found.namespace, found.labels) == (workload.namespace, workload.labels)
        assert (found.ports, found.meshed) == (workload.ports, workload.meshed)
    assert set(draft.flows) == set(shipped.flows)
    assert draft.mesh is not None
    assert draft.admission is not None
    assert draft.admission.registries == ("registry.company.com/",)
    assert lab.left_behind() == []
