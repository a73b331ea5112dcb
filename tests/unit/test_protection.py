"""Whether only the declared administrators may switch off what rejects pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_zerotrust.admission.protection import AdministratorsCheck, report, verify
from pytest_zerotrust.checks import checks_of
from pytest_zerotrust.cluster.api import Response
from pytest_zerotrust.core.rbac import Rbac, read_rbac
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.intent.load import intent_from_text
from tests.unit.test_rbac import binding, role, rule

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
CHECK = AdministratorsCheck(namespace="web")
REGISTRATION = "admissionregistration.k8s.io"
HOOKS = "validatingwebhookconfigurations"
ADMINS = ("Group admins",)
GATEKEEPER = "validation.gatekeeper.sh"
OPA = "validating-webhook.openpolicyagent.org"
IGNORE = "admission.gatekeeper.sh/ignore"
BY_POLICY = "namespaces \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied"
NO_RIGHT = 'namespaces "web" is forbidden: User "me" cannot patch resource "namespaces"'
KINDS = {"resources": [{"name": "as", "kind": "A"}, {"name": "as/status", "kind": "A"}]}


def entry(name: str, namespace: str = "engine", **more: Any) -> dict[str, Any]:
    service = {"namespace": namespace, "name": "served"}
    return {"name": name, "clientConfig": {"service": service}, **more}


class Fake:
    """An API server with objects by path; a change of a namespace's labels gets ``answer``."""

    def __init__(self, answer: tuple[int, str] = (200, ""), **paths: Any) -> None:
        self.answer = answer
        self.paths: dict[str, Any] = {
            "/apis/constraints.gatekeeper.sh": {
                "preferredVersion": {"groupVersion": "constraints.gatekeeper.sh/v1"}
            },
            "/apis/constraints.gatekeeper.sh/v1": KINDS,
            "/apis/constraints.gatekeeper.sh/v1/as/c": {"spec": {}},
            **{f"/apis/{REGISTRATION}/v1/{path}": body for path, body in paths.items()},
        }

    def request(self, method: str, path: str, **more: Any) -> Response:
        if method == "PATCH":
            labels: Mapping[str, Any] = more["body"]["metadata"]["labels"]
            neutral = "zerotrust.dev/dry-run" in labels and "cannot" not in self.answer[1]
            status, message = (200, "") if neutral else self.answer
            return Response(status=status, body={"message": message})
        found = self.paths.get(path)
        missing = Response(status=403, body={"message": "not for you"})
        return missing if found is None else Response(status=200, body=found)


def hooks(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {HOOKS: {"items": [{"metadata": {"name": "gate"}, "webhooks": list(entries)}]}}


def rejected(by: str, *policies: str, webhook: str = "", reason: str = "") -> Result:
    return Result(
        control="ZT-ADM-001",
        subject="privileged",
        verdict=INCONCLUSIVE if reason else HOLDS,
        reason=reason,
        headline="",
        evidence={"answered_by": by, "policies": list(policies), "webhook": webhook},
    )


BY_GATEKEEPER = rejected("gatekeeper", "c", webhook=GATEKEEPER)
BY_OPA = rejected("opa", webhook=OPA)
BY_SECURITY = rejected("pod-security", "restricted:latest")
EVERYTHING = [
    role("cluster-admin", rule("*", "*", "*")),
    role("hers", rule("patch", HOOKS, REGISTRATION)),
]
MASTERS = binding("cluster-admin", "ClusterRole cluster-admin", "Group system:masters")
OWN = binding("admins", "ClusterRole cluster-admin", "Group admins")


def rbac(*more: dict[str, Any], to: str = "User jane", namespace: str = "") -> Rbac:
    """Administrators as they should be; and one who is given these rules besides."""
    roles = [*EVERYTHING[:1], role("hers", *more, namespace=namespace)]
    kind = "Role" if namespace else "ClusterRole"
    given = [binding("hers", f"{kind} hers", to, namespace=namespace)] if more else []
    return read_rbac(roles, [MASTERS, OWN, *given])


def gatekeeper(given: Rbac, *, named: tuple[str, ...] = ADMINS, **more: Any) -> Result:
    fake = Fake(**hooks(entry(GATEKEEPER, **more)))
    return verify(fake, CHECK, BY_GATEKEEPER, given, named)


def test_it_holds_with_none_but_administrators_and_kubernetes_own():
    result = gatekeeper(rbac())
    assert result.verdict is HOLDS
    assert result.evidence["subjects"].keys() == {"Group admins"}
    assert gatekeeper(rbac(rule("get list", "pods secrets nodes", "*"))).verdict is HOLDS


def test_to_read_all_resources_is_to_run_commands_in_all_pods():
    result = gatekeeper(rbac(rule("get list", "*", "*")))
    assert "User jane may get pods/exec in namespace engine" in result.headline


GATEKEEPERS = {
    "ValidatingWebhookConfiguration gate": rule("patch", HOOKS, REGISTRATION),
    "A c": rule("delete", "as", "constraints.gatekeeper.sh", names="c"),
    "ConstraintTemplate a": rule("patch", "*", "templates.gatekeeper.sh"),
    "CustomResourceDefinition as.constraints.gatekeeper.sh": rule(
        "delete", "customresourcedefinitions", "apiextensions.k8s.io"
    ),
    "Config engine/config, which exempts namespaces": rule(
        "create", "configs", "config.gatekeeper.sh"
    ),
    "Service engine/served": rule("patch", "services"),
    "Namespace engine": rule("delete", "namespaces", names="engine"),
    f"deployments in namespace engine, where webhook {GATEKEEPER} is served": rule(
        "patch", "deployments", "apps", names="manager"
    ),
    "pods/exec in namespace engine": rule("create", "pods/exec"),
}


@pytest.mark.parametrize("what", GATEKEEPERS)
def test_whoever_else_may_is_named_with_binding_role_and_verb(what):
    given = GATEKEEPERS[what]
    result = gatekeeper(rbac(given))
    assert result.verdict is VIOLATED
    assert f"User jane may {given['verbs'][0]} {what}" in result.headline
    assert "ClusterRoleBinding hers to ClusterRole hers" in result.headline
    assert {"ClusterRoleBinding hers", "ClusterRole hers"} == set(result.objects)
    assert "admission.administrators" in result.remedy
    assert gatekeeper(rbac(given), named=(*ADMINS, "User jane")).verdict is HOLDS


@pytest.mark.parametrize(
    "given",
    [
        rule("patch", HOOKS, REGISTRATION, names="other"),
        rule("delete", "as", "constraints.gatekeeper.sh", names="other"),
        rule("delete", "bs", "constraints.gatekeeper.sh"),
        rule("patch", "configmaps secrets"),
    ],
)
def test_rights_on_other_objects_are_none(given):
    assert gatekeeper(rbac(given)).verdict is HOLDS


def test_a_group_of_service_accounts_may_be_named():
    given = rbac(rule("patch", HOOKS, REGISTRATION), to="ServiceAccount ops/robot")
    assert gatekeeper(given).verdict is VIOLATED
    group = (*ADMINS, "Group system:serviceaccounts:ops")
    assert gatekeeper(given, named=group).verdict is HOLDS


def test_many_subjects_are_counted_in_the_headline_and_all_are_told():
    names = tuple(f"User u{number}" for number in range(5))
    bindings = [MASTERS, OWN, binding("b", "ClusterRole hers", *names)]
    result = gatekeeper(read_rbac(EVERYTHING, bindings))
    assert "User u0, User u1, User u2 and 2 more may switch off" in result.headline
    assert result.evidence["subjects"].keys() == set(names)
    assert len(result.observed) == 5


def test_very_many_subjects_are_counted_and_all_of_them_are_evidence():
    names = tuple(f"User u{number}" for number in range(30))
    bindings = [MASTERS, OWN, binding("b", "ClusterRole hers", *names)]
    result = gatekeeper(read_rbac(EVERYTHING, bindings))
    assert result.observed[-1] == "and 10 subjects more"
    assert len(result.evidence["subjects"]) == 30


def test_what_cannot_be_read_is_inconclusive_unless_a_violation_was_seen():
    def with_gap(given: Rbac) -> Rbac:
        return Rbac(grants=given.grants, roles=given.roles, gaps=("roles could not be read: 403",))

    result = gatekeeper(with_gap(rbac()))
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "not-readable")
    assert "roles could not be read" in result.headline
    assert gatekeeper(with_gap(rbac(rule("*", "*", "*")))).verdict is VIOLATED
    blind = verify(Fake(), CHECK, BY_GATEKEEPER, rbac(), ADMINS)
    assert (blind.verdict, blind.reason) == (INCONCLUSIVE, "not-readable")
    elsewhere = gatekeeper(rbac(), clientConfig={"url": "https://gate.example.com"})
    assert "served from outside the cluster" in elsewhere.headline
    assert elsewhere.reason == "not-readable"


def test_a_constraint_that_cannot_be_found_is_inconclusive():
    fake = Fake(**hooks(entry(GATEKEEPER)))
    by = rejected("gatekeeper", "other", webhook=GATEKEEPER)
    assert verify(fake, CHECK, by, rbac(), ADMINS).reason == "not-readable"


@pytest.mark.parametrize("by", ["kyverno", "other webhook"])
def test_an_engine_whose_rules_are_kept_nobody_knows_where_never_holds(by):
    fake = Fake(**hooks(entry("w")))
    result = verify(fake, CHECK, rejected(by, webhook="w"), rbac(), ADMINS)
    assert result.reason == "not-readable"
    held = rbac(rule("patch", HOOKS, REGISTRATION))
    assert verify(fake, CHECK, rejected(by, webhook="w"), held, ADMINS).verdict is VIOLATED


def test_nothing_is_concluded_where_nothing_rejects_and_a_masking_engine_will_do():
    nothing = rejected("gatekeeper", "c", webhook=GATEKEEPER, reason="not-a-policy")
    result = verify(Fake(**hooks(entry(GATEKEEPER))), CHECK, nothing, rbac(), ADMINS)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "nothing-enforced")
    masked = rejected("pod-security", "restricted:latest", reason="masked")
    bindings = {"validatingadmissionpolicybindings": {"items": []}}
    assert verify(Fake(**hooks(), **bindings), CHECK, masked, rbac(), ADMINS).verdict is HOLDS


def test_the_rules_of_opa_are_in_the_config_maps_of_its_namespace():
    fake = Fake(**hooks(entry(OPA)))
    assert verify(fake, CHECK, BY_OPA, rbac(), ADMINS).verdict is HOLDS
    given = rbac(rule("patch", "configmaps"), namespace="engine")
    result = verify(fake, CHECK, BY_OPA, given, ADMINS)
    assert "may patch configmaps in namespace engine" in result.headline
    elsewhere = rbac(rule("patch", "configmaps"), namespace="web")
    assert verify(fake, CHECK, BY_OPA, elsewhere, ADMINS).verdict is HOLDS


# -- labels of the namespace

LABELS = [
    rule("patch", "namespaces"),
    rule("update", "namespaces/status"),
    rule("update", "namespaces/finalize"),
]
GUARD = entry(
    "check-ignore-label.gatekeeper.sh",
    rules=[
        {
            "apiGroups": [""],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["namespaces"],
        }
    ],
)


def security(given: Rbac, answer: tuple[int, str] = (200, ""), *entries: Any) -> Result:
    fake = Fake(answer, **hooks(*entries), validatingadmissionpolicybindings={"items": []})
    return verify(fake, CHECK, BY_SECURITY, given, ADMINS)


@pytest.mark.parametrize("given", LABELS)
def test_whoever_may_label_the_namespace_may_lower_its_pod_security(given):
    result = security(rbac(given))
    assert result.verdict is VIOLATED
    assert "a namespace label pod-security.kubernetes.io/enforce" in result.headline
    # A request for a Namespace counts as one in that namespace.
    assert security(rbac(given, namespace="web")).verdict is VIOLATED
    assert security(rbac(given, namespace="other")).verdict is HOLDS


def test_a_label_that_a_policy_guards_or_that_could_not_be_tried_may_be_a_lever():
    given = rbac(LABELS[0])
    guarded = security(given, (422, f"{BY_POLICY} request: no"))
    assert (guarded.verdict, guarded.reason) == (INCONCLUSIVE, "exemption-not-tried")
    assert "whom it lets through" in guarded.headline
    assert "a policy guards" in guarded.controls[0]
    assert security(rbac(), (422, f"{BY_POLICY} request: no")).verdict is HOLDS
    untried = security(given, (403, NO_RIGHT), GUARD)
    assert (untried.verdict, untried.reason) == (INCONCLUSIVE, "exemption-not-tried")
    assert "User jane may be able to" in untried.headline
    assert security(rbac(), (403, NO_RIGHT), GUARD).verdict is HOLDS
    # Where no policy looks at namespaces, none can guard their labels.
    assert security(given, (403, NO_RIGHT)).verdict is VIOLATED


def test_gatekeepers_own_guard_of_its_own_label_is_believed_and_becomes_a_lever():
    selector = {"matchExpressions": [{"key": IGNORE, "operator": "DoesNotExist"}]}
    watching = entry(GATEKEEPER, namespaceSelector=selector)
    for answer, verdict in (
        ((403, NO_RIGHT), HOLDS),
        # Another one's guard may let others through.
        ((422, f"{BY_POLICY} request: no"), INCONCLUSIVE),
    ):
        fake = Fake(answer, **hooks(watching, GUARD))
        assert verify(fake, CHECK, BY_GATEKEEPER, rbac(LABELS[0]), ADMINS).verdict is verdict
    fake = Fake(**hooks(watching, GUARD))
    assert verify(fake, CHECK, BY_GATEKEEPER, rbac(LABELS[0]), ADMINS).verdict is VIOLATED


# -- ValidatingAdmissionPolicy

POLICY = {"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}}
BOUND = {
    "metadata": {"name": "b"},
    "spec": {
        "policyName": "p",
        "validationActions": ["Deny"],
        "paramRef": {"name": "limits", "namespace": "default"},
    },
}
BY_VAP = rejected("validating-admission-policy", "p", "b")


def policy(given: Rbac, bound: Any = BOUND, answer: tuple[int, str] = (200, "")) -> Result:
    paths = {
        "validatingadmissionpolicies/p": POLICY,
        "validatingadmissionpolicybindings": {"items": [bound]},
    }
    fake = Fake(answer, **hooks(), **paths)
    fake.paths["/api/v1"] = {
        "resources": [{"name": "configmaps", "kind": "ConfigMap", "namespaced": True}]
    }
    return verify(fake, CHECK, BY_VAP, given, ADMINS)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (
            rule("patch", "validatingadmissionpolicies", REGISTRATION, names="p"),
            "ValidatingAdmissionPolicy p",
        ),
        (
            rule("delete", "validatingadmissionpolicybindings", REGISTRATION),
            "ValidatingAdmissionPolicyBinding b",
        ),
        (rule("update", "configmaps", names="limits"), "ConfigMap limits, a parameter of it"),
    ],
)
def test_a_policy_its_binding_and_its_parameters_are_levers(given, what):
    result = policy(rbac(given))
    assert result.verdict is VIOLATED
    assert what in result.headline
    assert policy(rbac()).verdict is HOLDS
    assert policy(rbac(rule("patch", "configmaps", names="other"))).verdict is HOLDS


def test_parameters_of_an_unknown_kind_are_inconclusive():
    fake = Fake(
        **hooks(),
        **{
            "validatingadmissionpolicies/p": POLICY,
            "validatingadmissionpolicybindings": {"items": [BOUND]},
        },
    )
    assert verify(fake, CHECK, BY_VAP, rbac(), ADMINS).reason == "not-readable"


# -- without an intent


def test_without_judgement_everybody_is_told():
    fake = Fake(**hooks(entry(GATEKEEPER)))
    lines = report(fake, "web", BY_GATEKEEPER, rbac(rule("patch", HOOKS, REGISTRATION)))
    assert len(lines) == 2
    assert lines[0].startswith("not judged without 'admission.administrators': Group admins may")
    assert "User jane may patch ValidatingWebhookConfiguration gate" in lines[1]
    unread = Rbac(grants=(), roles={}, gaps=("roles could not be read",))
    assert report(fake, "web", BY_GATEKEEPER, unread) == (
        "who may switch it off is not known: roles could not be read",
    )


def test_checks_follow_from_the_intent():
    text = (
        "version: 1\nadmission: {registries: [r/], namespaces: [web, data],"
        " podSecurity: {data: baseline, old: restricted, free: privileged}%s}\n"
    )
    named = intent_from_text(text % ", administrators: [Group a b, ServiceAccount n/s]", "z")
    assert [check.id for check in checks_of("administrators", named)] == [
        f"ZT-ADM-006-administrators-{namespace}" for namespace in ("web", "data", "old")
    ]
    # The compliant pod beside the privileged one is not always 'restricted'.
    found = [c for c in checks_of("administrators", named) if isinstance(c, AdministratorsCheck)]
    assert [check.rejection.id for check in found] == [
        "ZT-ADM-001-privileged-in-containers-web",
        "ZT-ADM-001-privileged-in-containers-data",
        "ZT-ADM-004-host-network-old",
    ]
    nobody = intent_from_text(text % "", "z")
    assert [check.id for check in checks_of("administrators", nobody)] == [
        "ZT-ADM-006-not-declared"
    ]
