"""Deletes the objects of one run, and only those; called by the controller in every ending."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.fleet.run import LABEL_RUN, Run

TIMEOUT = 60.0
"""Seconds within which the objects of a run must be gone."""

_POLL = 0.5


def delete_run(
    api: Api, run: Run, *, namespaces: Iterable[str], own_namespace: str
) -> CleanupReport:
    """Delete everything that carries the run's label, then look until it is gone."""
    collections = [
        (kind, f"{prefix}/namespaces/{namespace}/{resource}")
        for namespace in dict.fromkeys((*namespaces, own_namespace))
        for kind, prefix, resource in (
            ("Pod", "/api/v1", "pods"),
            ("Service", "/api/v1", "services"),
            ("NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies"),
        )
        if kind != "NetworkPolicy" or namespace == own_namespace
    ]
    errors: list[str] = []
    for _, path in collections:
        try:
            api.delete_collection(path, run.selector)
        except (ApiFailure, ApiUnreachable) as error:
            if not (isinstance(error, ApiFailure) and error.status == 404):
                errors.append(str(error))
    left = _wait_gone(api, run, collections, errors)
    if not left and not errors:
        left, errors = _delete_own_namespace(api, run, own_namespace)
    return CleanupReport(left=tuple(left), errors=tuple(dict.fromkeys(errors)))


def _wait_gone(
    api: Api, run: Run, collections: list[tuple[str, str]], errors: list[str]
) -> list[str]:
    deadline = time.monotonic() + TIMEOUT
    while True:
        left = []
        for kind, path in collections:
            try:
                items = api.get(path, labelSelector=run.selector)["items"]
            except (ApiFailure, ApiUnreachable) as error:
                if not (isinstance(error, ApiFailure) and error.status == 404):
                    errors.append(str(error))
                continue
            for item in items:
                meta = item["metadata"]
                held = ", ".join(meta.get("finalizers", ()))
                note = f" (held by finalizer {held})" if held else ""
                left.append(f"{kind} {meta['namespace']}/{meta['name']}{note}")
        if not left or errors or time.monotonic() > deadline:
            return left
        time.sleep(_POLL)


def _delete_own_namespace(api: Api, run: Run, name: str) -> tuple[list[str], list[str]]:
    """Delete our namespace if a run made it (an administrator's has no run's label) and no other
    run uses it now: the last one to leave deletes it."""
    try:
        response = api.request("GET", f"/api/v1/namespaces/{name}")
        if response.status == 404:
            return [], []
        if not response.ok:
            return [], [f"GET namespace {name}: {response.status} {response.message}"]
        maker = response.body["metadata"].get("labels", {}).get(LABEL_RUN)
        if maker is None:
            return [], []
        others = api.get(f"/api/v1/namespaces/{name}/pods")["items"]
        if others:
            return [], []
        try:
            api.delete(f"/api/v1/namespaces/{name}")
        except ApiFailure as error:
            if maker != run.id and error.status == 403:
                return [], []
            raise
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            response = api.request("GET", f"/api/v1/namespaces/{name}")
            if response.status == 404:
                return [], []
            time.sleep(_POLL)
        return [f"Namespace {name} (still being deleted)"], []
    except (ApiFailure, ApiUnreachable) as error:
        return [], [str(error)]
