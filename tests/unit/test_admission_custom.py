"""Sentences about workload controllers: what counts is what becomes of their pods."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_zerotrust.admission.custom import admission, rejection
from pytest_zerotrust.admission.engine import AdmissionEngine
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.core.admission_diff import ABSENT
from pytest_zerotrust.core.intent import AdmissionIntent
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive
from tests.fakes.apiserver import FakeApi, api_server
from tests.fakes.cluster import nobody
from tests.fakes.fleet import RUN

IMAGE = "registry.company.com/app:1"
POD: dict[str, Any] = {
    "containers": [
        {"name": "c", "image": IMAGE, "securityContext": {"runAsNonRoot": True, "privileged": True}}
    ]
}
PRIVILEGED = "spec.template.spec.containers[0].securityContext.privileged"


def workload(kind: str = "Deployment") -> dict[str, Any]:
    spec: dict[str, Any] = {"template": {"spec": copy.deepcopy(POD)}}
    if kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    return {"kind": kind, "metadata": {"namespace": "web", "name": "w"}, "spec": spec}


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        started.cluster.add_workload("web", "front", 80)
        yield started


@pytest.fixture
def engine(server: FakeApi, tmp_path: Path) -> AdmissionEngine:
    path = server.kubeconfig(tmp_path / "kube.yaml")
    api = Api(open_connection(ClusterOptions(kubeconfig=str(path))))
    intent = AdmissionIntent(
        namespaces=("web",), registries=("registry.company.com/",), engine="any"
    )
    return AdmissionEngine(api, RUN, intent)


@pytest.fixture
def rejects(engine: AdmissionEngine) -> Callable[..., Result]:
    def run(manifest: dict[str, Any], because: str, instead: Any = ABSENT) -> Result:
        trial = rejection(manifest, because=because, instead=instead, engine="any", policy="")
        return engine.try_all([trial])[0]

    return run


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job", "CronJob"])
def test_a_template_that_passes_holds_if_its_pods_are_turned_away(rejects, kind):
    because = f"spec.jobTemplate.{PRIVILEGED}" if kind == "CronJob" else PRIVILEGED
    result = rejects(workload(kind), because)
    assert result.verdict is Verdict.HOLDS
    assert "the template was admitted, and its pod" in result.headline


def test_a_template_whose_pods_pass_as_well_is_a_violation(rejects, server):
    server.cluster.admission = nobody
    result = rejects(workload(), PRIVILEGED)
    assert result.verdict is Verdict.VIOLATED
    assert "its pod" in result.headline


def test_a_field_outside_the_template_is_judged_on_the_controller_alone(rejects):
    manifest = workload()
    manifest["spec"]["paused"] = True
    assert rejects(manifest, "spec.paused").verdict is Verdict.VIOLATED


def test_a_twin_whose_pods_are_turned_away_proves_nothing(rejects):
    manifest = workload()
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "elsewhere/app:1"
    assert rejects(manifest, PRIVILEGED).verdict is Verdict.INCONCLUSIVE


def test_a_controller_is_admitted_only_if_its_pods_are(engine):
    result = admission(engine, workload())
    assert result.verdict is Verdict.VIOLATED
    assert "Deployment web/w is admitted, and its pod was REJECTED by gatekeeper" in result.headline
    good = workload()
    good["spec"]["template"]["spec"]["containers"][0]["securityContext"].pop("privileged")
    assert admission(engine, good).verdict is Verdict.HOLDS


def test_what_a_mutation_changed_is_told(engine, server):
    def mutate(pod: Any) -> None:
        pod["spec"]["containers"][0]["image"] = "mirror/app:1"

    server.cluster.admission = mutate
    result = admission(engine, {**workload(), "kind": "Pod", "spec": copy.deepcopy(POD)})
    assert result.verdict is Verdict.HOLDS
    assert result.observed == (
        f"changed on the way in: spec.containers[0].image: sent '{IMAGE}', returned 'mirror/app:1'",
    )


def test_a_controller_without_a_template_cannot_be_tried(rejects):
    manifest = workload()
    manifest["spec"] = {"template": {"metadata": {"labels": {}}}}
    with pytest.raises(Inconclusive, match="no pod template"):
        rejects(manifest, "spec.template.metadata")
    with pytest.raises(Inconclusive, match="nothing would differ"):
        rejects(manifest, "spec.template.spec")
