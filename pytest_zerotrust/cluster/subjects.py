"""The pods of a namespace, and the pods that its controllers would make, as policies see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.cluster.ours import is_probe_pod
from pytest_zerotrust.core.policy import Endpoint, Kind

# Where pod templates are found: the path of a list, its kind, and the way to the template.
_CONTROLLERS = (
    ("apis/apps/v1", "deployments", ("spec", "template")),
    ("apis/apps/v1", "statefulsets", ("spec", "template")),
    ("apis/apps/v1", "daemonsets", ("spec", "template")),
    ("apis/batch/v1", "jobs", ("spec", "template")),
    ("apis/batch/v1", "cronjobs", ("spec", "jobTemplate", "spec", "template")),
)
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """``pods`` live, ``others`` have ended or stand for a controller's template. ``gaps`` say what
    could not be read; ``pods_read`` is False if the pods themselves could not."""

    pods: tuple[Endpoint, ...]
    others: tuple[Endpoint, ...]
    gaps: tuple[str, ...]
    pods_read: bool


def read_subjects(api: Api, namespace: str, namespace_labels: Mapping[str, str] | None) -> Subjects:
    """Read them; probe pods of ours are left out. Never raises: what is missing is a gap."""
    gaps: list[str] = []
    pods: list[Endpoint] = []
    others: list[Endpoint] = []
    items = _items(api, f"api/v1/namespaces/{namespace}/pods", gaps)
    pods_read = items is not None
    for item in items or ():
        if is_probe_pod(item):
            continue
        name = str(item["metadata"]["name"])
        ended = item.get("status", {}).get("phase") in _ENDED
        place = others if ended else pods
        place.append(_endpoint(item, name, namespace, namespace_labels))
    for group, kind, way in _CONTROLLERS:
        for item in _items(api, f"{group}/namespaces/{namespace}/{kind}", gaps) or ():
            template: Any = item
            for word in way:
                template = template.get(word) or {}
            name = f"{kind}/{item['metadata']['name']}"
            others.append(_endpoint(template, name, namespace, namespace_labels))
    return Subjects(pods=tuple(pods), others=tuple(others), gaps=tuple(gaps), pods_read=pods_read)


def _items(api: Api, path: str, gaps: list[str]) -> list[Mapping[str, Any]] | None:
    what = path.rpartition("/")[2]
    try:
        response = api.request("GET", f"/{path}")
    except (ApiUnreachable, OSError) as error:
        gaps.append(f"{what} could not be read: {error}")
        return None
    items = response.body.get("items")
    if not response.ok or not isinstance(items, list):
        gaps.append(f"{what} could not be read: {response.status} {response.message}")
        return None
    return items


def _endpoint(
    item: Mapping[str, Any], name: str, namespace: str, namespace_labels: Mapping[str, str] | None
) -> Endpoint:
    meta, spec = item.get("metadata") or {}, item.get("spec") or {}
    return Endpoint(
        kind=Kind.POD,
        name=name,
        namespace=namespace,
        labels=dict(meta.get("labels") or {}),
        namespace_labels=namespace_labels,
        service_account=str(spec.get("serviceAccountName") or "default"),
        node=str(spec.get("nodeName") or ""),
        host_network=bool(spec.get("hostNetwork")),
    )
