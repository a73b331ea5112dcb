"""What PeerAuthentications declare for a port of a pod, read from the API and by istiod's rules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_zerotrust.cluster.api import ApiUnreachable
from pytest_zerotrust.core.mesh import (
    Declaration,
    Declared,
    PeerAuthentication,
    PortMode,
    declared_for,
    judge_declared,
)
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.mesh.policies import Policies, read_policies

STRICT, PERMISSIVE, DISABLE = Declared.STRICT, Declared.PERMISSIVE, Declared.DISABLE
LABELS = {"app": "payments", "tier": "back"}
PAYMENTS = {"app": "payments"}
ROOT = "istio-system"


def policy(namespace: str, name: str, mode: Declared | None, **more: Any) -> PeerAuthentication:
    return PeerAuthentication(**{"namespace": namespace, "name": name, "mode": mode, **more})


def declared(*policies: PeerAuthentication, port: int = 8080, namespace: str = "web") -> str:
    return str(declared_for(policies, namespace, LABELS, port, root_namespace=ROOT))


MESH = policy(ROOT, "default", STRICT)


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ((), "PERMISSIVE by default"),
        ((MESH,), "STRICT by istio-system/default"),
        ((policy(ROOT, "default", None),), "PERMISSIVE by default"),
        # The nearer one wins, in whatever order they come.
        ((policy("web", "here", PERMISSIVE), MESH), "PERMISSIVE by web/here"),
        ((MESH, policy("other", "there", DISABLE)), "STRICT by istio-system/default"),
        ((MESH, policy("web", "here", None)), "STRICT by istio-system/default"),
        ((MESH, policy("web", "one", DISABLE, selector=PAYMENTS)), "DISABLE by web/one"),
        (
            (
                policy("web", "one", None, selector=PAYMENTS),
                policy("web", "here", PERMISSIVE),
                MESH,
            ),
            "PERMISSIVE by web/here",
        ),
        (
            (MESH, policy("web", "one", DISABLE, selector={"app": "other"})),
            "STRICT by istio-system/default",
        ),
        (
            (MESH, policy("web", "one", DISABLE, selector={**PAYMENTS, "tier": "front"})),
            "STRICT by istio-system/default",
        ),
        # One with a selector in the root namespace counts for nobody.
        (
            (MESH, policy(ROOT, "one", DISABLE, selector=PAYMENTS)),
            "STRICT by istio-system/default",
        ),
        # One of a namespace, or of the mesh, cannot name ports.
        (
            (MESH, policy("web", "here", STRICT, ports={8080: DISABLE})),
            "STRICT by web/here",
        ),
        (
            (MESH, policy("web", "one", STRICT, selector=PAYMENTS, ports={8080: DISABLE})),
            "DISABLE by web/one for port 8080",
        ),
        (
            (MESH, policy("web", "one", None, selector=PAYMENTS, ports={9090: DISABLE})),
            "STRICT by istio-system/default",
        ),
        # A port for which nothing is set is as the rest of its workload.
        (
            (MESH, policy("web", "one", PERMISSIVE, selector=PAYMENTS, ports={8080: None})),
            "PERMISSIVE by web/one for port 8080",
        ),
    ],
)
def test_the_mode_in_force(policies, expected):
    assert declared(*policies) == expected
    assert declared(*reversed(policies)) == expected


@pytest.mark.parametrize("selector", [{}, PAYMENTS])
def test_of_several_only_the_oldest_counts(selector):
    older = policy("web", "z", STRICT, selector=selector, created="2026-01-01T00:00:00Z")
    newer = policy("web", "a", DISABLE, selector=selector, created="2026-01-02T00:00:00Z")
    assert declared(newer, older) == "STRICT by web/z"
    # Even if it sets nothing.
    silent = policy("web", "z", None, selector=selector, created="2026-01-01T00:00:00Z")
    assert declared(newer, silent, MESH) == "STRICT by istio-system/default"
    # Of two of one moment, the first by name.
    twin = policy("web", "a", DISABLE, selector=selector, created=older.created)
    assert declared(older, twin) == "DISABLE by web/a"


def test_in_the_root_namespace_itself_only_the_meshs_policy_counts():
    one = policy(ROOT, "one", DISABLE, selector=PAYMENTS, ports={8080: PERMISSIVE})
    assert declared(MESH, one, namespace=ROOT) == "STRICT by istio-system/default"


# -- held against what the port does


@pytest.mark.parametrize(
    ("mode", "seen", "verdict"),
    [
        (STRICT, PortMode.STRICT, Verdict.HOLDS),
        (STRICT, PortMode.PERMISSIVE, Verdict.VIOLATED),
        (STRICT, PortMode.DISABLED, Verdict.VIOLATED),
        (STRICT, PortMode.NOT_MESHED, Verdict.VIOLATED),
        (STRICT, PortMode.PASSED_ON, Verdict.VIOLATED),
        (PERMISSIVE, PortMode.PERMISSIVE, Verdict.HOLDS),
        (PERMISSIVE, PortMode.PASSED_ON, Verdict.HOLDS),
        (PERMISSIVE, PortMode.STRICT, Verdict.VIOLATED),
        (PERMISSIVE, PortMode.NOT_MESHED, Verdict.VIOLATED),
        (DISABLE, PortMode.DISABLED, Verdict.HOLDS),
        (DISABLE, PortMode.NOT_MESHED, Verdict.HOLDS),
        (DISABLE, PortMode.STRICT, Verdict.VIOLATED),
        *((m, PortMode.MASKED, Verdict.INCONCLUSIVE) for m in Declared),
        *((m, PortMode.UNKNOWN, Verdict.INCONCLUSIVE) for m in Declared),
        *((m, PortMode.APPLICATION_DOWN, Verdict.INCONCLUSIVE) for m in Declared),
    ],
)
def test_a_port_does_what_is_declared_or_not(mode, seen, verdict):
    assert judge_declared(Declaration(mode), [seen] * 3).verdict is verdict


def test_a_mode_that_changes_or_was_not_seen_shows_nothing():
    modes = [PortMode.STRICT, PortMode.STRICT, PortMode.PERMISSIVE]
    found = judge_declared(Declaration(STRICT), modes)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "unsettled")
    assert judge_declared(Declaration(STRICT), []).verdict is Verdict.INCONCLUSIVE


# -- from the API


def read(*responses: Any) -> Policies:
    """What is read if the versions of the API answer so, one after the other."""
    left = list(responses)
    paths: list[str] = []

    def request(method: str, path: str) -> Any:
        paths.append(path)
        response = left.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    found = read_policies(SimpleNamespace(request=request), ["web", "web"])  # type: ignore[arg-type]
    known = [
        f"/apis/security.istio.io/{version}/namespaces/web/peerauthentications"
        for version in ("v1", "v1beta1")
    ]
    assert paths == known[: len(responses)]
    return found


def answer(*specs: Any) -> Any:
    meta = {"namespace": "web", "creationTimestamp": "2026-01-01T00:00:00Z"}
    items = [{"metadata": {**meta, "name": f"p{n}"}, "spec": spec} for n, spec in enumerate(specs)]
    return SimpleNamespace(ok=True, status=200, body={"items": items})


NOT_FOUND = SimpleNamespace(ok=False, status=404, message="not found", body={})


def with_ports(labels: dict[str, str], *ports: str) -> dict[str, Any]:
    modes = {port: {"mode": "DISABLE"} for port in ports}
    return {"selector": {"matchLabels": labels}, "portLevelMtls": modes}


def test_only_policies_that_select_the_pod_name_ports_for_it():
    found = read(
        answer(
            with_ports({"app": "payments"}, "9201", "9202"),
            with_ports({"app": "other"}, "9300"),
            with_ports({"app": "payments", "tier": "front"}, "9400"),
            {"mtls": {"mode": "STRICT"}},
            {},
        )
    )
    assert found.ports_of("web", LABELS) == {9201, 9202}
    assert found.ports_of("other", LABELS) == frozenset()
    assert found.declared("web", LABELS, 9202, ROOT) == Declaration(DISABLE, "web/p0 for port 9202")
    assert found.declared("web", LABELS, 8080, ROOT) == Declaration(STRICT, "web/p3")
    assert found.gaps == {}


def test_an_older_istio_is_asked_in_its_own_version():
    found = read(NOT_FOUND, answer({"mtls": {"mode": "UNSET"}}, {"mtls": {}}))
    assert [item.mode for item in found.items] == [None, None]


def test_a_cluster_without_the_policies_has_none():
    assert read(NOT_FOUND, NOT_FOUND) == Policies()


@pytest.mark.parametrize(
    "response",
    [
        SimpleNamespace(ok=False, status=403, message="no", body={}),
        ApiUnreachable("gone"),
        answer({"mtls": {"mode": "SOMETHING"}}),
        answer(with_ports(PAYMENTS, "http")),
        SimpleNamespace(ok=True, status=200, body={"items": [{}]}),
    ],
)
def test_what_could_not_be_read_is_told(response):
    found = read(response)
    assert set(found.gaps) == {"web"}
    assert found.items == ()


def test_what_changed_is_told_by_name():
    before = Policies(items=(MESH, policy("web", "one", STRICT)))
    after = Policies(items=(MESH, policy("web", "one", PERMISSIVE), policy("web", "two", None)))
    assert before.difference(before) == ""
    assert before.difference(after).endswith(": web/one, web/two")
    assert "gone" in before.difference(Policies(items=before.items, gaps={"web": "gone"}))
