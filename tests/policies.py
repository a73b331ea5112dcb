"""Policies and endpoints for tests, in as few words as possible."""

from __future__ import annotations

from typing import Any

from pytest_zerotrust.core.policy import (
    Decision,
    Dialect,
    Endpoint,
    Kind,
    Outcome,
    decide,
    parse_policy,
)

LETTER, CILIUM = Dialect.LETTER, Dialect.CILIUM
ALLOWED, DENIED, UNKNOWN = Outcome.ALLOWED, Outcome.DENIED, Outcome.UNKNOWN


def network_policy(name: str = "p", namespace: str = "a", **spec: Any) -> dict[str, Any]:
    """A NetworkPolicy as plain data."""
    meta = {"name": name, "namespace": namespace}
    return {
        "kind": "NetworkPolicy",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": meta,
        "spec": spec,
    }


def cilium_policy(name: str = "c", namespace: str | None = "a", **spec: Any) -> dict[str, Any]:
    """A policy of Cilium's; without a namespace a cluster-wide one."""
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"kind": kind, "apiVersion": "cilium.io/v2", "metadata": meta, "spec": spec}


def pod(name: str, namespace: str = "a", **changes: Any) -> Endpoint:
    """A pod with the label ``app`` of its name, in a namespace with the label ``team``."""
    values: dict[str, Any] = {
        "kind": Kind.POD,
        "name": name,
        "namespace": namespace,
        "labels": {"app": name},
        "namespace_labels": {"team": f"team-{namespace}"},
        "service_account": name,
        "ip": "10.0.0.1",
        "node": "n1",
        "ports": {},
    }
    return Endpoint(**{**values, **changes})


X = pod("x", ip="10.0.0.1")
Y = pod("y", ip="10.0.0.2", ports={"web": (8080, "TCP"), "dns": (53, "UDP")})
Z = pod("z", "b", ip="10.0.1.3", node="n2")


def decision(
    *policies: dict[str, Any],
    source: Endpoint = X,
    target: Endpoint = Y,
    port: int = 8080,
    protocol: str = "TCP",
    dialect: Dialect = CILIUM,
    **more: Any,
) -> Decision:
    """Parse and evaluate."""
    parsed = [parse_policy(policy) for policy in policies]
    return decide(parsed, source, target, port, protocol, dialect=dialect, **more)


def outcome(*policies: dict[str, Any], **flow: Any) -> Outcome:
    """The outcome alone."""
    return decision(*policies, **flow).outcome
