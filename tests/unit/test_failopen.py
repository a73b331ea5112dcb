"""Whether what rejects pods fails closed and is looked away by nobody's choice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_zerotrust.admission.failopen import FailClosedCheck, verify
from pytest_zerotrust.cluster.api import Response
from pytest_zerotrust.core.verdict import Result, Verdict

HOLDS, VIOLATED, INCONCLUSIVE = Verdict.HOLDS, Verdict.VIOLATED, Verdict.INCONCLUSIVE
CHECK = FailClosedCheck(namespace="web")
RULES = [
    {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["pods", "pods/ephemeralcontainers"],
    }
]
HOOK = {"name": "validation.gatekeeper.sh", "failurePolicy": "Fail", "rules": RULES}
IGNORE = "admission.gatekeeper.sh/ignore"
OPT_OUT = {"matchExpressions": [{"key": IGNORE, "operator": "DoesNotExist"}]}
GUARD = {
    "name": "check-ignore-label.gatekeeper.sh",
    "rules": [{**RULES[0], "resources": ["namespaces"], "scope": "*"}],
}
REFUSAL = 'admission webhook "check-ignore-label.gatekeeper.sh" denied the request: Only exempt'
BY_POLICY = "namespaces \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied"
NO_RIGHT = 'namespaces "web" is forbidden: User "me" cannot patch resource "namespaces"'

Labels = Callable[[Mapping[str, Any]], Response]


def admitting(labels: Mapping[str, Any]) -> Response:
    return Response(status=200, body={"metadata": {}})


def refusing(status: int, message: str, *only: str) -> Labels:
    """Refuses changes of these labels, or of all."""

    def answer(labels: Mapping[str, Any]) -> Response:
        if only and not set(only) & set(labels):
            return admitting(labels)
        return Response(status=status, body={"message": message})

    return answer


class Fake:
    """Registrations that can be read, and namespaces whose labels one tries to change."""

    def __init__(self, labels: Labels = admitting, **lists: Any) -> None:
        self.labels, self.lists, self.tried = labels, lists, []

    def request(self, method: str, path: str, **more: Any) -> Response:
        name = path.rsplit("/", 1)[-1]
        if method == "PATCH":
            assert path == "/api/v1/namespaces/web"
            assert more["params"]["dryRun"] == "All"
            self.tried.append(more["body"]["metadata"]["labels"])
            return self.labels(self.tried[-1])
        if name in self.lists:
            found = self.lists[name]
        elif name == "constraints.gatekeeper.sh":
            found = {"preferredVersion": {"groupVersion": f"{name}/v1"}}
        elif path == "/apis/constraints.gatekeeper.sh/v1":
            found = {"resources": [{"name": f"{kind.lower()}s", "kind": kind} for kind in "AB"]}
        else:
            found = None
            if "constraints.gatekeeper.sh" in path or name == "config":
                return Response(status=404, body={})
        return (
            Response(status=200, body=found)
            if found
            else Response(status=403, body={"message": "not for you"})
        )


def hooks(*entries: Mapping[str, Any]) -> dict[str, Any]:
    return {"items": [{"metadata": {"name": "config"}, "webhooks": list(entries)}]}


def rejected_by(by: str, *policies: str, webhook: str = "") -> Result:
    return Result(
        control="ZT-ADM-001",
        subject="privileged",
        verdict=HOLDS,
        headline="",
        evidence={"answered_by": by, "policies": list(policies), "webhook": webhook},
    )


def of_webhook(fake: Fake, *constraints: str) -> Result:
    by = rejected_by("gatekeeper", *constraints, webhook="validation.gatekeeper.sh")
    return verify(fake, CHECK, by)


def test_a_webhook_without_exemptions_holds_and_no_label_is_tried():
    fake = Fake(validatingwebhookconfigurations=hooks(HOOK))
    assert of_webhook(fake).verdict is HOLDS
    assert fake.tried == []


def test_a_match_condition_on_labels_is_an_escape_with_its_own_remedy():
    conditions = [{"name": "some", "expression": "!('skip' in object.metadata.labels)"}]
    result = of_webhook(
        Fake(validatingwebhookconfigurations=hooks({**HOOK, "matchConditions": conditions}))
    )
    assert result.verdict is VIOLATED
    assert "match condition some reads object.metadata.labels" in result.headline
    assert result.remedy.startswith("Let the match condition some read nothing")


def test_a_match_condition_on_the_spec_is_inconclusive():
    conditions = [{"name": "some", "expression": "object.spec.hostNetwork"}]
    result = of_webhook(
        Fake(validatingwebhookconfigurations=hooks({**HOOK, "matchConditions": conditions}))
    )
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "exemption-not-tried")


def labelled(labels: Labels, *more: Mapping[str, Any]) -> Result:
    entries = hooks({**HOOK, "namespaceSelector": OPT_OUT}, *more)
    return of_webhook(Fake(labels, validatingwebhookconfigurations=entries))


def test_a_label_that_may_be_set_on_the_namespace_is_an_escape():
    result = labelled(admitting, GUARD)
    assert result.verdict is VIOLATED
    assert f"looks away from a namespace label {IGNORE}" in result.headline
    assert f"guard the label {IGNORE}" in result.remedy


@pytest.mark.parametrize(("status", "message"), [(403, REFUSAL), (422, f"{BY_POLICY} request: no")])
def test_a_label_that_a_policy_guards_is_none(status, message):
    result = labelled(refusing(status, message, IGNORE))
    assert result.verdict is HOLDS
    assert IGNORE in result.controls[0]


def test_a_guard_that_fails_open_is_told():
    result = labelled(refusing(403, REFUSAL, IGNORE), {**GUARD, "failurePolicy": "Ignore"})
    assert result.verdict is VIOLATED
    assert "while it is down the label may be changed" in result.headline


@pytest.mark.parametrize(
    "labels",
    [
        refusing(403, NO_RIGHT),
        refusing(403, REFUSAL),  # the twin as well: the label is not the reason
        refusing(500, 'failed calling webhook "check-ignore-label.gatekeeper.sh"', IGNORE),
        refusing(422, "invalid", IGNORE),
    ],
)
def test_a_guard_that_was_not_seen_at_work_is_no_guard_unless_it_is_gatekeepers_own(labels):
    bare = labelled(labels)
    assert (bare.verdict, bare.reason) == (INCONCLUSIVE, "exemption-not-tried")
    registered = labelled(labels, GUARD)
    assert registered.verdict is HOLDS
    assert "by its registration; it could not be tried" in registered.controls[0]
    assert labelled(labels, {**GUARD, "rules": RULES}).verdict is INCONCLUSIVE
    assert labelled(labels, {**GUARD, "failurePolicy": "Ignore"}).verdict is VIOLATED


def test_a_foreign_label_needs_to_be_tried():
    selector = {"matchLabels": {"policy": "on"}}
    entries = hooks({**HOOK, "namespaceSelector": selector}, GUARD)
    fake = Fake(refusing(403, NO_RIGHT), validatingwebhookconfigurations=entries)
    assert of_webhook(fake).verdict is INCONCLUSIVE
    fake = Fake(validatingwebhookconfigurations=entries)
    assert "without label policy" in of_webhook(fake).headline
    assert {"policy": None} in fake.tried


def of_constraints(labels: Labels = admitting, **specs: Any) -> Result:
    """Constraints by their names, all of them of the kind A; one more of kind B if it ends in _b"""
    hook = {**HOOK, "clientConfig": {"service": {"namespace": "gk", "name": "s"}}}
    fake = Fake(labels, validatingwebhookconfigurations=hooks(hook))
    real = fake.request

    def request(method: str, path: str, **more: Any) -> Response:
        head, _, name = path.rpartition("/")
        key = f"{name}_b" if head.endswith("/bs") else name
        if head.endswith(("/as", "/bs")) and key in specs:
            return Response(status=200, body={"spec": specs[key]})
        return real(method, path, **more)

    fake.request = request  # type: ignore[method-assign]
    return of_webhook(fake, *(name for name in specs if not name.endswith("_b")))


BY_LABEL = {"match": {"labelSelector": {"matchExpressions": [
    {"key": "debug", "operator": "DoesNotExist"}
]}}}  # fmt: skip
BY_NAMESPACE = {"match": {"namespaceSelector": {"matchLabels": {"policy": "on"}}}}
WHOLE = {"match": {"excludedNamespaces": ["kube-system"]}}


def test_a_constraint_that_looks_at_all_pods_holds_and_tells_its_namespaces():
    result = of_constraints(c=WHOLE)
    assert result.verdict is HOLDS
    assert "constraint A c looks at no namespaces kube-system" in result.observed
    assert "constraint A c" in result.objects


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (BY_LABEL, "constraint A c: its labelSelector lets whoever makes a pod"),
        ({"match": {"name": "app-*"}}, "objects named app-*"),
        (BY_NAMESPACE, "constraint A c: its namespaceSelector looks away from a namespace without"),
    ],
)
def test_a_constraint_that_can_be_told_to_look_away_is_violated(spec, words):
    result = of_constraints(c=spec)
    assert result.verdict is VIOLATED
    assert words in result.headline
    assert result.remedy


def test_a_label_that_a_constraint_goes_by_may_be_guarded_or_not_tried():
    guarded = of_constraints(refusing(422, f"{BY_POLICY} request: no", "policy"), c=BY_NAMESPACE)
    assert guarded.verdict is HOLDS
    untried = of_constraints(refusing(403, NO_RIGHT), c=BY_NAMESPACE)
    assert (untried.verdict, untried.reason) == (INCONCLUSIVE, "exemption-not-tried")


def test_what_one_constraint_does_not_see_another_one_rejects():
    assert of_constraints(c=BY_LABEL, d=WHOLE).verdict is HOLDS
    assert of_constraints(c=BY_LABEL, d=BY_NAMESPACE).verdict is VIOLATED


def test_a_name_that_several_kinds_have_does_not_tell_which_of_them_rejected():
    result = of_constraints(c=BY_LABEL, c_b=WHOLE)
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "exemption-not-tried")
    assert "several kinds are named c (A, B)" in result.headline
    assert of_constraints(c=WHOLE, c_b=WHOLE).verdict is HOLDS
    assert of_constraints(c=BY_LABEL, c_b=BY_LABEL).verdict is VIOLATED


def test_a_constraint_that_no_longer_denies_is_inconclusive():
    result = of_constraints(c={"enforcementAction": "warn"})
    assert (result.verdict, result.reason) == (INCONCLUSIVE, "exemption-not-tried")


def test_constraints_that_cannot_be_read_are_inconclusive():
    lists = {"validatingwebhookconfigurations": hooks(HOOK)}
    missing = of_webhook(Fake(**lists), "c")
    assert missing.reason == "not-observed"
    assert "none of any kind has this name" in missing.headline
    forbidden = of_webhook(Fake(**lists, c={}), "c")
    assert forbidden.reason == "not-observed"
    assert "not for you" in forbidden.headline
    unknown = of_webhook(Fake(**lists, **{"constraints.gatekeeper.sh": {}}), "c")
    assert unknown.reason == "not-observed"


POLICY = {"spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": RULES}}}
BINDING = {
    "metadata": {"name": "b"},
    "spec": {"policyName": "p", "validationActions": ["Deny"]},
}


def of_policy(policy: Any = POLICY, *bindings: Any, labels: Labels = admitting) -> Result:
    lists = {"p": policy, "validatingadmissionpolicybindings": {"items": list(bindings)}}
    return verify(
        Fake(labels, **lists), CHECK, rejected_by("validating-admission-policy", "p", "b")
    )


def changed(item: Any, *path: str, value: Any) -> Any:
    made = copy.deepcopy(item)
    place = made["spec"]
    for key in path[:-1]:
        place = place.setdefault(key, {})
    place[path[-1]] = value
    return made


SELECTOR = {"matchLabels": {"a": "b"}}
PARAMS = {"name": "limits", "parameterNotFoundAction": "Allow"}
WITH_PARAMS = changed(POLICY, "paramKind", value={"apiVersion": "v1", "kind": "ConfigMap"})


def test_a_policy_that_leaves_nothing_out_holds():
    result = of_policy(POLICY, BINDING)
    assert result.verdict is HOLDS
    assert "bindings" in result.reproduce


@pytest.mark.parametrize(
    ("policy", "binding", "words"),
    [
        (changed(POLICY, "failurePolicy", value="Ignore"), BINDING, "FAILS OPEN"),
        (
            changed(POLICY, "matchConstraints", "objectSelector", value=SELECTOR),
            BINDING,
            "its objectSelector",
        ),
        (
            changed(POLICY, "matchConstraints", "namespaceSelector", value=SELECTOR),
            BINDING,
            "without label a",
        ),
        (
            changed(POLICY, "matchConstraints", "excludeResourceRules", value=[
                {**RULES[0], "resources": ["pods"], "resourceNames": ["debug"]}
            ]),
            BINDING,
            "not asked about new pods",
        ),
        (
            changed(POLICY, "matchConditions", value=[
                {"name": "m", "expression": "object.metadata.name != 'x'"}
            ]),
            BINDING,
            "match condition m reads object.metadata.name",
        ),
        (
            POLICY,
            changed(BINDING, "matchResources", "objectSelector", value=SELECTOR),
            "binding b: its objectSelector",
        ),
        (
            POLICY,
            changed(BINDING, "matchResources", "namespaceSelector", value=SELECTOR),
            "without label a",
        ),
        (
            POLICY,
            changed(BINDING, "matchResources", "resourceRules", value=[
                {**RULES[0], "resources": ["pods"]}
            ]),
            "binding b: it is not about containers that are added",
        ),
        (WITH_PARAMS, changed(BINDING, "paramRef", value=PARAMS), "parameters (limits)"),
    ],
)  # fmt: skip
def test_each_way_past_a_policy_is_named(policy, binding, words):
    result = of_policy(policy, binding)
    assert result.verdict is VIOLATED
    assert words in result.headline
    assert result.remedy


def test_parameters_that_must_be_there_are_no_escape():
    params = {**PARAMS, "parameterNotFoundAction": "Deny"}
    assert of_policy(WITH_PARAMS, changed(BINDING, "paramRef", value=params)).verdict is HOLDS


def test_what_one_binding_leaves_out_another_may_deny():
    narrow = changed(BINDING, "matchResources", "objectSelector", value=SELECTOR)
    whole = changed(BINDING, "policyName", value="p")
    whole["metadata"] = {"name": "other"}
    assert of_policy(POLICY, narrow, whole).verdict is HOLDS
    warning = changed(whole, "validationActions", value=["Warn"])
    elsewhere = changed(whole, "matchResources", "namespaceSelector", value=SELECTOR)
    foreign = changed(whole, "policyName", value="q")
    assert of_policy(POLICY, narrow, warning, elsewhere, foreign).verdict is VIOLATED


def test_a_binding_with_other_parameters_may_deny_other_things():
    own = {**PARAMS, "parameterNotFoundAction": "Deny"}
    narrow = changed(BINDING, "matchResources", "objectSelector", value=SELECTOR)
    narrow = changed(narrow, "paramRef", value=own)
    lax = changed(BINDING, "paramRef", value={**own, "name": "lax"})
    lax["metadata"] = {"name": "lax"}
    assert of_policy(WITH_PARAMS, narrow, lax).verdict is VIOLATED
    same = changed(BINDING, "paramRef", value=own)
    same["metadata"] = {"name": "same"}
    assert of_policy(WITH_PARAMS, narrow, same).verdict is HOLDS


def test_what_cannot_be_read_is_inconclusive():
    assert of_policy(None, BINDING).reason == "not-observed"
    assert of_policy(POLICY).reason == "not-observed"
    assert of_webhook(Fake()).reason == "not-observed"
    assert of_webhook(Fake(validatingwebhookconfigurations=hooks())).reason == "not-observed"
