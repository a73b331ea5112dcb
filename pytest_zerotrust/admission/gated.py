"""The one object that admission checks create: a pod that is admitted and can never run.

What is added to a pod later, or changed in it, can only be tried on a pod that is there. It breaks
no rule, and a scheduling gate that nobody lifts keeps it from every node (KEP-3521).
"""

from __future__ import annotations

from typing import Any

from pytest_zerotrust.admission.corpus.pods import compliant_pod
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.fleet.run import (
    ANNOTATION_EXPIRES,
    ANNOTATION_OWNER,
    LABEL_ROLE,
    LABEL_RUN,
    Run,
)

ROLE = "gated"


def gated_name(run: Run, namespace: str) -> str:
    """The name of the gated pod of a run in a namespace, the same in all processes."""
    return run.name("gated", namespace)


def gated_pod(run: Run, namespace: str, registry: str) -> dict[str, Any]:
    """Its manifest."""
    pod = compliant_pod(gated_name(run, namespace), namespace, registry)
    pod["metadata"]["labels"] |= {LABEL_RUN: run.id, LABEL_ROLE: ROLE}
    pod["metadata"]["annotations"] = {
        ANNOTATION_OWNER: run.owner,
        ANNOTATION_EXPIRES: run.expires,
    }
    return pod


def place(api: Api, run: Run, namespace: str, registry: str) -> None:
    """Create the gated pod of a namespace; another process may have been first.

    Raises Inconclusive if it was turned away.
    """
    response = api.request(
        "POST", f"/api/v1/namespaces/{namespace}/pods", body=gated_pod(run, namespace, registry)
    )
    if not response.ok and response.status != 409:
        raise Inconclusive(
            f"the compliant pod to be changed could not be made in namespace {namespace}: "
            f"{response.status} {response.message}"
        )
