"""Pods that no workload stands for are found: an extra Deployment, a relabelled replica."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.live.support import HOLDS, VIOLATED, Cluster, SuiteRun, run_suite

pytestmark = pytest.mark.live

CHECKS = ("-k", "ZT-NET-008 or ZT-NET-009")
ALL = {
    **{f"ZT-NET-008-{namespace}": HOLDS for namespace in ("production", "staging", "legacy")},
    **{
        f"ZT-NET-009-{name}": HOLDS
        for name in (
            "api-gateway", "payment-service", "database", "api", "batch", "frontend", "reports",
            "web", "greeter", "mute",
        )
    },
}  # fmt: skip


def pods(lab: Cluster, selector: str) -> list[dict[str, Any]]:
    return [
        item
        for item in lab.items("pods", "-n", "production", "-l", selector)
        if not item["metadata"].get("deletionTimestamp")
        # A workload without a running pod is bad input.
        and item.get("status", {}).get("phase") == "Running"
    ]


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "the lab did not come to the expected state"
        time.sleep(0.2)


def extra_deployment(lab: Cluster) -> None:
    """A Deployment like batch, under a name and with labels that the intent does not know."""
    batch = json.loads(lab.kubectl("-n", "production", "get", "deployment", "batch", "-o", "json"))
    spec = copy.deepcopy(batch["spec"])
    spec["selector"] = {"matchLabels": {"app": "intruder"}}
    spec["template"]["metadata"] = {"labels": {"app": "intruder"}}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "intruder", "namespace": "production"},
        "spec": spec,
    }
    lab.kubectl("create", "-f", "-", stdin=json.dumps(body))
    wait_for(lambda: len(pods(lab, "app=intruder")) == 1)


def second_replica(lab: Cluster, *label: str) -> str:
    """Scale batch to two and relabel one of its pods; return that pod's name."""
    lab.kubectl("-n", "production", "scale", "deployment", "batch", "--replicas=2")
    wait_for(lambda: len(pods(lab, "app=batch")) == 2)
    name = str(pods(lab, "app=batch")[1]["metadata"]["name"])
    lab.kubectl("-n", "production", "label", "pod", name, *label, "--overwrite")
    return name


def repair(lab: Cluster) -> None:
    lab.kubectl("-n", "production", "delete", "deployment", "intruder", "--ignore-not-found")
    lab.kubectl("-n", "production", "delete", "pod", "-l", "app=evil", "--ignore-not-found")
    lab.kubectl("-n", "production", "scale", "deployment", "batch", "--replicas=1")
    lab.kubectl("-n", "production", "delete", "pod", "-l", "app=batch,tier=debug")
    wait_for(
        lambda: (
            len(pods(lab, "app=batch")) == 1
            and not lab.items("pods", "-n", "production", "-l", "app in (evil,intruder)")
        )
    )


def text_of(run: SuiteRun, check: str) -> str:
    return json.dumps(run.results[check])


def test_a_pod_that_is_not_named_or_not_alike_does_not_stay_unnoticed(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    whole = run_suite(tmp_path / "whole", *CHECKS)
    assert whole.verdicts == ALL
    assert whole.status == 0, whole.output
    try:
        extra_deployment(lab)
        run = run_suite(tmp_path / "extra", *CHECKS)
        assert run.verdicts == {**ALL, "ZT-NET-008-production": VIOLATED}
        assert run.status == 1
        headline = run.results["ZT-NET-008-production"]["headline"]
        assert headline.endswith("does not name: Deployment intruder")

        on_the_host = {"spec": {"template": {"spec": {"hostNetwork": True}}}}
        lab.kubectl(
            "-n", "production", "patch", "deployment", "intruder", "-p", json.dumps(on_the_host)
        )
        lab.kubectl("-n", "production", "rollout", "status", "deployment", "intruder")
        run = run_suite(tmp_path / "host", "-k", "ZT-NET-008-production")
        assert run.verdicts == {"ZT-NET-008-production": VIOLATED}
        where = "in the node's network, where no policy for pods applies"
        assert where in text_of(run, "ZT-NET-008-production")

        odd = second_replica(lab, "tier=debug")
        run = run_suite(tmp_path / "odd", "-k", "ZT-NET-009-batch")
        assert run.verdicts == {"ZT-NET-009-batch": VIOLATED}
        assert "by tier" in run.results["ZT-NET-009-batch"]["headline"]
        assert odd in text_of(run, "ZT-NET-009-batch")

        # The ReplicaSet lets go of this one, and makes another in its place.
        lab.kubectl("-n", "production", "label", "pod", odd, "app=evil", "tier-", "--overwrite")
        wait_for(lambda: len(pods(lab, "app=batch")) == 2)
        run = run_suite(tmp_path / "evil", *CHECKS)
        assert run.status == 1, run.output
        assert run.verdicts == {**ALL, "ZT-NET-008-production": VIOLATED}
        assert f"Pod {odd}" in run.results["ZT-NET-008-production"]["headline"]
    finally:
        repair(lab)
    assert run_suite(tmp_path / "again", *CHECKS).verdicts == ALL
