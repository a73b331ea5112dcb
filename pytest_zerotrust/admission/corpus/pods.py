"""The compliant pod that every case starts from."""

from __future__ import annotations

from typing import Any

TAG = ":1"


def image_of(registry: str) -> str:
    """An image below an allowed prefix. It need not exist: nothing here is ever pulled."""
    return f"{registry}zerotrust/compliant{TAG}"


def container(name: str, registry: str) -> dict[str, Any]:
    """A container that Pod Security 'restricted' and the reference rules admit."""
    return {
        "name": f"checked-{name}",
        "image": image_of(registry),
        "resources": {
            "requests": {"cpu": "1m", "memory": "1Mi"},
            "limits": {"cpu": "1m", "memory": "1Mi"},
        },
        "securityContext": {
            "privileged": False,
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def ephemeral_container(registry: str) -> dict[str, Any]:
    """The same for the list of ephemeral containers, which may not ask for resources."""
    made = container("debug", registry)
    del made["resources"]
    return made


def compliant_pod(name: str, namespace: str, registry: str) -> dict[str, Any]:
    """A pod that Pod Security 'restricted' and the reference rules admit. It can never run: it is
    only ever sent as a dry run, and it is gated besides (KEP-3521)."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            # Not injected: what a sidecar brings along is not what is tested here.
            "labels": {"sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "schedulingGates": [{"name": "zerotrust.dev/never"}],
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container("main", registry)],
            "initContainers": [container("init", registry)],
        },
    }
