"""ZT-NET-005 where it is broken: a typing error in a selector, a namespace without policies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.live.support import HOLDS, NOT_APPLICABLE, VIOLATED, Cluster, run_suite

pytestmark = pytest.mark.live

SELECT, COVER = "ZT-NET-005-policies-select-pods", "ZT-NET-005-pods-have-policies"


def test_a_typing_error_and_an_emptied_namespace_are_named(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    typo = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "typo", "namespace": "staging"},
        "spec": {"podSelector": {"matchLabels": {"app": "fronted"}}, "policyTypes": ["Ingress"]},
    }
    lab.kubectl("create", "-f", "-", stdin=json.dumps(typo))
    kinds = "networkpolicies.networking.k8s.io,ciliumnetworkpolicies.cilium.io"
    lab.kubectl("delete", kinds, "--all", "-n", "legacy")
    try:
        run = run_suite(tmp_path, "-k", "ZT-NET-005")
    finally:
        scenario("hardened")
    assert run.status == 1, run.output
    assert run.verdicts == {
        f"{SELECT}-production": HOLDS,
        f"{COVER}-production": HOLDS,
        f"{SELECT}-staging": VIOLATED,
        f"{COVER}-staging": HOLDS,
        f"{SELECT}-legacy": NOT_APPLICABLE,
        f"{COVER}-legacy": VIOLATED,
    }
    assert "NetworkPolicy staging/typo selects no pod and no workload" in run.output
    assert "app=fronted" in run.output
    assert "pods are isolated by no policy (all pods of the namespace)" in run.output
    again = run_suite(tmp_path / "again", "-k", "ZT-NET-005")
    assert set(again.verdicts.values()) == {HOLDS}
