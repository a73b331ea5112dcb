"""Each mesh control broken in exactly one place: that check, and no other, must change."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.support import INCONCLUSIVE, VIOLATED, Cluster, differences, holding, run_suite

pytestmark = pytest.mark.live

MESH = ("-k", "ZT-MSH")


@contextmanager
def added(lab: Cluster, manifest: dict[str, Any]) -> Iterator[None]:
    text = json.dumps(manifest)
    lab.kubectl("apply", "-f", "-", stdin=text)
    try:
        yield
    finally:
        lab.kubectl("delete", "-f", "-", stdin=text)


def object_of(api: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": "production"}
    return {"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec}


def expect_only(changed: dict[str, str], folder: Path) -> str:
    run = run_suite(folder, *MESH)
    expected = holding(run.verdicts) | changed
    assert differences(expected, run.verdicts) == [], run.output
    assert len(run.verdicts) == 50
    return run.output


@pytest.mark.deep
def test_one_port_left_permissive_is_the_one_that_is_violated(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    policy = object_of(
        "security.istio.io/v1",
        "PeerAuthentication",
        "hole",
        {
            "selector": {"matchLabels": {"app": "database"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"5432": {"mode": "PERMISSIVE"}},
        },
    )
    with added(lab, policy):
        output = expect_only(
            {
                "ZT-MSH-001-database:5432/tcp": VIOLATED,
                "ZT-MSH-002-database:5432/tcp": VIOLATED,
                "ZT-MSH-004-database:5432/tcp": VIOLATED,
            },
            tmp_path,
        )
    assert "production/database:5432/tcp: plaintext was TAKEN by its proxy" in output


@pytest.mark.deep
def test_a_caller_that_speaks_plaintext_is_refused_inside_the_mesh(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    rule = object_of(
        "networking.istio.io/v1",
        "DestinationRule",
        "no-tls",
        {
            "host": "payment-service.production.svc.cluster.local",
            "trafficPolicy": {"tls": {"mode": "DISABLE"}},
        },
    )
    with added(lab, rule):
        output = expect_only(
            {
                "ZT-MSH-003-api-gateway->payment-service:8080/tcp": VIOLATED,
                "ZT-MSH-008-api-gateway->payment-service:8080/tcp": INCONCLUSIVE,
                "ZT-MSH-010-api-gateway->payment-service:8080/tcp": INCONCLUSIVE,
            },
            tmp_path,
        )
    assert "expected to be ALLOWED" in output


def test_an_authorization_policy_that_denies_an_allowed_caller_is_named(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    policy = object_of(
        "security.istio.io/v1",
        "AuthorizationPolicy",
        "nobody",
        # Denials come before whatever other policies allow.
        {
            "selector": {"matchLabels": {"app": "payment-service"}},
            "action": "DENY",
            "rules": [{}],
        },
    )
    with added(lab, policy):
        output = expect_only(
            {
                "ZT-MSH-003-api-gateway->payment-service:8080/tcp": VIOLATED,
                # A refusal of the wrong one shows nothing where the right one is refused as well.
                "ZT-MSH-008-api-gateway->payment-service:8080/tcp": INCONCLUSIVE,
                "ZT-MSH-010-api-gateway->payment-service:8080/tcp": INCONCLUSIVE,
            },
            tmp_path,
        )
    assert "denied by the mesh's authorization" in output


@pytest.mark.deep
def test_an_application_that_is_down_behind_a_permissive_proxy_never_holds(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    policy = object_of(
        "security.istio.io/v1",
        "PeerAuthentication",
        "hole",
        {"selector": {"matchLabels": {"app": "api"}}, "mtls": {"mode": "PERMISSIVE"}},
    )
    # The application moves to another port, so that behind the proxy nobody listens on this one.
    container = {"name": "app", "args": ["http", "8081"]}
    patch = {
        "spec": {
            "strategy": {"type": "Recreate", "rollingUpdate": None},
            "template": {"spec": {"containers": [container]}},
        }
    }
    with added(lab, policy):
        lab.kubectl("patch", "deployment", "api", "-n", "production", "-p", json.dumps(patch))
        wait_for_proxy_alone(lab)
        run = run_suite(tmp_path, *MESH)
    assert run.status in (1, 6), run.output
    # The proxy may take the plaintext and answer with an error of its own: that is a violation.
    # It is permissive, as declared, whoever answers.
    seen = {v for n, v in run.verdicts.items() if "-api:8080" in n and "MSH-009" not in n}
    assert seen
    assert seen <= {VIOLATED, INCONCLUSIVE}, run.output


def wait_for_proxy_alone(lab: Cluster) -> None:
    """Until the one pod of api runs, with a proxy that is ready and an application that is not."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        pods = lab.items("pods", "-n", "production", "-l", "app=api,!zerotrust.dev/run")
        status = pods[0]["status"] if len(pods) == 1 else {}
        started = status.get("phase") == "Running"
        containers = (
            *status.get("containerStatuses", ()),
            *status.get("initContainerStatuses", ()),
        )
        ready = {c["name"]: c["ready"] for c in containers}
        if started and ready.get("istio-proxy") and not ready.get("app"):
            return
        time.sleep(0.5)
    raise AssertionError("the application did not go down")
