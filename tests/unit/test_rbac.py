"""What RBAC lets whom do, as the API server's authorizer reads it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_zerotrust.core.rbac import Act, Rbac, Subject, read_rbac
from pytest_zerotrust.core.rbac_defaults import MASTERS, is_default


def role(name: str, *rules: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "rules": list(rules)}


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> dict[str, Any]:
    made = {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": [group]}
    return made | ({"resourceNames": names.split()} if names else {})


def binding(name: str, to: str, *subjects: str, namespace: str = "") -> dict[str, Any]:
    kind, _, target = to.partition(" ")
    made = []
    for text in subjects:
        subject = Subject.parse(text)
        made.append({"kind": subject.kind, "name": subject.name, "namespace": subject.namespace})
    return {
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": kind, "name": target},
        "subjects": made,
    }


def allowed(rbac: Rbac, **act: str) -> set[str]:
    wanted = Act(**{"group": "", **act})
    return {str(grant.subject) for grant in rbac.grants if grant.allows(wanted)}


DEVELOPERS = "Group developers"


@pytest.mark.parametrize(
    ("given", "act", "yes"),
    [
        (rule("get", "pods"), {"verb": "get", "resource": "pods"}, True),
        (rule("get", "pods"), {"verb": "list", "resource": "pods"}, False),
        (rule("*", "pods"), {"verb": "delete", "resource": "pods"}, True),
        (rule("get", "pods"), {"verb": "get", "resource": "pods", "group": "apps"}, False),
        (rule("get", "*", "*"), {"verb": "get", "resource": "pods", "group": "apps"}, True),
        # Rules say subresources apart, and 'pods/*' means nothing to RBAC.
        (rule("get", "pods"), {"verb": "get", "resource": "pods/exec"}, False),
        (rule("get", "pods/*"), {"verb": "get", "resource": "pods/exec"}, False),
        (rule("get", "*/exec"), {"verb": "get", "resource": "pods/exec"}, True),
        (rule("get", "*"), {"verb": "get", "resource": "pods/exec"}, True),
        (rule("get", "pods", names="a b"), {"verb": "get", "resource": "pods", "name": "a"}, True),
        (rule("get", "pods", names="a"), {"verb": "get", "resource": "pods", "name": "c"}, False),
        # Nobody tells the authorizer a name when an object is made or many are deleted.
        (
            rule("create", "pods", names="a"),
            {"verb": "create", "resource": "pods", "name": "a"},
            False,
        ),
        (
            rule("deletecollection", "pods", names="a"),
            {"verb": "deletecollection", "resource": "pods", "name": "a"},
            False,
        ),
        (
            rule("create", "pods/exec", names="a"),
            {"verb": "create", "resource": "pods/exec", "name": "a"},
            True,
        ),
    ],
)
def test_a_rule_covers_a_request_as_in_the_api_server(given, act, yes):
    rbac = read_rbac([role("r", given)], [binding("b", "ClusterRole r", DEVELOPERS)])
    assert bool(allowed(rbac, **act)) is yes


def test_a_role_binding_counts_in_its_namespace_alone():
    roles = [role("r", rule("get", "pods")), role("r", rule("delete", "pods"), namespace="web")]
    rbac = read_rbac(roles, [binding("b", "ClusterRole r", DEVELOPERS, namespace="web")])
    assert allowed(rbac, verb="get", resource="pods", namespace="web") == {DEVELOPERS}
    assert not allowed(rbac, verb="get", resource="pods", namespace="other")
    assert not allowed(rbac, verb="get", resource="pods")
    assert not allowed(rbac, verb="delete", resource="pods", namespace="web")
    assert rbac.grants[0].binding == "RoleBinding web/b"
    own = read_rbac(roles, [binding("b", "Role r", DEVELOPERS, namespace="web")])
    assert allowed(own, verb="delete", resource="pods", namespace="web") == {DEVELOPERS}
    assert own.grants[0].role == "Role web/r"


def test_a_binding_to_a_role_that_is_not_there_gives_nothing():
    rbac = read_rbac([], [binding("b", "ClusterRole r", DEVELOPERS)])
    assert not allowed(rbac, verb="get", resource="pods")


def test_an_aggregated_role_has_the_rules_that_the_server_put_together():
    aggregated = {
        **role("a", rule("patch", "namespaces")),
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]},
    }
    rbac = read_rbac([aggregated], [binding("b", "ClusterRole a", "User jane")])
    assert allowed(rbac, verb="patch", resource="namespaces") == {"User jane"}


@pytest.mark.parametrize(
    "text", ["User jane@example.com", "Group system:masters", "ServiceAccount web/default"]
)
def test_a_subject_is_read_as_it_is_written(text):
    assert str(Subject.parse(text)) == text


def test_a_service_account_is_the_same_whoever_names_it():
    account = Subject.parse("User system:serviceaccount:web:robot")
    assert account == Subject("ServiceAccount", "robot", "web")
    assert Subject("Group", "system:serviceaccounts:web") in account.groups
    item = binding("b", "ClusterRole r", "ServiceAccount web/robot", namespace="web")
    item["subjects"][0]["namespace"] = ""
    assert read_rbac([], [item]).grants[0].subject == account


def test_only_kubernetes_own_bindings_are_defaults():
    name = "system:controller:generic-garbage-collector"
    account = "ServiceAccount kube-system/generic-garbage-collector"
    everything = rule("*", "*", "*")
    roles = [role(name, everything), role("cluster-admin", everything)]

    def default(*arguments: str) -> bool:
        (grant,) = read_rbac(roles, [binding(*arguments)]).grants
        return is_default(grant)

    assert default(name, f"ClusterRole {name}", account)
    assert not default("other", f"ClusterRole {name}", account)
    assert not default(name, "ClusterRole cluster-admin", account)
    assert not default(name, f"ClusterRole {name}", "ServiceAccount web/generic-garbage-collector")
    made_up = "system:controller:robot"
    assert not default(made_up, f"ClusterRole {made_up}", "ServiceAccount kube-system/robot")
    manager = "system:kube-controller-manager"
    assert default(manager, f"ClusterRole {manager}", f"User {manager}")
    assert not default("b", "ClusterRole cluster-admin", f"User {manager}")
    assert default("whatever", "ClusterRole cluster-admin", str(MASTERS))
