"""Two real clusters in one run, and one that is not there: verdicts are told apart by cluster, and
what breaks one spoils no other. Brings a second lab up beside the first, and takes it away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faults.conftest import LAB
from tests.faults.proxy import Rule, proxied
from tests.faults.support import CHECKS, NETWORK, about, delete_all, finish, start
from tests.live.support import HOLDS, INCONCLUSIVE, VIOLATED, Cluster, SuiteRun, read_run, zt_lab

pytestmark = pytest.mark.faults

SECOND = LAB[:-1] + ("h" if LAB.endswith("g") else "g")
"""The name of the second lab: the first one's with another last letter."""

ROW = re.compile(r"\s{2,}")


@pytest.fixture(scope="module")
def other(lab: Cluster) -> Iterator[Cluster]:
    """The second cluster, in which web can be reached by everybody in spite of the intent."""
    try:
        zt_lab("up", "--name", SECOND, timeout=3000)
        zt_lab("scenario", "hardened", "--name", SECOND)
        cluster = Cluster(SECOND)
        for namespace, way in (("legacy", "Ingress"), ("staging", "Egress")):
            cluster.kubectl("apply", "-f", "-", stdin=json.dumps(opened(namespace, way)))
        yield cluster
    finally:
        zt_lab("down", "--name", SECOND)


def opened(namespace: str, way: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "hole", "namespace": namespace},
        "spec": {"podSelector": {}, "policyTypes": [way], way.lower(): [{}]},
    }


@pytest.fixture(autouse=True)
def other_is_clean(other: Cluster) -> Iterator[None]:
    yield
    assert other.left_behind() == []


def joined(folder: Path, **clusters: str) -> str:
    """A kubeconfig with a context for each of these kubeconfigs."""
    whole: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": "nobody",
                             "clusters": [], "users": [], "contexts": []}  # fmt: skip
    for name, file in clusters.items():
        config = yaml.safe_load(Path(file).read_text())
        whole["clusters"].append({"name": name, "cluster": config["clusters"][0]["cluster"]})
        whole["users"].append({"name": name, "user": config["users"][0]["user"]})
        whole["contexts"].append({"name": name, "context": {"cluster": name, "user": name}})
    path = folder / "joined.yaml"
    path.write_text(yaml.safe_dump(whole))
    return str(path)


def dead(folder: Path) -> str:
    """The kubeconfig of a cluster that is not there."""
    path = folder / "dead.yaml"
    cluster = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    data = {"clusters": [{"cluster": cluster}], "users": [{"user": {"token": "none"}}]}
    path.write_text(yaml.safe_dump(data))
    return str(path)


def run(folder: Path, *words: str, **clusters: str) -> tuple[SuiteRun, dict[str, SuiteRun]]:
    """Run the selection against all of them; returns the whole run, and that of each context."""
    contexts = [f"--kube-context={name}" for name in clusters]
    whole = finish(start(folder, joined(folder, **clusters), *NETWORK, *contexts, *words), folder)
    return whole, {name: read_run(whole.status, "", folder / name) for name in clusters}


def rows(output: str) -> dict[str, list[str]]:
    """The lines of the table of all clusters, by context."""
    _, _, end = output.partition(" zero trust: clusters ")
    lines = [ROW.split(line.strip()) for line in end.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 6}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "two-workers"])
def test_each_cluster_gets_its_own_verdicts(
    lab: Cluster, other: Cluster, tmp_path: Path, workers: tuple[str, ...]
):
    whole, parts = run(tmp_path, *workers, one=lab.config, dead=dead(tmp_path), two=other.config)
    assert parts["one"].verdicts == dict.fromkeys(CHECKS, HOLDS), whole.output
    hole = {check for check in about("reports->web") if "ZT-NET-001" in check}
    expected = {check: VIOLATED if check in hole else HOLDS for check in CHECKS}
    assert parts["two"].verdicts == expected, whole.output
    assert parts["dead"].verdicts == {}
    found = rows(whole.output)
    assert found["one"][-1] == "passed (0)", whole.output
    assert found["two"][-1] == "failed (1)", whole.output
    assert found["dead"] == ["-", "-", "-", "-", "not tested (4)"], whole.output
    assert whole.status == 1


def test_one_that_breaks_in_its_batch_spoils_no_other(lab: Cluster, other: Cluster, tmp_path: Path):
    with proxied(lab.config) as proxy:
        proxy.in_the_batch(lambda: proxy.rules.append(Rule(".*", ".*", cut=True)))
        broken = proxy.kubeconfig(tmp_path / "proxy.yaml")
        whole, parts = run(tmp_path, broken=broken, two=other.config)
    try:
        assert parts["broken"].verdicts == dict.fromkeys(CHECKS, INCONCLUSIVE), whole.output
        assert set(parts["two"].verdicts.values()) == {HOLDS, VIOLATED}, whole.output
        found = rows(whole.output)
        assert found["broken"][-1] == "not concluded (6)", whole.output
        assert found["two"][-1] == "failed (1)", whole.output
        assert "--context broken" in whole.output
        assert whole.status == 1
    finally:
        delete_all(lab)
