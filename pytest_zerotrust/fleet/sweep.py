"""Removes what earlier runs left behind, once it has expired, and nothing else.

An object is taken for ours only if all agrees: the label of a run, a name that such a run gives,
an owner and an expiry. Time is the API server's, for the clock of this machine may be wrong.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable, Response, server_time
from pytest_zerotrust.fleet.cleanup import why_it_stays
from pytest_zerotrust.fleet.run import ANNOTATION_EXPIRES, ANNOTATION_OWNER, LABEL_RUN, TIME_FORMAT

TIMEOUT = 60.0
"""Seconds within which removed objects must be gone."""

_POLL = 0.5
_KINDS = (
    ("Pod", "/api/v1", "pods"),
    ("Service", "/api/v1", "services"),
    ("NetworkPolicy", "/apis/networking.k8s.io/v1", "networkpolicies"),
)
# A namespace with any of these is in use by somebody.
_CONTENTS = (
    *_KINDS,
    ("ConfigMap", "/api/v1", "configmaps"),
    ("Secret", "/api/v1", "secrets"),
    ("PersistentVolumeClaim", "/api/v1", "persistentvolumeclaims"),
)
# Every namespace of a cluster, or of a mesh, gets these by itself.
_BY_ITSELF = frozenset({"kube-root-ca.crt", "istio-ca-root-cert", "istio-ca-crl"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One object with the label of a run. ``expires`` is None if it does not say when, or if it
    is not of the shape that a run gives its objects."""

    kind: str
    path: str
    namespace: str
    name: str
    uid: str
    run: str
    owner: str
    expires: datetime.datetime | None

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        when = self.expires.strftime(TIME_FORMAT) if self.expires else "at no time it tells"
        return f"{self.kind} {where} (run {self.run} of {self.owner or 'nobody'}, expires {when})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep removed, what it left because it is not due or not ours, what it could not
    remove or see, and where it looked (empty: in the whole cluster)."""

    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """True if nothing that has expired is left, and that was seen."""
        return not self.left and not self.errors


def sweep(api: Api, namespaces: Iterable[str]) -> SweepReport:
    """Remove every expired object of any run; ``namespaces`` are looked through one by one where
    the whole cluster may not be listed.

    Raises ApiUnreachable if the server does not answer at the start.
    """
    now = server_time(api.request("GET", "/version"))
    if now is None:
        return SweepReport(errors=("the API server does not tell the time, so nothing expires",))
    errors: list[str] = []
    found, limited = _search(api, tuple(dict.fromkeys(namespaces)), errors)
    removed: list[str] = []
    left: list[str] = []
    due = [item for item in found if item.expires is not None and item.expires <= now]
    kept = [str(item) for item in found if item not in due]
    objects = [item for item in due if item.kind != "Namespace"]
    for item in objects:
        _try_delete(api, item, errors)
    stay = _wait_gone(api, objects, errors)
    left += [f"{item}{why}" for item, why in stay.items()]
    removed += [str(item) for item in objects if item not in stay]
    for item in (item for item in due if item.kind == "Namespace"):
        reason = _in_use(api, item.name)
        if reason:
            kept.append(f"{item}: {reason}")
            continue
        _try_delete(api, item, errors)
        stay = _wait_gone(api, [item], errors)
        left += [f"{item}{why}" for why in stay.values()]
        removed += [] if stay else [str(item)]
    return SweepReport(
        removed=tuple(removed),
        kept=tuple(kept),
        left=tuple(left),
        errors=tuple(dict.fromkeys(errors)),
        namespaces=limited,
    )


def read_found(kind: str, path: str, item: Mapping[str, Any]) -> Found:
    """Read one object that carries the label of a run."""
    meta = item["metadata"]
    run = str(meta.get("labels", {}).get(LABEL_RUN, ""))
    notes = meta.get("annotations") or {}
    # A namespace has the name that the intent file gives it; all else is named after its run.
    named = kind == "Namespace" or str(meta["name"]).startswith(f"zt-{run}-")
    expires = None
    if run and named and notes.get(ANNOTATION_OWNER):
        try:
            parsed = datetime.datetime.strptime(str(notes.get(ANNOTATION_EXPIRES, "")), TIME_FORMAT)
            expires = parsed.replace(tzinfo=datetime.UTC)
        except ValueError:
            pass
    return Found(
        kind=kind,
        path=f"{path}/{meta['name']}",
        namespace=str(meta.get("namespace", "")),
        name=str(meta["name"]),
        uid=str(meta.get("uid", "")),
        run=run,
        owner=str(notes.get(ANNOTATION_OWNER, "")),
        expires=expires,
    )


def _search(
    api: Api, namespaces: tuple[str, ...], errors: list[str]
) -> tuple[list[Found], tuple[str, ...]]:
    """Every object with the label of a run, and the namespaces looked through if that was not
    the whole cluster."""
    found: list[Found] = []
    limited: tuple[str, ...] = ()
    for kind, prefix, resource in _KINDS:
        response = api.request("GET", f"{prefix}/{resource}", params={"labelSelector": LABEL_RUN})
        if response.status == 403:
            limited = namespaces
            for namespace in namespaces:
                path = f"{prefix}/namespaces/{namespace}/{resource}"
                part = api.request("GET", path, params={"labelSelector": LABEL_RUN})
                found += _read(kind, prefix, resource, part, path, errors)
            continue
        found += _read(kind, prefix, resource, response, f"{prefix}/{resource}", errors)
    path = "/api/v1/namespaces"
    response = api.request("GET", path, params={"labelSelector": LABEL_RUN})
    if response.status != 403:
        return [*found, *_read("Namespace", "", "", response, path, errors)], limited
    for namespace in namespaces:
        one = api.request("GET", f"{path}/{namespace}")
        if one.ok and LABEL_RUN in one.body["metadata"].get("labels", {}):
            found.append(read_found("Namespace", path, one.body))
        elif not one.ok and one.status != 404:
            errors.append(f"GET {path}/{namespace}: {one.status} {one.message}")
    return found, limited


def _read(
    kind: str, prefix: str, resource: str, response: Response, path: str, errors: list[str]
) -> list[Found]:
    if not response.ok:
        if response.status != 404:
            errors.append(f"GET {path}: {response.status} {response.message}")
        return []
    found = []
    for item in response.body.get("items", ()):
        namespace = item["metadata"].get("namespace", "")
        base = f"{prefix}/namespaces/{namespace}/{resource}" if namespace else path
        found.append(read_found(kind, base, item))
    return found


def _delete(api: Api, item: Found) -> None:
    """Delete exactly this object: by its uid, so that a namesake made meanwhile stays. Objects
    go as a collection of one, because that is the right which runs have."""
    options = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": item.uid},
    }
    if item.kind == "Namespace":
        response = api.request("DELETE", item.path, body=options)
    else:
        response = api.request(
            "DELETE",
            item.path.rpartition("/")[0],
            params={
                "labelSelector": f"{LABEL_RUN}={item.run}",
                "fieldSelector": f"metadata.name={item.name}",
            },
            body={**options, "gracePeriodSeconds": 0},
        )
    if not response.ok and response.status not in (404, 409):
        raise ApiFailure(response, f"DELETE {item.path}")


def _wait_gone(api: Api, items: Iterable[Found], errors: list[str]) -> dict[Found, str]:
    """Those that stay, with what holds each of them as far as the server tells. Only listing is
    used, the right which runs have."""
    waiting = list(items)
    deadline = time.monotonic() + TIMEOUT
    stay: dict[Found, str] = {}
    while waiting:
        stay = {}
        for item in waiting:
            try:
                why = _presence(api, item)
            except (ApiFailure, ApiUnreachable) as error:
                errors.append(str(error))
                why = ""
            if why is not None:
                stay[item] = why
        waiting = list(stay)
        if errors or time.monotonic() > deadline:
            break
        if waiting:
            time.sleep(_POLL)
    return stay


def _presence(api: Api, item: Found) -> str | None:
    """None if the object is gone, else what holds it (or nothing that is known)."""
    if item.kind == "Namespace":
        response = api.request("GET", item.path)
        if response.status == 404:
            return None
        if not response.ok:
            raise ApiFailure(response, f"GET {item.path}")
        listed = [response.body]
    else:
        path, _, name = item.path.rpartition("/")
        listed = api.get(path, fieldSelector=f"metadata.name={name}", labelSelector=LABEL_RUN)[
            "items"
        ]
    for one in listed:
        if one["metadata"]["name"] == item.name and one["metadata"].get("uid") == item.uid:
            return why_it_stays(one)
    return None


def _in_use(api: Api, namespace: str) -> str:
    """Why a namespace must stay: what it holds, or that this cannot be seen. Empty: it may go."""
    for kind, prefix, resource in _CONTENTS:
        path = f"{prefix}/namespaces/{namespace}/{resource}"
        try:
            items = api.get(path)["items"]
        except (ApiFailure, ApiUnreachable) as error:
            return f"whether it is empty cannot be seen: {error}"
        names = [item["metadata"]["name"] for item in items]
        others = [name for name in names if kind != "ConfigMap" or name not in _BY_ITSELF]
        if others:
            return f"it holds {kind} {others[0]}"
    return ""


def _try_delete(api: Api, item: Found, errors: list[str]) -> None:
    try:
        _delete(api, item)
    except (ApiFailure, ApiUnreachable) as error:
        errors.append(str(error))
