"""Admission: real engines with rules that hold, and with exactly one thing broken in them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    LAB,
    ROOT,
    VIOLATED,
    Cluster,
    SuiteRun,
    run_suite,
    zt_lab,
)

pytestmark = pytest.mark.live

VARIANTS = ROOT / "ci" / "lab" / "manifests" / "variants"
CONSTRAINT = "k8srestrictedcontainers.constraints.gatekeeper.sh/restricted-containers"
WEBHOOK = "gatekeeper-validating-webhook-configuration"
RULES = "ZT-ADM-001 or ZT-ADM-002 or ZT-ADM-003"
PRIVILEGED = "ZT-ADM-001-privileged-in-containers-production"


def until_violated(folder: Path, name: str, *arguments: str) -> None:
    """Wait until the change of a rule is in force: until this check is violated."""
    deadline = time.monotonic() + 60
    number = 0
    while run_suite(folder / str(number), "-k", name, *arguments).verdicts.get(name) != VIOLATED:
        number += 1
        assert time.monotonic() < deadline, f"{name} is never violated"


def of_rules(run: SuiteRun, verdict: str) -> set[str]:
    return {name for name, seen in run.verdicts.items() if seen == verdict}


def intent_for(folder: Path, engine: str) -> str:
    file = folder / f"{engine}.yaml"
    text = (ROOT / "zerotrust.yaml").read_text("utf-8")
    file.write_text(text.replace("engine: gatekeeper", f"engine: {engine}"))
    return f"--zt-intent={file}"


def test_a_rule_that_skips_updates_lets_ephemeral_containers_in(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    lab.kubectl("replace", "-f", str(VARIANTS / "gatekeeper-skips-updates.yaml"))
    name = "ZT-ADM-001-privileged-in-ephemeralContainers-production"
    until_violated(tmp_path / "wait", name)
    run = run_suite(tmp_path / "run", "-k", RULES)
    assert run.status == 1, run.output
    by_update = {n for n in run.verdicts if "ephemeralContainers" in n or "image-changed" in n}
    assert of_rules(run, VIOLATED) == by_update
    assert of_rules(run, HOLDS) == set(run.verdicts) - by_update
    assert "is_update" in str(run.results[name]["remedy"])
    assert lab.left_behind() == []
    for pod in lab.items("pods", "-A"):
        assert "ephemeralContainers" not in pod["spec"]


def test_a_constraint_that_only_warns_does_not_hold_and_is_named(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    change = json.dumps({"spec": {"enforcementAction": "warn"}})
    lab.kubectl("patch", CONSTRAINT, "--type=merge", "-p", change)
    until_violated(tmp_path / "wait", PRIVILEGED)
    run = run_suite(tmp_path / "run", "-k", RULES)
    assert of_rules(run, VIOLATED) == set(run.verdicts)
    assert "gatekeeper [restricted-containers]" in str(run.results[PRIVILEGED]["headline"])


SENTENCE = """
DEPLOYMENT = {
    "kind": "Deployment",
    "metadata": {"namespace": "production", "name": "app"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "app"}},
        "template": {"metadata": {"labels": {"app": "app"}}, "spec": {
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
            "name": "app",
            "image": "registry.company.com/app:1",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "privileged": True,
                "capabilities": {"drop": ["ALL"]}},
        }]}},
    },
}
PRIVILEGED = "spec.template.spec.containers[0].securityContext.privileged"


def test_privileged_deployments(zt_admission):
    zt_admission.rejects(DEPLOYMENT, because=PRIVILEGED, instead=False)
"""


def test_a_deployment_is_judged_by_its_pods(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    (tmp_path / "test_own.py").write_text(SENTENCE)
    words = (str(tmp_path), "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT))
    run = run_suite(tmp_path / "holds", *words)
    assert run.status == 0, run.output
    (result,) = run.results.values()
    assert "the template was admitted, and its pod is rejected by gatekeeper" in str(
        result["headline"]
    )
    change = json.dumps({"spec": {"enforcementAction": "warn"}})
    lab.kubectl("patch", CONSTRAINT, "--type=merge", "-p", change)
    until_violated(tmp_path / "wait", PRIVILEGED)
    broken = run_suite(tmp_path / "broken", *words)
    assert broken.status == 1, broken.output
    assert set(broken.verdicts.values()) == {VIOLATED}


def test_a_webhook_that_fails_open_or_sees_less_is_violated_alone(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    path = "/webhooks/0"
    changes = [
        {"op": "replace", "path": f"{path}/failurePolicy", "value": "Ignore"},
        {"op": "replace", "path": f"{path}/rules/0/operations", "value": ["CREATE"]},
    ]
    config = ("validatingwebhookconfiguration", WEBHOOK)
    lab.kubectl("patch", *config, "--type=json", "-p", json.dumps(changes))
    name = "ZT-ADM-005-fails-closed-production"
    until_violated(tmp_path / "wait", name)
    run = run_suite(tmp_path / "run", "-k", f"ZT-ADM-005 or {PRIVILEGED}")
    assert run.verdicts[PRIVILEGED] == HOLDS
    assert set(run.of("ZT-ADM-005").values()) == {VIOLATED}
    for words in ("failurePolicy is Ignore", "UPDATE of pods/ephemeralcontainers"):
        assert words in str(run.results[name]["headline"])


ESCAPES = {
    "match condition debug reads object.metadata.labels": {
        "op": "add",
        "path": "/webhooks/0/matchConditions",
        "value": [
            {"name": "debug", "expression": "!('debug' in object.metadata.?labels.orValue({}))"}
        ],
    },
    "objectSelector lets whoever makes a pod": {
        "op": "replace",
        "path": "/webhooks/0/objectSelector",
        "value": {"matchExpressions": [{"key": "debug", "operator": "DoesNotExist"}]},
    },
    "a namespace without label istio-injection": {
        "op": "add",
        "path": "/webhooks/0/namespaceSelector/matchExpressions/-",
        "value": {"key": "istio-injection", "operator": "Exists"},
    },
    # Nobody guards Gatekeeper's own label any more.
    "a namespace label admission.gatekeeper.sh/ignore": {"op": "remove", "path": "/webhooks/1"},
    "while it is down the label may be changed": {
        "op": "replace",
        "path": "/webhooks/1/failurePolicy",
        "value": "Ignore",
    },
}


def until_looked_away(folder: Path, name: str, *arguments: str) -> SuiteRun:
    """Wait until the change of a registration is in force: until this check is violated.

    What the webhook or policy is asked about is still rejected by it.
    """
    deadline = time.monotonic() + 60
    number = 0
    while True:
        which = f"ZT-ADM-005 or {PRIVILEGED}"
        run = run_suite(folder / str(number), "-k", which, *arguments)
        # A policy that was just made may not be in force yet for the first of them.
        if run.verdicts.get(name) == VIOLATED and run.verdicts[PRIVILEGED] == HOLDS:
            break
        number += 1
        assert time.monotonic() < deadline, run.output
    assert set(run.of("ZT-ADM-005").values()) == {VIOLATED}
    return run


def test_a_webhook_that_can_be_told_to_look_away_is_violated_alone(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    config = ("validatingwebhookconfiguration", WEBHOOK)
    whole = json.loads(lab.kubectl("get", *config, "-o", "json"))
    for field in ("resourceVersion", "uid", "generation", "creationTimestamp"):
        whole["metadata"].pop(field, None)
    name = "ZT-ADM-005-fails-closed-production"
    for number, (words, change) in enumerate(ESCAPES.items()):
        lab.kubectl("replace", "-f", "-", stdin=json.dumps(whole))
        lab.kubectl("patch", *config, "--type=json", "-p", json.dumps([change]))
        run = until_looked_away(tmp_path / str(number), name)
        assert words in str(run.results[name]["headline"])
    for namespace in lab.items("namespaces"):
        if namespace["metadata"]["name"] in ("production", "staging"):
            assert "admission.gatekeeper.sh/ignore" not in namespace["metadata"]["labels"]


def test_a_validating_admission_policy_holds_alone_and_not_when_it_only_warns(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    intent = intent_for(tmp_path, "validating-admission-policy")
    try:
        lab.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK)
        until_violated(tmp_path / "gone", PRIVILEGED)
        lab.kubectl("apply", "-f", str(VARIANTS / "validating-admission-policy.yaml"))
        time_left = time.monotonic() + 60
        while (run := run_suite(tmp_path / "on", "-k", "ZT-ADM", intent)).status != 0:
            assert time.monotonic() < time_left, run.output
        assert set(run.verdicts.values()) == {HOLDS}
        binding = ("validatingadmissionpolicybinding", "restricted-containers")
        change = json.dumps({"spec": {"validationActions": ["Warn"]}})
        lab.kubectl("patch", *binding, "--type=merge", "-p", change)
        until_violated(tmp_path / "wait", PRIVILEGED, intent)
        run = run_suite(tmp_path / "run", "-k", PRIVILEGED, intent)
        words = "validating-admission-policy [restricted-containers, restricted-containers]"
        assert words in str(run.results[PRIVILEGED]["headline"])
    finally:
        scenario("hardened")


PARAMETERS = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Allow"}
PARAMETER_KIND = {"apiVersion": "v1", "kind": "ConfigMap"}
SELECTOR = {"matchExpressions": [{"key": "debug", "operator": "DoesNotExist"}]}
POLICY, BINDING = "validatingadmissionpolicy", "validatingadmissionpolicybinding"
POLICY_ESCAPES: dict[str, list[tuple[str, dict[str, object]]]] = {
    "binding restricted-containers: its objectSelector": [
        (BINDING, {"matchResources": {"objectSelector": SELECTOR}})
    ],
    "parameterNotFoundAction is Allow": [
        (POLICY, {"paramKind": PARAMETER_KIND}),
        (BINDING, {"paramRef": PARAMETERS}),
    ],
    "match condition debug reads object.metadata.name": [
        (
            POLICY,
            {"matchConditions": [{"name": "debug", "expression": "object.metadata.name != 'x'"}]},
        )
    ],
}


@pytest.mark.deep
def test_a_policy_that_can_be_told_to_look_away_is_violated_alone(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    intent = intent_for(tmp_path, "validating-admission-policy")
    variant = str(VARIANTS / "validating-admission-policy.yaml")
    name = "ZT-ADM-005-fails-closed-production"
    try:
        lab.kubectl("delete", "validatingwebhookconfiguration", WEBHOOK)
        # So that the policy is in force with its parameters, too.
        lab.kubectl("create", "configmap", "limits", "-n", "default", check=False)
        for number, (words, changes) in enumerate(POLICY_ESCAPES.items()):
            lab.kubectl("delete", "-f", variant, "--ignore-not-found")
            lab.kubectl("apply", "-f", variant)
            for kind, change in changes:
                patch = json.dumps({"spec": change})
                lab.kubectl("patch", kind, "restricted-containers", "--type=merge", "-p", patch)
            run = until_looked_away(tmp_path / str(number), name, intent)
            assert words in str(run.results[name]["headline"])
    finally:
        lab.kubectl("delete", "configmap", "limits", "-n", "default", "--ignore-not-found")
        lab.kubectl("delete", "-f", variant, "--ignore-not-found")
        scenario("hardened")


def test_opa_holds_alone(scenario, lab: Cluster, tmp_path: Path):
    try:
        zt_lab("scenario", "hardened", "--engine", "opa", "--name", LAB)
        run = run_suite(tmp_path / "run", "-k", "ZT-ADM", intent_for(tmp_path, "opa"))
        assert run.status == 0, run.output
        assert set(run.verdicts.values()) == {HOLDS}
        masked = run_suite(tmp_path / "other", "-k", PRIVILEGED)
        assert masked.results[PRIVILEGED]["reason"] == "masked"
    finally:
        scenario("hardened")


USER = "zerotrust-lab-namespace-admin"
AS_USER = f"ZT-ADM-001-privileged-in-containers-as-{USER}-production"


def with_identity(folder: Path) -> str:
    file = folder / "identities.yaml"
    text = (ROOT / "zerotrust.yaml").read_text("utf-8")
    engine = "engine: gatekeeper"
    file.write_text(text.replace(engine, f"{engine}\n  identities: [{USER}]"))
    return f"--zt-intent={file}"


def grant(lab: Cluster, namespace: str) -> None:
    """Make the user an administrator of a namespace, as RoleBindings usually do."""
    binding = ("rolebinding", USER, "-n", namespace)
    lab.kubectl("create", *binding, "--clusterrole=admin", f"--user={USER}", check=False)


@pytest.mark.deep
def test_a_rule_that_spares_one_user_is_violated_for_that_user_alone(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    intent = with_identity(tmp_path)
    checks = f"ZT-ADM-001 and (as-{USER} or privileged-in-containers)"
    try:
        refused = run_suite(tmp_path / "none", "-k", AS_USER, intent)
        assert refused.results[AS_USER]["reason"] == "compliant-twin-rejected"
        assert "RBAC" in str(refused.results[AS_USER]["headline"])
        for namespace in ("production", "staging"):
            grant(lab, namespace)
        run = run_suite(tmp_path / "holds", "-k", checks, intent)
        assert run.verdicts[AS_USER] == HOLDS, run.output
        assert set(run.verdicts.values()) == {HOLDS}
        spared = {"name": "spared", "expression": f"request.userInfo.username != '{USER}'"}
        change = [{"op": "add", "path": "/webhooks/0/matchConditions", "value": [spared]}]
        config = ("validatingwebhookconfiguration", WEBHOOK)
        lab.kubectl("patch", *config, "--type=json", "-p", json.dumps(change))
        until_violated(tmp_path / "wait", AS_USER, intent)
        run = run_suite(tmp_path / "run", "-k", checks, intent)
        theirs = {name for name in run.verdicts if USER in name}
        assert of_rules(run, VIOLATED) == theirs
        assert of_rules(run, HOLDS) == set(run.verdicts) - theirs
        assert f"as {USER}" in str(run.results[AS_USER]["headline"])
        assert f"--as {USER}" in str(run.results[AS_USER]["reproduce"])
    finally:
        for namespace in ("production", "staging"):
            lab.kubectl("delete", "rolebinding", USER, "-n", namespace, "--ignore-not-found")
        scenario("hardened")


OLD_RULES = (
    ROOT / "ci" / "lab" / "manifests" / "scenarios" / "reference" / "opa" / "restricted.rego"
)
# As tutorials write it: no reason to refuse is a reason to admit, even if there are no rules.
TRUSTING = """
package system

import rego.v1

main := {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

default reason := ""

reason := concat(", ", data.kubernetes.admission.deny)

response := {"uid": input.request.uid, "allowed": false, "status": {"message": reason}} if {
  reason != ""
} else := {"uid": input.request.uid, "allowed": true}
"""


def serve(lab: Cluster, name: str, files: dict[str, str], *arguments: str) -> None:
    """Let OPA serve these files, with its old pod gone first: it would go on answering."""
    config = {"kind": "ConfigMap", "apiVersion": "v1", "data": files}
    config["metadata"] = {"name": name, "namespace": "opa"}  # type: ignore[assignment]
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(config))
    (deployment,) = (d for d in lab.items("deployments", "-n", "opa"))
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    flags = [a for a in container["args"] if not a.startswith("/policy/")]
    patch = [
        {"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}},
        {"op": "replace", "path": "/spec/template/spec/containers/0/args",
         "value": [*flags, *arguments]},
        {"op": "replace", "path": "/spec/template/spec/volumes/1/configMap/name", "value": name},
    ]  # fmt: skip
    lab.kubectl("patch", "deployment", "opa", "-n", "opa", "--type=json", "-p", json.dumps(patch))


@pytest.mark.deep
def test_rules_in_the_old_syntax_are_no_rules_for_opa_1(scenario, lab: Cluster, tmp_path: Path):
    intent = intent_for(tmp_path, "opa")
    broken = {"main.rego": TRUSTING, "restricted.rego": OLD_RULES.read_text("utf-8")}
    try:
        zt_lab("scenario", "hardened", "--engine", "opa", "--name", LAB)
        # Started with them, it does not start: who fails closed admits nobody.
        serve(lab, "old", broken, "/policy/main.rego", "/policy/restricted.rego")
        deadline = time.monotonic() + 90
        number = 0
        while True:
            run = run_suite(tmp_path / f"down-{number}", "-k", PRIVILEGED, intent)
            if run.verdicts[PRIVILEGED] == INCONCLUSIVE:
                break
            number += 1
            assert time.monotonic() < deadline, run.output
        headline = str(run.results[PRIVILEGED]["headline"])
        assert "webhook unavailable by webhook validating-webhook.openpolicyagent.org" in headline
        assert "OPA 1.x does not start" in headline
        # Given them later, as kube-mgmt does, it refuses them and answers without them.
        serve(lab, "trusting", {"main.rego": TRUSTING}, "/policy/main.rego")
        lab.kubectl("rollout", "status", "deployment/opa", "-n", "opa", "--timeout=90s")
        until_violated(tmp_path / "wait", PRIVILEGED, intent)
        run = run_suite(tmp_path / "run", "-k", RULES, intent)
        assert of_rules(run, VIOLATED) == set(run.verdicts)
    finally:
        lab.kubectl("delete", "deployment", "opa", "-n", "opa", "--ignore-not-found")
        lab.kubectl("delete", "configmap", "old", "trusting", "-n", "opa", "--ignore-not-found")
        scenario("hardened")
