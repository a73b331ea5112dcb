"""Deletes the objects of one run, and only those; called by the controller in every ending."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.fleet.run import LABEL_RUN, Run

TIMEOUT = 60.0
"""Seconds within which the objects of a run must be gone."""

_POLL = 0.5
_FOR_GOOD = (400, 401, 403, 405, 422)
"""Statuses that asking again does not change."""


def delete_run(
    api: Api,
    run: Run,
    *,
    namespaces: Iterable[str],
    own_namespaces: Iterable[str],
    quiet: float = 0.0,
) -> CleanupReport:
    """Delete everything that carries the run's label, and look until it is gone.

    A server that does not answer, or only with 5xx, is asked again until time is up. ``quiet`` is
    for how many seconds nothing may appear any more; give it where other processes of the run were
    killed, whose last requests may still be on their way. ``own_namespaces`` are those that
    a run makes and deletes.
    """
    ours = tuple(dict.fromkeys(own_namespaces))
    collections = [
        (kind, f"{prefix}/namespaces/{namespace}/{resource}")
        for namespace in dict.fromkeys((*namespaces, *ours))
        for kind, prefix, resource in (
            ("Pod", "/api/v1", "pods"),
            ("Service", "/api/v1", "services"),
            ("NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies"),
        )
        if kind != "NetworkPolicy" or namespace in ours
    ]
    if not quiet:
        for name in ours:
            _ask_own_namespace_to_go(api, run, name)
    left, errors = _delete_until_gone(api, run, collections, quiet)
    if not left and not errors:
        for name in ours:
            more_left, more_errors = _delete_own_namespace(api, run, name)
            left, errors = [*left, *more_left], [*errors, *more_errors]
    return CleanupReport(left=tuple(left), errors=tuple(dict.fromkeys(errors)))


def why_it_stays(item: Mapping[str, Any]) -> str:
    """What keeps an object that is being deleted: its finalizers, and for a namespace what its
    conditions tell of its content (the namespace controller's NamespaceContentRemaining,
    NamespaceFinalizersRemaining and NamespaceDeletion…Failure)."""
    meta = item["metadata"]
    reasons = []
    finalizers = meta.get("finalizers", ())
    if finalizers:
        reasons.append(f"held by finalizer {', '.join(finalizers)}")
    reasons += [
        str(condition.get("message") or condition["type"])
        for condition in (item.get("status") or {}).get("conditions") or ()
        if str(condition["type"]).startswith("Namespace") and condition.get("status") == "True"
    ]
    if not reasons and meta.get("deletionTimestamp"):
        reasons.append("still being deleted")
    return f" ({'; '.join(reasons)})" if reasons else ""


def _delete_until_gone(
    api: Api, run: Run, collections: list[tuple[str, str]], quiet: float
) -> tuple[list[str], list[str]]:
    deadline = time.monotonic() + TIMEOUT
    gone_since: float | None = None
    undeleted = {path for _, path in collections}
    while True:
        left: list[str] = []
        errors: list[str] = []
        final = False
        for kind, path in collections:
            try:
                if path in undeleted:
                    api.delete_collection(path, run.selector)
                    undeleted.discard(path)
                found = api.get(path, labelSelector=run.selector)["items"]
            except (ApiFailure, ApiUnreachable) as error:
                if isinstance(error, ApiFailure) and error.status == 404:
                    undeleted.discard(path)
                    continue
                errors.append(str(error))
                final = final or (isinstance(error, ApiFailure) and error.status in _FOR_GOOD)
                continue
            left += [_named(kind, item) for item in found]
            # What came after the request to delete is deleted as well.
            if any("deletionTimestamp" not in item["metadata"] for item in found):
                undeleted.add(path)
        now = time.monotonic()
        if left or errors:
            gone_since = None
        else:
            gone_since = now if gone_since is None else gone_since
            if now - gone_since >= quiet:
                return [], []
        if final or now > deadline:
            return left, errors
        time.sleep(_POLL)


def _named(kind: str, item: Mapping[str, Any]) -> str:
    meta = item["metadata"]
    return f"{kind} {meta['namespace']}/{meta['name']}{why_it_stays(item)}"


def _ask_own_namespace_to_go(api: Api, run: Run, name: str) -> None:
    """Delete our namespace along with the pods, if it holds only this run's: Kubernetes lets five
    seconds pass before it begins. What does not work here is tried, and told, at the end."""
    path = f"/api/v1/namespaces/{name}"
    try:
        response = api.request("GET", path)
        ours = response.ok and response.body["metadata"].get("labels", {}).get(LABEL_RUN) == run.id
        # This selects pods without the label as well.
        if ours and not api.get(f"{path}/pods", labelSelector=f"{LABEL_RUN}!={run.id}")["items"]:
            api.delete(path)
    except (ApiFailure, ApiUnreachable):
        return


def _delete_own_namespace(api: Api, run: Run, name: str) -> tuple[list[str], list[str]]:
    """Delete our namespace if a run made it (an administrator's has no run's label) and no other
    run uses it now: the last one to leave deletes it."""
    deadline = time.monotonic() + TIMEOUT
    path = f"/api/v1/namespaces/{name}"
    asked = False
    while True:
        left, errors = [], []
        try:
            response = api.request("GET", path)
            if response.status == 404:
                return [], []
            if not response.ok:
                raise ApiFailure(response, f"GET namespace {name}")
            if response.body["metadata"].get("deletionTimestamp"):
                asked = True
            if not asked:
                maker = response.body["metadata"].get("labels", {}).get(LABEL_RUN)
                if maker is None or api.get(f"{path}/pods")["items"]:
                    return [], []
                try:
                    api.delete(path)
                except ApiFailure as error:
                    if maker != run.id and error.status == 403:
                        return [], []
                    raise
                asked = True
            left = [f"Namespace {name}{why_it_stays(response.body)}"]
        except (ApiFailure, ApiUnreachable) as error:
            errors = [str(error)]
            if isinstance(error, ApiFailure) and error.status in _FOR_GOOD:
                return [], errors
        if time.monotonic() > deadline:
            return left, errors
        time.sleep(_POLL)
