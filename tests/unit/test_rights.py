"""The rights that a run asks for are exactly those that the shipped RBAC grants, and no more."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pytest_zerotrust.cluster.access import Right
from pytest_zerotrust.fleet.rights import (
    as_rbac,
    explaining_rights,
    fleet_rights,
    own_namespace_rights,
)
from pytest_zerotrust.intent.load import intent_from_text

TEXT = """
version: 1
namespaces: [web, data]
workloads:
  front: {namespace: web, labels: {app: front}, meshed: true}
  store: {namespace: data, labels: {app: store}}
probe: {namespace: probes}
"""
FULL = TEXT + "mesh: {}\nadmission: {registries: [r/], namespaces: [web, other]}\n"
INTENTS = {"minimal": "version: 1\n", "workloads": TEXT, "everything": FULL}


def rights(name: str) -> list[Right]:
    return fleet_rights(intent_from_text(INTENTS[name], "z"))


def granted(text: str) -> set[Right]:
    """What RBAC manifests grant to their one subject."""
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    bound = {
        (d["roleRef"]["kind"], d["metadata"].get("namespace", ""), d["roleRef"]["name"])
        for d in documents
        if d["kind"].endswith("Binding")
    }
    found = set()
    for d in documents:
        meta = d["metadata"]
        if (d["kind"], meta.get("namespace", ""), meta["name"]) not in bound:
            continue
        for rule in d["rules"]:
            found |= {
                Right(meta.get("namespace", ""), group, resource, verb)
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
    return found


def rbac(name: str) -> str:
    return as_rbac(
        rights(name), subject="verifier", own_namespace="probes", pod_security="restricted"
    )


@pytest.mark.parametrize("name", INTENTS)
def test_the_rbac_grants_exactly_what_is_asked_for(name):
    assert granted(rbac(name)) == set(rights(name))


@pytest.mark.parametrize("name", INTENTS)
def test_the_rbac_binds_one_account_of_our_own_namespace(name):
    documents = list(yaml.safe_load_all(rbac(name)))
    account = {"kind": "ServiceAccount", "name": "verifier", "namespace": "probes"}
    assert documents[0]["kind"] == "Namespace"
    assert documents[0]["metadata"]["name"] == "probes"
    assert documents[1]["kind"] == "ServiceAccount"
    for d in documents:
        if d["kind"].endswith("Binding"):
            assert d["subjects"] == [account]


@pytest.mark.parametrize("name", INTENTS)
def test_no_right_is_a_wildcard_and_none_reads_secrets_or_changes_users_objects(name):
    for right in rights(name):
        assert "*" not in (right.verb, right.resource, right.group, right.namespace)
        assert right.resource != "secrets"
        assert right.verb not in ("update", "impersonate", "bind", "escalate")
        # Dry runs of changes to gated pods of our own ask for it.
        assert right.verb != "patch" or right.resource in ("pods", "pods/ephemeralcontainers")


@pytest.mark.parametrize("name", INTENTS)
def test_cluster_wide_nothing_but_looking_is_needed(name):
    group = "admissionregistration.k8s.io"
    looking = {Right("", "", "namespaces", "get")}
    if name == "everything":
        looking |= {
            Right("", group, "validatingwebhookconfigurations", "list"),
            Right("", group, "validatingadmissionpolicies", "get"),
            Right("", group, "validatingadmissionpolicybindings", "list"),
        }
    assert {r for r in rights(name) if not r.namespace} == looking


def test_making_our_own_namespace_needs_two_rights_more():
    assert {r.verb for r in own_namespace_rights()} == {"create", "delete"}


@pytest.mark.parametrize("namespace", ["web", "data", "probes"])
@pytest.mark.parametrize(
    ("resource", "verb"),
    [
        ("pods", "create"),
        ("pods", "list"),
        ("pods", "deletecollection"),
        ("pods/exec", "create"),
        ("pods/exec", "get"),
        ("services", "create"),
        ("services", "list"),
        ("services", "get"),
        ("services", "deletecollection"),
    ],
)
def test_probe_pods_need_the_same_rights_in_each_of_their_namespaces(namespace, resource, verb):
    assert Right(namespace, "", resource, verb) in rights("workloads")


def test_policies_are_made_in_our_own_namespace_alone():
    found = {r.namespace for r in rights("everything") if r.resource == "networkpolicies"}
    assert found == {"probes"}


def test_the_mesh_needs_the_root_certificate_of_each_meshed_namespace():
    found = {(r.namespace, r.verb) for r in rights("everything") if r.resource == "configmaps"}
    assert found == {("web", "get")}
    assert not [r for r in rights("workloads") if r.resource == "configmaps"]


def test_admission_needs_what_its_dry_runs_ask_for_where_it_is_tested_and_nothing_else():
    workloads = {
        ("apps", "daemonsets"), ("apps", "deployments"), ("apps", "replicasets"),
        ("apps", "statefulsets"), ("batch", "cronjobs"), ("batch", "jobs"),
        ("", "replicationcontrollers"),
    }  # fmt: skip
    other = {(r.group, r.resource, r.verb) for r in rights("everything") if r.namespace == "other"}
    assert other == {
        ("", "pods", "create"), ("", "pods", "patch"), *((g, r, "create") for g, r in workloads)
    }  # fmt: skip
    # Containers are added only where a gated pod of our own may be.
    added = {r.namespace for r in rights("everything") if r.resource == "pods/ephemeralcontainers"}
    assert added == {"web"}


def reading_policies(admission: str) -> set[tuple[str, str, str]]:
    intent = intent_from_text(TEXT + f"admission: {{registries: [r/], {admission}}}\n", "z")
    return {
        (right.group, right.resource, right.verb)
        for right in explaining_rights(intent)
        if "gatekeeper" in right.group or "rbac" in right.group
    }


def test_who_administers_is_read_only_if_it_is_declared():
    assert not reading_policies("engine: opa")
    named = reading_policies("engine: opa, administrators: [Group platform]")
    kinds = ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
    assert named == {("rbac.authorization.k8s.io", kind, "list") for kind in kinds}
    assert not [r for r in explaining_rights(intent_from_text(TEXT, "z")) if "rbac" in r.group]


@pytest.mark.parametrize("engine", ["any", "gatekeeper"])
def test_constraints_are_read_whatever_their_kinds(engine):
    assert reading_policies(f"engine: {engine}") == {
        ("constraints.gatekeeper.sh", "*", "get"),
        ("config.gatekeeper.sh", "configs", "get"),
    }


def test_identities_need_the_right_to_impersonate_and_nobody_else_does():
    text = FULL.replace("namespaces: [web, other]", "namespaces: [web], identities: [jane]")
    found = fleet_rights(intent_from_text(text, "z"))
    assert [r.resource for r in found if r.verb == "impersonate"] == ["users"]
    assert not [r for r in rights("everything") if r.verb == "impersonate"]


@pytest.mark.parametrize(
    ("right", "text"),
    [
        (Right("ns", "", "pods", "create"), "create pods in namespace ns"),
        (Right("", "", "namespaces", "get"), "get namespaces cluster-wide"),
        (
            Right("ns", "networking.k8s.io", "networkpolicies", "list"),
            "list networkpolicies.networking.k8s.io in namespace ns",
        ),
    ],
)
def test_a_right_reads_as_a_sentence(right, text):
    assert str(right) == text
