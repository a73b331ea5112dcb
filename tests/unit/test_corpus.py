"""Each case: one field apart from its twin, a stable id, requests that store nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.admission.corpus.model import TEMPLATES, AdmissionCase, Edit, edited
from pytest_zerotrust.admission.corpus.select import CaseCheck, corpus_checks
from pytest_zerotrust.admission.custom import parse_path, rejection
from pytest_zerotrust.admission.trial import Trial, trial_of
from pytest_zerotrust.checks import KINDS, checks_of
from pytest_zerotrust.core.admission_diff import ABSENT, changes, counterpart
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.intent.load import intent_from_text
from tests.fakes.fleet import RUN

TEXT = """
version: 1
namespaces: [a, b]
admission:
  registries: [registry.company.com/]
  namespaces: [a, other]
  podSecurity: {a: baseline, b: restricted, other: privileged}
  identities: ["system:serviceaccount:kube-system:job-controller"]
  profile: PROFILE
"""
CONTROLS = ("ZT-ADM-001", "ZT-ADM-002", "ZT-ADM-003", "ZT-ADM-004")


def all_checks(profile: str) -> list[CaseCheck]:
    intent = intent_from_text(TEXT.replace("PROFILE", profile), "z")
    return [check for control in CONTROLS for check in corpus_checks(intent, control)]


def trials(profile: str = "full") -> list[Trial]:
    intent = intent_from_text(TEXT.replace("PROFILE", profile), "z")
    assert intent.admission is not None
    return [trial_of(check, RUN, intent.admission) for check in all_checks(profile)]


def test_ids_are_unique_stable_and_fit_into_a_test_id():
    for profile in ("default", "full"):
        ids = [check.id for check in all_checks(profile)]
        assert len(set(ids)) == len(ids)
        assert ids == [check.id for check in all_checks(profile)]
        assert not [id_ for id_ in ids if set(id_) & set(" []:/")]
    assert {c.id for c in all_checks("default")} < {c.id for c in all_checks("full")}


def test_the_two_requests_of_each_case_differ_in_the_tested_field_alone():
    for trial in trials():
        assert trial.value(trial.bad) is not trial.value(trial.good)
        good = edited(dict(trial.good.body), [Edit(trial.path, "x")])
        bad = edited(dict(trial.bad.body), [Edit(trial.path, "x")])
        assert changes(good, bad) == changes(bad, good) == (), trial.title
        assert trial.good.path == trial.bad.path
        assert trial.value(trial.bad) != trial.value(trial.good)


def test_every_request_is_a_strict_dry_run_and_no_pod_could_run():
    for trial in trials():
        for part in (trial, trial.pods or trial):
            for request in part.requests:
                assert request.params["dryRun"] == "All"
                assert request.params["fieldValidation"] == "Strict"
                spec = request.body["spec"]
                if request.body.get("kind") == "Pod":
                    assert spec["schedulingGates"]
                assert spec.get("replicas", 0) == 0


def test_templates_carry_the_pod_that_is_sent_in_their_place():
    ways = {way for check in all_checks("full") if (way := check.case.way) in TEMPLATES}
    assert ways == set(TEMPLATES)
    for trial in trials():
        if trial.pods is not None:
            assert trial.pods.bad.body["kind"] == "Pod"
            assert trial.value(trial.bad) == trial.pods.value(trial.pods.bad)


def test_a_restricted_namespace_has_all_cases_of_a_baseline_one_but_privileged_ones():
    names: dict[str, set[str]] = {"a": set(), "b": set(), "other": set()}
    for check in all_checks("default"):
        if check.control == "ZT-ADM-004":
            names[check.namespace].add(check.case.name)
    assert names["other"] == set()
    assert {name.partition("-in-")[0] for name in names["a"] - names["b"]} == {"privileged"}
    assert names["a"] & names["b"] < names["b"]


def test_pods_are_changed_only_where_the_intent_places_pods():
    found = {(c.namespace, c.placed) for c in all_checks("default") if c.needs_pod}
    assert found == {("a", True), ("b", True), ("other", False)}


def test_nothing_declared_is_not_applicable():
    intent = intent_from_text("version: 1\nadmission: {registries: [r/]}\n", "z")
    (check,) = checks_of("pod-security", intent)
    assert "podSecurity" in getattr(check, "why", "")
    assert KINDS["pod-security"].control == "ZT-ADM-004"


@pytest.mark.parametrize("registry", ["r.example.com/", "r.example.com:5000/team/", "localhost/"])
def test_no_image_from_elsewhere_begins_with_the_registry(registry):
    text = TEXT.replace("PROFILE", "default").replace("registry.company.com/", registry)
    intent = intent_from_text(text, "z")
    for check in corpus_checks(intent, "ZT-ADM-003"):
        assert not str(check.case.bad).startswith(registry)
        assert str(check.case.good).startswith(registry)


POD: dict[str, Any] = {
    "kind": "Pod",
    "metadata": {"namespace": "a", "labels": {"example.com/team": "x"}},
    "spec": {"hostNetwork": True, "containers": [{"name": "c", "image": "i"}]},
}


def sentence(because: str, manifest: Any = POD, instead: Any = ABSENT) -> Trial:
    return rejection(manifest, because=because, instead=instead, engine="any", policy="")


def test_the_twin_of_a_manifest_lacks_the_named_field():
    made = sentence("spec.hostNetwork")
    assert made.value(made.good) is ABSENT
    assert made.value(made.bad) is True
    assert "hostNetwork" in POD["spec"]
    other = sentence('metadata.labels["example.com/team"]', instead="y")
    assert other.value(other.good) == "y"


@pytest.mark.parametrize(
    ("because", "instead"),
    [("spec.hostPID", ABSENT), ("spec.hostNetwork", True), ("spec..x[", ABSENT), ("", ABSENT)],
)
def test_a_sentence_that_tests_nothing_is_refused(because, instead):
    with pytest.raises(Inconclusive):
        sentence(because, instead=instead)


@pytest.mark.parametrize("manifest", [{}, {"kind": "Pod"}, {"kind": "Secret"}])
def test_a_manifest_that_cannot_be_tried_is_refused(manifest):
    with pytest.raises(Inconclusive):
        sentence("spec.x", manifest)


def test_paths():
    assert parse_path("spec.containers[0].image") == ("spec", "containers", 0, "image")
    with pytest.raises(Inconclusive):
        parse_path("spec.[x")


def test_an_edit_makes_what_is_missing_on_its_way_and_takes_away_what_is_absent():
    made = edited({"a": {}}, [Edit(("a", "b", 0, "c"), 1), Edit(("x", "y"), ABSENT)])
    assert made == {"a": {"b": [{"c": 1}]}}
    assert counterpart(made, made, ("a", "b", 0, "c")) == 1
    assert AdmissionCase(name="n", topic="t", path=("a",), bad=1).pods({}) == ({}, {"a": 1})
