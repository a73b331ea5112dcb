"""Who may switch off what rejects pods: by its own objects, or by a way around."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.administrators import who_may
from pytest_zerotrust.core.levers import lever, workload_levers
from pytest_zerotrust.core.rbac import Rbac, Subject, read_rbac
from tests.unit.test_rbac import binding, role, rule

REGISTRATION = "admissionregistration.k8s.io"
HOOKS = "validatingwebhookconfigurations"
RBAC = "rbac.authorization.k8s.io"
LEVERS = [
    lever("ValidatingWebhookConfiguration", REGISTRATION, HOOKS, "gate"),
    *workload_levers("engine", "where it is served"),
]
EDIT = rule("patch", HOOKS, REGISTRATION)
JANE = "User jane"


def rbac(*rules: dict[str, Any], namespace: str = "", more: list[Any] | None = None) -> Rbac:
    """What jane is given by a role of these rules, beside what others have."""
    kind = "Role" if namespace else "ClusterRole"
    roles = [role("editor", EDIT), role("hers", *rules, namespace=namespace)]
    bindings = [
        binding("admins", "ClusterRole editor", "Group admins", "ServiceAccount ops/robot"),
        binding("hers", f"{kind} hers", JANE, namespace=namespace),
        *(more or ()),
    ]
    return read_rbac(roles, bindings)


def jane(*rules: dict[str, Any], namespace: str = "") -> list[str]:
    found = who_may(rbac(*rules, namespace=namespace), LEVERS)
    return list(map(str, found[Subject.parse(JANE)]))


def test_a_subject_is_named_with_its_verbs_binding_and_role():
    assert jane(rule("get patch delete", HOOKS, REGISTRATION)) == [
        "may patch/delete ValidatingWebhookConfiguration gate, "
        "by ClusterRoleBinding hers to ClusterRole hers"
    ]


@pytest.mark.parametrize(
    "rules",
    [
        rule("get list watch create", HOOKS, REGISTRATION),
        rule("patch", HOOKS, REGISTRATION, names="other"),
        rule("patch", "validatingadmissionpolicies", REGISTRATION),
        rule("patch", HOOKS, "other"),
        rule("get", "pods secrets configmaps"),
        rule("create", "serviceaccounts/token", names="other"),
        rule("impersonate", "users", names="somebody"),
        rule("impersonate", "groups", names="admins"),
        rule("create", "clusterroles", RBAC),
        rule("escalate", "clusterroles", RBAC),
        rule("bind", "clusterroles", RBAC),
        rule("approve", "signers", "certificates.k8s.io"),
        rule("create", "secrets"),
    ],
)
def test_what_switches_nothing_off_is_not_told(rules):
    assert jane(rules) == []


@pytest.mark.parametrize("verb", ["update", "patch", "delete", "deletecollection", "*"])
def test_every_verb_that_changes_the_object_is_one(verb):
    assert jane(rule(verb, HOOKS, REGISTRATION))


def test_rights_in_the_namespace_of_the_engine_count_and_elsewhere_not():
    deploy = rule("patch", "deployments", "apps")
    assert "in namespace engine, where it is served" in jane(deploy, namespace="engine")[0]
    assert jane(deploy, namespace="web") == []


WAYS = {
    "impersonate Group system:masters": [rule("impersonate", "groups users")],
    "impersonate Group admins": [
        rule("impersonate", "groups", names="admins"),
        rule("impersonate", "users", names="somebody"),
    ],
    "impersonate ServiceAccount ops/robot": [rule("impersonate", "serviceaccounts", names="robot")],
    "make tokens of ServiceAccount ops/robot": [
        rule("create", "serviceaccounts/token", names="robot")
    ],
    "make and read secrets with a token of ServiceAccount ops/robot": [
        rule("create get", "secrets")
    ],
    "write clusterroles beyond its own rights (escalate)": [
        rule("escalate", "clusterroles", RBAC),
        rule("patch", "clusterroles", RBAC),
    ],
    "write clusterroles editor beyond its own rights (escalate)": [
        rule("escalate patch", "clusterroles", RBAC, names="editor")
    ],
    "bind ClusterRole editor to anybody": [
        rule("bind", "clusterroles", RBAC, names="editor"),
        rule("create", "clusterrolebindings", RBAC),
    ],
    "approve client certificates for any name": [
        rule("update", "certificatesigningrequests/approval", "certificates.k8s.io"),
        rule("approve", "signers", "certificates.k8s.io", names="kubernetes.io/*"),
    ],
    "get nodes/proxy, and so run commands": [rule("get", "nodes/proxy")],
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_around_is_found(way):
    assert any(f"may {way}" in text for text in jane(*WAYS[way])), jane(*WAYS[way])


def test_ways_within_the_namespace_of_a_powerful_account_are_found():
    made = jane(rule("create", "pods"), namespace="ops")
    assert made[0].startswith("may create pods in namespace ops, which may run as ServiceAccount")
    template = jane(rule("patch", "deployments", "apps"), namespace="ops")
    assert template[0].startswith("may patch deployments in namespace ops")
    assert jane(rule("create", "pods/exec"), namespace="ops")
    assert jane(rule("create", "serviceaccounts/token"), namespace="ops")
    assert jane(rule("create", "pods"), namespace="web") == []


def test_a_group_is_impersonated_together_with_a_service_account_of_any_namespace():
    roles = [role("editor", EDIT), role("groups", rule("impersonate", "groups"))]
    roles.append(role("accounts", rule("impersonate", "serviceaccounts"), namespace="web"))
    bindings = [
        binding("one", "ClusterRole groups", JANE, "User joe"),
        binding("two", "Role accounts", JANE, namespace="web"),
    ]
    found = who_may(read_rbac(roles, bindings), LEVERS)
    assert "impersonate Group system:masters" in str(found[Subject.parse(JANE)][0])
    assert found[Subject.parse("User joe")] == ()


def test_binding_other_roles_is_no_way():
    create = rule("create", "clusterrolebindings", RBAC)
    assert jane(rule("bind", "clusterroles", RBAC, names="view"), create) == []


def test_what_two_bindings_give_counts_together():
    roles = [
        role("editor", EDIT),
        role("binder", rule("bind", "clusterroles", RBAC)),
        role("maker", rule("create", "clusterrolebindings", RBAC)),
    ]
    bindings = [
        binding("one", "ClusterRole binder", JANE),
        binding("two", "ClusterRole maker", JANE),
        binding("three", "ClusterRole binder", "User joe"),
    ]
    found = who_may(read_rbac(roles, bindings), LEVERS)
    text = str(found[Subject.parse(JANE)][0])
    assert "ClusterRoleBinding one to ClusterRole binder" in text
    assert "ClusterRoleBinding two to ClusterRole maker" in text
    assert found[Subject.parse("User joe")] == ()


def test_who_may_become_somebody_who_may_become_an_administrator_is_found():
    roles = [role("editor", EDIT), role("runner", rule("create", "pods"), namespace="ops")]
    roles.append(role("runner", rule("create", "pods"), namespace="ci"))
    bindings = [
        binding("admins", "ClusterRole editor", "ServiceAccount ops/robot"),
        binding("first", "Role runner", "ServiceAccount ci/runner", namespace="ops"),
        binding("second", "Role runner", JANE, namespace="ci"),
    ]
    found = who_may(read_rbac(roles, bindings), LEVERS)
    assert "which may run as ServiceAccount ci/runner" in str(found[Subject.parse(JANE)][0])


def test_what_is_added_to_an_account_of_kubernetes_is_not_hidden_by_its_defaults():
    name = "system:controller:generic-garbage-collector"
    roles = [
        role(name, rule("delete patch update", "*", "*")),
        role("more", rule("impersonate", "users groups")),
    ]
    account = "ServiceAccount kube-system/generic-garbage-collector"
    own = binding(name, f"ClusterRole {name}", account)
    subject = Subject.parse(account)
    defaults = who_may(read_rbac(roles, [own]), LEVERS)[subject]
    assert defaults
    assert all(power.is_default for power in defaults)
    added = binding("added", "ClusterRole more", account)
    powers = who_may(read_rbac(roles, [own, added]), LEVERS)[subject]
    assert [str(power) for power in powers if not power.is_default] == [
        "may impersonate Group system:masters, by ClusterRoleBinding added to ClusterRole more"
    ]
