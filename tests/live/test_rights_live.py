"""Least privilege: a run with exactly the shipped rights passes, and a missing one is named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    ROOT,
    Cluster,
    differences,
    holding,
    run_suite,
)

pytestmark = pytest.mark.live

SUBJECT = "zerotrust-verifier"
SHIPPED = ROOT / "ci" / "rbac" / "zerotrust-verifier.yaml"


@pytest.fixture
def account(lab: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig for the shipped service account, with the shipped rights."""
    lab.kubectl("apply", "-f", str(SHIPPED))
    token = lab.kubectl("create", "token", SUBJECT, "-n", "zerotrust-probes", "--duration=1h")
    config = yaml.safe_load(Path(lab.config).read_text())
    config["users"] = [{"name": SUBJECT, "user": {"token": token.strip()}}]
    for context in config["contexts"]:
        context["context"]["user"] = SUBJECT
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    yield file
    _, _, all_but_the_namespace = SHIPPED.read_text().partition("\n---\n")
    lab.kubectl("delete", "-f", "-", "--wait=true", stdin=all_but_the_namespace, check=False)


def test_the_shipped_rbac_is_what_the_intent_of_the_lab_needs():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--zt-rbac"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = list(yaml.safe_load_all(done.stdout))
    shipped = [d for d in yaml.safe_load_all(SHIPPED.read_text()) if d]
    assert shipped == wanted


def test_a_run_with_exactly_the_shipped_rights_passes(
    scenario, lab: Cluster, account: Path, tmp_path: Path
):
    scenario("hardened")
    run = run_suite(tmp_path / "run", config=str(account))
    assert run.status == 0, run.output
    assert differences(holding(run.verdicts), run.verdicts) == []


@pytest.mark.deep
def test_each_missing_right_is_named_before_anything_is_created(
    lab: Cluster, account: Path, tmp_path: Path
):
    documents = [d for d in yaml.safe_load_all(SHIPPED.read_text()) if d]
    roles = [d for d in documents if d["kind"] in ("Role", "ClusterRole")]
    tried = 0
    for role in roles:
        if role["metadata"].get("namespace") not in (None, "production"):
            continue
        if role["metadata"]["name"] != SUBJECT:
            continue  # rights that a run can do without
        for index, rule in enumerate(role["rules"]):
            for verb in rule["verbs"]:
                weaker = yaml.safe_load(yaml.safe_dump(role))
                weaker["rules"][index]["verbs"].remove(verb)
                if not weaker["rules"][index]["verbs"]:
                    del weaker["rules"][index]
                lab.kubectl("replace", "-f", "-", stdin=yaml.safe_dump(weaker))
                run = run_suite(tmp_path / f"{tried}", config=str(account))
                assert run.status == 4, run.output
                assert f"{verb} {rule['resources'][0]}" in run.output
                assert "Traceback" not in run.output
                assert lab.left_behind() == []
                tried += 1
        lab.kubectl("replace", "-f", "-", stdin=yaml.safe_dump(role))
    assert tried >= 8


def test_the_right_to_impersonate_is_named_before_anything_is_created(
    lab: Cluster, account: Path, tmp_path: Path
):
    intent = tmp_path / "identities.yaml"
    text = (ROOT / "zerotrust.yaml").read_text("utf-8")
    engine = "engine: gatekeeper"
    intent.write_text(text.replace(engine, f"{engine}\n  identities: [somebody]"))
    run = run_suite(tmp_path / "run", f"--zt-intent={intent}", config=str(account))
    assert run.status == 4, run.output
    assert "impersonate users" in run.output
    assert "Traceback" not in run.output
    assert run.results == {}
    assert lab.left_behind() == []


def test_a_run_without_the_explaining_rights_only_loses_the_explanation(
    scenario, lab: Cluster, account: Path, tmp_path: Path
):
    scenario("hardened")
    for document in yaml.safe_load_all(SHIPPED.read_text()):
        if document["metadata"]["name"].endswith("-explaining"):
            lab.kubectl("delete", "-f", "-", stdin=yaml.safe_dump(document))
    which = "ZT-NET-005 or ZT-NET-002-batch or ZT-MSH-009-batch or ZT-ADM-005 or ZT-ADM-006"
    run = run_suite(tmp_path / "run", "-k", which, config=str(account))
    assert run.status == 6, run.output
    assert set(run.of("ZT-ADM-005", "ZT-ADM-006", "ZT-MSH-009").values()) == {INCONCLUSIVE}
    for result in run.results.values():
        if result["control"] == "ZT-MSH-009":
            assert result["reason"] == "not-readable"
            assert "PeerAuthentications of istio-system: 403" in str(result["headline"])
        if result["control"] == "ZT-ADM-006":
            assert result["reason"] == "not-readable"
            assert "rolebindings could not be read: 403" in str(result["headline"])
    assert set(run.of("ZT-NET-002").values()) == {HOLDS}
    assert set(run.of("ZT-NET-005").values()) == {INCONCLUSIVE}
    for result in run.results.values():
        if result["control"] == "ZT-NET-002":
            assert not result["evidence"]["policies"]["complete"]
            assert any("explanation incomplete" in line for line in result["objects"])
            assert any("could not be read: 403" in line for line in result["objects"])


def test_credentials_that_the_server_does_not_know_end_with_4(
    lab: Cluster, account: Path, tmp_path: Path
):
    config = yaml.safe_load(account.read_text())
    config["users"][0]["user"]["token"] = "of-somebody-else"
    file = tmp_path / "unknown"
    file.write_text(yaml.safe_dump(config))
    run = run_suite(tmp_path / "run", config=str(file))
    assert run.status == 4, run.output
    assert "401 Unauthorized" in run.output
    assert "Traceback" not in run.output
