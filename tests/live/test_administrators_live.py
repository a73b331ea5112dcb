"""Who may switch off what rejects pods: each way is found and named, and none is seen elsewhere."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_zerotrust.core.rbac import Act, Subject, read_rbac
from pytest_zerotrust.core.rbac_defaults import MASTERS
from tests.live.support import HOLDS, ROOT, VIOLATED, Cluster, run_suite

pytestmark = pytest.mark.live

WHO = "zerotrust-lab-developers"
RBAC = "rbac.authorization.k8s.io"
REGISTRATION, HOOKS = "admissionregistration.k8s.io", "validatingwebhookconfigurations"
WEBHOOK = "gatekeeper-validating-webhook-configuration"
CHECKS = {
    namespace: f"ZT-ADM-006-administrators-{namespace}"
    for namespace in ("production", "staging", "legacy")
}
Rule = Mapping[str, list[str]]


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> dict[str, list[str]]:
    made = {"verbs": verbs.split(), "resources": resources.split(), "apiGroups": [group]}
    return made | ({"resourceNames": names.split()} if names else {})


class Grants:
    """Gives rights to a group of developers, and takes them away again."""

    def __init__(self, lab: Cluster) -> None:
        self._lab = lab

    def give(self, *rules: Rule, namespace: str = "", labels: Mapping[str, str] | None = None):
        """A role of these rules, bound to the group; with ``labels`` it is not bound, but part of
        those that are aggregated by the labels."""
        kind = "Role" if namespace else "ClusterRole"
        meta: dict[str, Any] = {"name": WHO, "namespace": namespace} if namespace else {"name": WHO}
        role = {"apiVersion": f"{RBAC}/v1", "kind": kind, "rules": list(rules)}
        self._apply({**role, "metadata": {**meta, "labels": dict(labels or {})}})
        if not labels:
            self.bind(kind, WHO, namespace)

    def bind(self, kind: str, name: str, namespace: str = "") -> None:
        """Bind a role to the group, everywhere or in a namespace."""
        meta = {"name": WHO, "namespace": namespace} if namespace else {"name": WHO}
        self._apply(
            {
                "apiVersion": f"{RBAC}/v1",
                "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
                "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": WHO}],
            }
        )

    def take(self) -> None:
        """Take everything away again."""
        flags = ("--ignore-not-found",)
        self._lab.kubectl("delete", "clusterrolebinding,clusterrole", WHO, *flags, check=False)
        for namespace in ("gatekeeper-system", "legacy"):
            names = ("rolebinding,role", WHO, "-n", namespace)
            self._lab.kubectl("delete", *names, *flags, check=False)

    def _apply(self, item: Mapping[str, Any]) -> None:
        self._lab.kubectl("apply", "-f", "-", stdin=json.dumps(item))


@pytest.fixture
def grants(lab: Cluster) -> Iterator[Grants]:
    made = Grants(lab)
    made.take()
    yield made
    made.take()


def test_developers_who_may_edit_the_webhook_are_named_and_nobody_without_them(
    scenario, grants: Grants, tmp_path: Path
):
    scenario("hardened")
    before = run_suite(tmp_path / "before", "-k", "ZT-ADM-006")
    assert before.status == 0, before.output
    assert before.verdicts == dict.fromkeys(CHECKS.values(), HOLDS)
    grants.give(rule("get update patch", HOOKS, REGISTRATION))
    run = run_suite(tmp_path / "given", "-k", "ZT-ADM-006")
    assert run.status == 1, run.output
    for namespace in ("production", "staging"):
        result = run.results[CHECKS[namespace]]
        assert result["verdict"] == VIOLATED
        assert (
            f"Group {WHO} may update/patch ValidatingWebhookConfiguration {WEBHOOK}, "
            f"by ClusterRoleBinding {WHO} to ClusterRole {WHO}"
        ) in str(result["headline"])
        assert list(result["evidence"]["subjects"]) == [f"Group {WHO}"]
    # Pod Security rejects in legacy, and no webhook has a part in it.
    assert run.verdicts[CHECKS["legacy"]] == HOLDS
    grants.take()
    after = run_suite(tmp_path / "after", "-k", "ZT-ADM-006")
    assert after.verdicts == dict.fromkeys(CHECKS.values(), HOLDS)


@pytest.mark.deep
def test_whoever_is_listed_may(scenario, grants: Grants, tmp_path: Path):
    scenario("hardened")
    grants.give(rule("*", "*", "*"))
    file = tmp_path / "listed.yaml"
    text = (ROOT / "zerotrust.yaml").read_text("utf-8")
    assert "  administrators:\n" in text
    file.write_text(text.replace("  administrators:\n", f"  administrators:\n    - Group {WHO}\n"))
    run = run_suite(tmp_path / "run", "-k", "ZT-ADM-006", f"--zt-intent={file}")
    assert run.verdicts == dict.fromkeys(CHECKS.values(), HOLDS)


EVERYWHERE = (*CHECKS,)
BY_GATEKEEPER = ("production", "staging")
# What Gatekeeper's own account may is more than its rules: whoever runs as it gets into every pod.
# Words of the headline, rules, where the role is bound, and whose checks it violates.
TWINS: dict[str, tuple[list[Rule], str, tuple[str, ...]]] = {
    "may delete K8sRestrictedContainers restricted-containers": (
        [rule("delete", "*", "constraints.gatekeeper.sh", "restricted-containers")],
        "",
        BY_GATEKEEPER,
    ),
    "may patch ConstraintTemplate k8srestrictedcontainers": (
        [rule("patch", "constrainttemplates", "templates.gatekeeper.sh")],
        "",
        BY_GATEKEEPER,
    ),
    "may create Config gatekeeper-system/config": (
        [rule("create", "configs", "config.gatekeeper.sh")],
        "gatekeeper-system",
        BY_GATEKEEPER,
    ),
    "may patch deployments in namespace gatekeeper-system": (
        [rule("patch", "deployments", "apps")],
        "gatekeeper-system",
        EVERYWHERE,
    ),
    "may update/patch namespaces legacy, so that it is a namespace label pod-security": (
        [rule("update patch", "namespaces", names="legacy")],
        "",
        ("legacy",),
    ),
    "may patch namespaces/status legacy": (
        [rule("patch", "namespaces/status")],
        "legacy",
        ("legacy",),
    ),
    "may impersonate Group system:masters": (
        [rule("impersonate", "users groups")],
        "",
        EVERYWHERE,
    ),
    "may bind ClusterRole cluster-admin to anybody": (
        [
            rule("bind", "clusterroles", RBAC, "cluster-admin"),
            rule("create", "clusterrolebindings", RBAC),
        ],
        "",
        EVERYWHERE,
    ),
    "may write clusterroles beyond its own rights (escalate)": (
        [rule("escalate update", "clusterroles", RBAC)],
        "",
        EVERYWHERE,
    ),
    "may create pods in namespace gatekeeper-system": (
        [rule("create", "pods")],
        "gatekeeper-system",
        EVERYWHERE,
    ),
    "may get nodes/proxy": ([rule("get", "nodes/proxy")], "", EVERYWHERE),
}


@pytest.mark.deep
def test_each_way_to_switch_it_off_is_violated_and_named(scenario, grants: Grants, tmp_path: Path):
    scenario("hardened")
    for number, (words, (rules, namespace, where)) in enumerate(TWINS.items()):
        grants.take()
        grants.give(*rules, namespace=namespace)
        run = run_suite(tmp_path / str(number), "-k", "ZT-ADM-006")
        expected = {name: VIOLATED if n in where else HOLDS for n, name in CHECKS.items()}
        assert run.verdicts == expected, f"{words}: {run.output}"
        for each in where:
            headline = str(run.results[CHECKS[each]]["headline"])
            assert f"Group {WHO} {words}" in headline, headline


@pytest.mark.deep
def test_what_is_aggregated_into_a_role_is_found_in_it(
    scenario, lab: Cluster, grants: Grants, tmp_path: Path
):
    scenario("hardened")
    edit = rule("patch", HOOKS, REGISTRATION)
    grants.bind("ClusterRole", "view")
    assert run_suite(tmp_path / "view", "-k", "ZT-ADM-006").status == 0
    grants.give(edit, labels={f"{RBAC}/aggregate-to-view": "true"})
    deadline = time.monotonic() + 30
    while HOOKS not in lab.kubectl("get", "clusterrole", "view", "-o", "yaml"):
        assert time.monotonic() < deadline
    run = run_suite(tmp_path / "more", "-k", "ZT-ADM-006")
    headline = str(run.results[CHECKS["production"]]["headline"])
    assert f"by ClusterRoleBinding {WHO} to ClusterRole view" in headline


def test_without_the_key_they_are_told_and_not_judged(scenario, grants: Grants, tmp_path: Path):
    scenario("hardened")
    grants.give(rule("patch", "*", "templates.gatekeeper.sh"))
    intent = yaml.safe_load((ROOT / "zerotrust.yaml").read_text("utf-8"))
    del intent["admission"]["administrators"]
    file = tmp_path / "none.yaml"
    file.write_text(yaml.safe_dump(intent))
    which = "ZT-ADM-005 or ZT-ADM-006"
    run = run_suite(tmp_path / "run", "-k", which, f"--zt-intent={file}")
    assert run.status == 0, run.output
    told = run.results["ZT-ADM-005-fails-closed-production"]["observed"]
    assert any(
        f"not judged without 'admission.administrators': Group {WHO} may patch" in line
        for line in told
    )


@pytest.mark.deep
def test_labels_of_a_namespace_can_be_changed_over_its_subresources(
    scenario, lab: Cluster, grants: Grants
):
    scenario("hardened")
    label = {"pod-security.kubernetes.io/enforce": "privileged"}
    whole = json.loads(lab.kubectl("get", "namespace", "legacy", "-o", "json"))
    whole["metadata"]["labels"] |= label
    who = ("--as=somebody", f"--as-group={WHO}", "--as-group=system:authenticated")
    for resource, command in {
        "namespaces/status": (
            "patch", "namespace", "legacy", "--subresource=status", "--dry-run=server",
            "--type=merge", "-p", json.dumps({"metadata": {"labels": label}}), "-o", "json",
        ),
        "namespaces/finalize": (
            "replace", "--raw", "/api/v1/namespaces/legacy/finalize?dryRun=All", "-f", "-"
        ),
    }.items():  # fmt: skip
        grants.take()
        grants.give(rule("get", "namespaces"), rule("get patch update", resource))
        answer = json.loads(lab.kubectl(*command, *who, stdin=json.dumps(whole)))
        assert answer["metadata"]["labels"] | label == answer["metadata"]["labels"]


ACTS = [
    Act(verb=verb, group=group, resource=resource, name=name, namespace=namespace)
    for (group, resource, namespace), verb, name in itertools.product(
        [
            (REGISTRATION, HOOKS, ""),
            ("", "namespaces", "legacy"),
            ("", "pods", "kube-system"),
            ("", "pods/exec", "gatekeeper-system"),
            ("", "secrets", "gatekeeper-system"),
            ("", "serviceaccounts/token", "kube-system"),
            ("apps", "deployments", "gatekeeper-system"),
            ("config.gatekeeper.sh", "configs", "gatekeeper-system"),
            (RBAC, "clusterroles", ""),
        ],
        ("get", "create", "patch", "deletecollection", "escalate"),
        ("", WEBHOOK, "legacy"),
    )
    if not (verb == "create" and "/" not in resource and name)
    and not (verb == "deletecollection" and name)
]


def review(subject: Subject, act: Act) -> dict[str, Any]:
    resource, _, subresource = act.resource.partition("/")
    attributes = {
        "verb": act.verb,
        "group": act.group,
        "resource": resource,
        "subresource": subresource,
        "name": act.name,
        "namespace": act.namespace,
    }
    groups = [group.name for group in subject.groups]
    user = subject.name
    if subject.kind == "ServiceAccount":
        user = f"system:serviceaccount:{subject.namespace}:{subject.name}"
    elif subject.kind == "Group":
        user, groups = "nobody-else", [subject.name]
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
    }


def test_rbac_is_read_as_the_api_server_reads_it(scenario, lab: Cluster):
    scenario("hardened")
    rbac = read_rbac(
        [*lab.items("clusterroles"), *lab.items("roles", "-A")],
        [*lab.items("clusterrolebindings"), *lab.items("rolebindings", "-A")],
    )
    subjects = sorted({grant.subject for grant in rbac.grants} - {MASTERS})
    # The node authorizer answers for nodes, whatever RBAC says.
    asked = [s for s in subjects if s.name != "system:nodes"]
    pairs = list(itertools.product(asked, ACTS))[::7]
    documents = "\n---\n".join(json.dumps(review(*pair)) for pair in pairs)
    allowed = "jsonpath={.status.allowed}{' '}"
    printed = lab.kubectl("create", "-f", "-", "-o", allowed, stdin=documents)
    said = [word == "true" for word in printed.split()]
    ours = [
        any(
            grant.allows(act)
            for grant in rbac.grants
            if grant.subject == subject or grant.subject in subject.groups
        )
        for subject, act in pairs
    ]
    assert len(said) == len(pairs)
    assert [str(pair) for pair, a, b in zip(pairs, said, ours, strict=True) if a != b] == []
    assert any(said)
    assert not all(said)
