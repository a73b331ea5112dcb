"""How a scenario decides what to change: nothing that is right, everything that is not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ci.lab import converge, settle
from ci.lab.converge import Memory, Object, Snapshot, key
from ci.lab.settings import Lab, LabError, describe


def policy(name: str, namespace: str = "production", port: int = 5432) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": {"a": "b"}},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": port}]}]},
    }


def strict(namespace: str = "istio-system", mode: str = "STRICT") -> Object:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": namespace},
        "spec": {"mtls": {"mode": mode}},
    }


def constraint(name: str) -> Object:
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": "K8sRestrictedContainers",
        "metadata": {"name": name},
        "spec": {},
    }


def live(item: Object) -> Object:
    """The object as a server returns it."""
    added = {"uid": f"uid-{item['metadata']['name']}", "resourceVersion": "7", "generation": 3}
    return item | {"metadata": item["metadata"] | added, "status": {"seen": True}}


def cluster(*items: Object) -> Snapshot:
    return Snapshot({key(item): live(item) for item in items})


def plan(wanted: Iterable[Object], now: Snapshot) -> converge.Plan:
    kinds = [*converge.POLICY_KINDS, "Constraint"]
    return converge.plan(list(wanted), now, kinds, converge.same)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = describe("test", 1, with_mesh=True, with_admission=True, cni="cilium")
    return dataclasses.replace(made, state=tmp_path)


def test_what_is_right_is_left_alone() -> None:
    wanted = [policy("deny"), strict(), constraint("rules")]
    assert plan(wanted, cluster(*wanted)) == converge.Plan((), (), ())


def test_what_is_missing_is_made() -> None:
    steps = plan([policy("deny"), strict()], cluster(policy("deny")))
    assert (steps.delete, steps.replace) == ((), ())
    assert [key(item) for item in steps.create] == [key(strict())]


def test_what_another_scenario_or_a_hand_added_is_removed() -> None:
    extra = [policy("allow-all"), strict("default", "DISABLE"), constraint("other")]
    steps = plan([policy("deny")], cluster(policy("deny"), *extra))
    assert {key(item) for item in steps.delete} == {key(item) for item in extra}


def test_an_altered_network_policy_is_made_anew_and_others_are_put_back() -> None:
    wanted = [policy("deny"), strict()]
    steps = plan(wanted, cluster(policy("deny", port=1), strict(mode="PERMISSIVE")))
    assert [key(item) for item in steps.delete] == [key(policy("deny"))]
    assert steps.create == (policy("deny"),)
    assert steps.replace == (strict(),)


def test_an_added_field_counts_as_altered() -> None:
    widened = strict()
    widened["spec"] = widened["spec"] | {"portLevelMtls": {"8080": {"mode": "DISABLE"}}}
    assert plan([strict()], cluster(widened)).replace == (strict(),)


def test_an_added_label_counts_as_altered() -> None:
    labelled = policy("deny")
    labelled["metadata"] = labelled["metadata"] | {"labels": {"a": "b", "c": "d"}}
    assert plan([policy("deny")], cluster(labelled)).create == (policy("deny"),)


def test_what_is_already_going_is_made_again() -> None:
    going = live(policy("deny"))
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    steps = plan([policy("deny")], Snapshot({key(going): going}))
    assert steps.create == (policy("deny"),)
    assert steps.delete == ()


def test_policies_of_namespaces_that_are_not_the_labs_stay() -> None:
    assert plan([], cluster(policy("theirs", "somebody-elses"))).delete == ()


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("istio-validator-istio-system", False),
        ("istiod-default-validator", False),
        ("gatekeeper-validating-webhook-configuration", True),
        ("opa-validating-webhook", True),
        ("somebodys", True),
    ],
)
def test_only_the_meshs_own_webhooks_stay_unasked(name: str, removed: bool) -> None:
    webhook = {"kind": "ValidatingWebhookConfiguration", "metadata": {"name": name}}
    assert converge.may_be_removed(webhook) is removed


def test_namespaces_are_never_removed_and_their_labels_are_exact() -> None:
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "production"}}
    wanted["metadata"] = {"name": "production", "labels": {"istio-injection": "enabled"}}
    server = live(wanted)
    server["spec"] = {"finalizers": ["kubernetes"]}
    server["metadata"]["labels"] = {
        "istio-injection": "enabled",
        "kubernetes.io/metadata.name": "production",
    }
    assert converge.same(wanted, server)
    server["metadata"]["labels"]["admission.gatekeeper.sh/ignore"] = "yes"
    assert not converge.same(wanted, server)
    assert converge.plan([], Snapshot({key(server): server}), ["Namespace"], converge.same) == (
        converge.Plan((), (), ())
    )


def test_an_application_is_known_by_the_state_it_was_left_in(lab: Lab) -> None:
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "legacy"},
        "spec": {"replicas": 1},
    }
    now = cluster(deployment)
    before = now.objects[key(deployment)]
    assert not Memory(lab).unchanged(deployment, before)
    Memory(lab).note([deployment], now)
    assert Memory(lab).unchanged(deployment, before)

    def other(**metadata: Any) -> Object:
        return before | {"metadata": before["metadata"] | metadata}

    assert Memory(lab).unchanged(deployment, other(resourceVersion="8"))
    assert not Memory(lab).unchanged(deployment, other(generation=4))
    assert not Memory(lab).unchanged(deployment, other(uid="another"))
    assert not Memory(lab).unchanged(deployment | {"spec": {"replicas": 2}}, before)


def test_objects_are_sent_without_what_the_server_added() -> None:
    (sent,) = json.loads(converge.as_list([live(policy("deny"))]))["items"]
    assert sent == policy("deny")


def report(pod: str, **facts: Any) -> Object:
    return {"id": pod, "observedGeneration": 3, "enforced": True} | facts


@pytest.mark.parametrize(
    ("reports", "enforced"),
    [
        ([report("a"), report("b")], True),
        ([report("a")], False),
        ([report("a"), report("b", observedGeneration=2)], False),
        ([report("a"), report("b", enforced=False)], False),
        ([], False),
    ],
)
def test_a_constraint_holds_once_every_webhook_pod_says_so(
    reports: list[Object], enforced: bool
) -> None:
    item = live(constraint("rules")) | {"status": {"byPod": reports}}
    assert (settle._not_yet(item, ["a", "b"]) == "") is enforced


def test_a_template_that_gatekeeper_refuses_is_an_error() -> None:
    errors = [{"message": "rego_parse_error"}]
    item = live(constraint("rules")) | {"status": {"byPod": [report("a", errors=errors)]}}
    with pytest.raises(LabError, match="rego_parse_error"):
        settle._not_yet(item, ["a"])


def test_a_listener_that_is_being_drained_says_nothing_about_new_connections() -> None:
    plain = {"listener": {"filter_chains": [{"match": {"transport_protocol": "raw_buffer"}}]}}
    tls = {"listener": {"filter_chains": [{"match": {"transport_protocol": "tls"}}]}}
    document = {"configs": [{"active_state": tls, "draining_state": plain}]}
    assert not settle._accepts_plaintext(json.dumps(document))
    document = {"configs": [{"active_state": plain, "draining_state": tls}]}
    assert settle._accepts_plaintext(json.dumps(document))


def test_waiting_fails_with_the_last_complaint() -> None:
    complaints = iter(["first", "last", "last", "last"])
    with pytest.raises(LabError, match="still: last"):
        settle.until(lambda: next(complaints), 0.02, 0.015)


def test_waiting_ends_when_nothing_is_left_to_complain_about() -> None:
    complaints = iter(["first", ""])
    settle.until(lambda: next(complaints), 5, 0)
