"""What Gatekeeper's constraints and its Config leave out, with nothing else broken."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.live.support import HOLDS, Cluster, run_suite
from tests.live.test_admission_live import CONSTRAINT, PRIVILEGED, until_looked_away

pytestmark = pytest.mark.live

CONSTRAINT_ESCAPES = {
    "its labelSelector lets whoever makes a pod": {
        "labelSelector": {"matchExpressions": [{"key": "debug", "operator": "DoesNotExist"}]}
    },
    "it looks only at objects named zt-*": {"name": "zt-*"},
    "its namespaceSelector looks away from a namespace label debug": {
        "namespaceSelector": {"matchExpressions": [{"key": "debug", "operator": "DoesNotExist"}]}
    },
}
BY_NAME = {"key": "kubernetes.io/metadata.name", "operator": "In"}
OF_CONFIG = {
    "apiVersion": "config.gatekeeper.sh/v1alpha1",
    "kind": "Config",
    "metadata": {"name": "config", "namespace": "gatekeeper-system"},
    "spec": {"match": [{"processes": ["*"], "excludedNamespaces": ["kube-*"]}]},
}


@pytest.mark.deep
def test_a_constraint_that_can_be_told_to_look_away_is_violated_alone(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    whole = json.loads(lab.kubectl("get", CONSTRAINT, "-o", "json"))["spec"]["match"]
    name = "ZT-ADM-005-fails-closed-production"

    def match(**more: object) -> None:
        patch = [{"op": "replace", "path": "/spec/match", "value": {**whole, **more}}]
        lab.kubectl("patch", CONSTRAINT, "--type=json", "-p", json.dumps(patch))

    for number, (words, change) in enumerate(CONSTRAINT_ESCAPES.items()):
        match(**change)
        run = until_looked_away(tmp_path / str(number), name)
        headline = str(run.results[name]["headline"])
        assert f"constraint K8sRestrictedContainers restricted-containers: {words}" in headline
    # What nobody can change is no way past it, and is told.
    values = ["production", "staging", "legacy"]
    match(namespaceSelector={"matchExpressions": [{**BY_NAME, "values": values}]}, scope="*")
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(OF_CONFIG))
    try:
        deadline = time.monotonic() + 60
        while True:
            run = run_suite(tmp_path / "holds", "-k", f"ZT-ADM-005 or {PRIVILEGED}")
            if set(run.verdicts.values()) == {HOLDS}:
                break
            assert time.monotonic() < deadline, run.output
    finally:
        lab.kubectl("delete", "config", "config", "-n", "gatekeeper-system")
    observed = "; ".join(map(str, run.results[name]["observed"]))
    assert "only namespaces with kubernetes.io/metadata.name In production" in observed
    assert "looks at no namespaces kube-system" in observed
    assert "Gatekeeper's Config looks at no namespaces kube-*" in observed
