"""Minimal pairs as server-side dry runs: what the server says of both, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_zerotrust.admission import engine
from pytest_zerotrust.admission.engine import AdmissionEngine
from pytest_zerotrust.admission.pairs import LISTS, PairCheck
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.core.intent import AdmissionIntent
from pytest_zerotrust.core.verdict import Result, Verdict
from tests.fakes.apiserver import FakeApi, api_server
from tests.fakes.cluster import gatekeeper, nobody
from tests.fakes.fleet import RUN

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
CHECKS = [
    PairCheck(control=control, namespace="web", list_name=list_name)
    for control in ("ZT-ADM-001", "ZT-ADM-002", "ZT-ADM-003")
    for list_name in LISTS
]
every_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        started.cluster.add_workload("web", "front", 80)
        yield started


@pytest.fixture
def verify(server: FakeApi, tmp_path: Path) -> Callable[..., Result]:
    path = server.kubeconfig(tmp_path / "kube.yaml")
    api = Api(open_connection(ClusterOptions(kubeconfig=str(path))))

    def run(check: PairCheck, engine: str = "gatekeeper") -> Result:
        intent = AdmissionIntent(
            namespaces=("web",), registries=("registry.company.com/",), engine=engine
        )
        return AdmissionEngine(api, RUN, intent).verify(check)

    return run


@every_check
def test_a_rejection_by_the_engine_holds_and_names_its_policy(verify, check):
    result = verify(check)
    assert result.verdict is HOLDS
    assert "gatekeeper [restricted]" in result.headline
    assert result.objects == ("policy restricted",)


@every_check
def test_a_pod_that_is_admitted_as_it_was_sent_is_a_violation(verify, server, check):
    server.cluster.admission = nobody
    result = verify(check)
    assert result.verdict is VIOLATED
    assert f"{check.case} in {check.list_name}, namespace web was ADMITTED" in result.headline
    assert result.remedy


@every_check
def test_nothing_is_ever_kept(verify, server, check):
    server.cluster.admission = nobody
    verify(check)
    assert set(server.cluster.objects["web", "pods"]) == {"front-1"}


@every_check
def test_a_rule_that_looks_only_at_ordinary_containers_leaves_a_hole(verify, server, check):
    def naive(pod: Any) -> Any:
        return gatekeeper({"spec": {"containers": pod["spec"]["containers"]}})

    server.cluster.admission = naive
    assert verify(check).verdict is (VIOLATED if check.list_name == "initContainers" else HOLDS)


@every_check
def test_a_mutation_that_takes_the_bad_field_out_is_neither_rejected_nor_a_violation(
    verify, server, check
):
    def mutate(pod: Any) -> Any:
        for container in (*pod["spec"]["initContainers"], *pod["spec"]["containers"]):
            container["securityContext"].update(privileged=False, runAsNonRoot=True)
            container["image"] = "registry.company.com/" + container["image"].rpartition("/")[2]
        return None

    server.cluster.admission = mutate
    result = verify(check)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "neutralised")


def test_a_page_in_the_servers_place_is_no_admission(verify, server):
    server.fail("POST", "/pods", status=200, body=b"<html>log in</html>")
    assert verify(CHECKS[0]).verdict is INCONCLUSIVE


@pytest.mark.parametrize(
    "fault", [{"cut": True}, {"status": 500}, {"status": 401}, {"status": 403}, {"status": 409}]
)
def test_a_server_in_trouble_rejects_nothing(verify, server, fault):
    server.fail("POST", "/pods", **fault)
    assert verify(CHECKS[0]).verdict is INCONCLUSIVE


@pytest.mark.parametrize("fault", [{"cut": True}, {"status": 500}, {"status": 403}])
def test_trouble_over_the_bad_pod_alone_rejects_nothing(verify, server, fault):
    answers = iter([None, (fault.get("status", 500), "trouble")])

    def second(pod: Any) -> Any:
        answer = next(answers)
        if answer and fault.get("cut"):
            raise ConnectionError("gone")
        return answer

    server.cluster.admission = second
    assert verify(CHECKS[0]).verdict is INCONCLUSIVE


def test_another_engine_masks_the_one_under_test_but_not_any(verify):
    assert verify(CHECKS[0], engine="opa").reason == "masked"
    assert verify(CHECKS[0], engine="any").verdict is HOLDS


def test_every_request_is_a_strict_dry_run(verify, server, monkeypatch):
    seen = []
    answer = server.cluster.answer

    def watching(method: str, path: str, query: Any, body: Any) -> Any:
        seen.append((method, path, dict(query)))
        return answer(method, path, query, body)

    monkeypatch.setattr(server.cluster, "answer", watching)
    verify(CHECKS[0])
    flags = {"dryRun": "All", "fieldValidation": "Strict"}
    assert seen == [("POST", "/api/v1/namespaces/web/pods", flags)] * 2


def test_a_warning_of_a_policy_that_only_warns_is_shown_with_the_violation(verify, server):
    warning = '299 - "would violate PodSecurity \\"restricted\\""'
    server.cluster.admission = nobody
    server.fail("POST", "/pods", status=201, headers={"Warning": warning}, body={}, times=None)
    result = verify(CHECKS[0])
    assert 'it warned: would violate PodSecurity "restricted"' in result.observed


def answering(*answers: bool) -> Callable[[Any], Any]:
    """Admits every good pod, and the bad ones as ``answers`` say (the last one from then on)."""
    left = list(answers)

    def admission(pod: Any) -> Any:
        refused = gatekeeper(pod)
        if refused is None:
            return None
        return None if (left.pop(0) if len(left) > 1 else left[0]) else refused

    return admission


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((True, False, False), "was ADMITTED in 1 of 3 tries, expected REJECTED"),
        ((True, False, True), "was ADMITTED in 2 of 3 tries, expected REJECTED"),
        ((True,), "was ADMITTED, expected REJECTED"),
    ],
)
def test_what_gets_through_once_is_violated_and_says_how_often(
    verify, server, monkeypatch, answers, words
):
    monkeypatch.setattr(engine, "PAUSE", 0)
    server.cluster.admission = answering(*answers)
    result = verify(CHECKS[0])
    assert result.verdict is VIOLATED
    assert words in result.headline
    assert ("fails open" in result.headline) is (len(set(answers)) > 1)
    assert sum(line.startswith("pod with ") for line in result.observed) == 3


def test_admitted_once_and_then_in_trouble_is_violated_and_names_the_trouble(
    verify, server, monkeypatch
):
    monkeypatch.setattr(engine, "PAUSE", 0)
    answers = iter([None, (500, "trouble"), (500, "trouble")])

    def admission(pod: Any) -> Any:
        return next(answers) if gatekeeper(pod) else None

    server.cluster.admission = admission
    result = verify(CHECKS[0])
    assert result.verdict is VIOLATED
    assert "in 1 of 3 tries, expected REJECTED (otherwise: unknown (HTTP 500))" in result.headline
