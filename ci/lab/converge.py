"""Bring the cluster's objects to exactly those of a scenario, whatever was done to them."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import kube
from .api import Api
from .settings import Lab

Object = dict[str, Any]
# Kind, namespace and name. The lab uses no two kinds of the same name.
Key = tuple[str, str, str]

APPLICATION_NAMESPACES = ("production", "staging", "legacy")
LAB_NAMESPACES = (
    *APPLICATION_NAMESPACES,
    *("default", "kube-system", "istio-system", "gatekeeper-system", "opa"),
)
MANIFESTS = Path(__file__).parent / "manifests"
SCENARIO_LABEL = "lab.zerotrust.dev/scenario"

# Kinds, and where the API server has their objects.
_SECURITY = "/apis/security.istio.io/v1"
_TRAFFIC = "/apis/networking.istio.io/v1"
_REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
NETWORK_KINDS = {
    "NetworkPolicy": "/apis/networking.k8s.io/v1/networkpolicies",
    "CiliumNetworkPolicy": "/apis/cilium.io/v2/ciliumnetworkpolicies",
    "CiliumClusterwideNetworkPolicy": "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
}
MESH_KINDS = {
    "PeerAuthentication": f"{_SECURITY}/peerauthentications",
    "AuthorizationPolicy": f"{_SECURITY}/authorizationpolicies",
    "RequestAuthentication": f"{_SECURITY}/requestauthentications",
    "DestinationRule": f"{_TRAFFIC}/destinationrules",
    "VirtualService": f"{_TRAFFIC}/virtualservices",
    "ServiceEntry": f"{_TRAFFIC}/serviceentries",
    "Sidecar": f"{_TRAFFIC}/sidecars",
    "EnvoyFilter": "/apis/networking.istio.io/v1alpha3/envoyfilters",
}
TEMPLATES = "/apis/templates.gatekeeper.sh/v1/constrainttemplates"
ADMISSION_KINDS = {
    "ConstraintTemplate": TEMPLATES,
    "Config": "/apis/config.gatekeeper.sh/v1alpha1/configs",
    "ValidatingAdmissionPolicy": f"{_REGISTRATION}/validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": f"{_REGISTRATION}/validatingadmissionpolicybindings",
    "ValidatingWebhookConfiguration": f"{_REGISTRATION}/validatingwebhookconfigurations",
    "MutatingWebhookConfiguration": f"{_REGISTRATION}/mutatingwebhookconfigurations",
}
POLICY_KINDS = NETWORK_KINDS | MESH_KINDS | ADMISSION_KINDS
CONSTRAINT_GROUP = "constraints.gatekeeper.sh"
CONSTRAINTS = f"/apis/{CONSTRAINT_GROUP}/v1beta1"
RUNNING_KINDS = {
    "Deployment": "/apis/apps/v1/deployments",
    "ReplicaSet": "/apis/apps/v1/replicasets",
    "Pod": "/api/v1/pods",
}
APPLICATION_KINDS = RUNNING_KINDS | {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/serviceaccounts",
    "Service": "/api/v1/services",
}
# They come with the mesh, not with a scenario.
MESH_WEBHOOKS = frozenset(
    {"istio-sidecar-injector", "istio-validator-istio-system", "istiod-default-validator"}
)


@dataclass(frozen=True)
class Plan:
    """What has to be done to the cluster's objects."""

    delete: tuple[Object, ...]
    create: tuple[Object, ...]
    replace: tuple[Object, ...]

    def keys(self) -> set[Key]:
        """All objects that the plan touches."""
        return {key(item) for item in (*self.delete, *self.create, *self.replace)}


@dataclass(frozen=True)
class Snapshot:
    """The cluster's objects of all kinds that a scenario is concerned with."""

    objects: Mapping[Key, Object]

    def of(self, *kinds: str) -> list[Object]:
        """The objects of these kinds."""
        return [item for item in self.objects.values() if item["kind"] in kinds]


def key(item: Object) -> Key:
    """What tells an object from all others."""
    metadata = item["metadata"]
    return item["kind"], metadata.get("namespace", ""), metadata["name"]


def load(lab: Lab, paths: Iterable[Path], filled: Mapping[str, str] | None = None) -> list[Object]:
    """The objects of manifest files and folders, with placeholders filled in."""
    files = [argument for path in paths for argument in ("--filename", str(path))]
    if not files:
        return []
    # Locally, so that no server needs to know the kinds; the label is one that nothing has.
    command = ["label", "--local", "--recursive", "--output=json", *files, "read-from-file-"]
    text = kube.kubectl(lab, *command).stdout
    for placeholder, value in (filled or {}).items():
        text = text.replace(placeholder, value)
    return list(_documents(text))


def snapshot(lab: Lab) -> Snapshot:
    """Read the cluster once."""
    with Api(lab) as api:
        paths = [*APPLICATION_KINDS.values(), *POLICY_KINDS.values(), *constraint_paths(api)]
        items = [item for path in paths for item in api.items(path)]
    return Snapshot({key(item): item for item in items})


def running(lab: Lab) -> Snapshot:
    """Read only what runs."""
    with Api(lab) as api:
        items = [item for path in RUNNING_KINDS.values() for item in api.items(path)]
    return Snapshot({key(item): item for item in items})


def constraint_paths(api: Api) -> list[str]:
    """Where the constraints are, a place for each kind that a template has defined."""
    status, document = api.request("GET", CONSTRAINTS)
    names = [kind["name"] for kind in document["resources"]] if status == http.client.OK else []
    return [f"{CONSTRAINTS}/{name}" for name in names if "/" not in name]


def plan(
    wanted: Sequence[Object],
    live: Snapshot,
    kinds: Iterable[str],
    unchanged: Callable[[Object, Object], bool],
) -> Plan:
    """What makes the live objects of these kinds the wanted ones.

    Kinds that are policies are taken away where they are not wanted; others are left alone.
    """
    chosen = set(kinds)
    by_key = {key(item): item for item in wanted if _is_of(item, chosen)}
    present = {
        name: item
        for name, item in live.objects.items()
        if _is_of(item, chosen) and "deletionTimestamp" not in item["metadata"]
    }
    delete = [item for name, item in present.items() if name not in by_key and may_be_removed(item)]
    replace = [
        item
        for name, item in by_key.items()
        if name in present and not unchanged(item, present[name])
    ]
    create = [item for name, item in by_key.items() if name not in present]
    # A network policy that was put back gets a new identity, by which the agents' reports tell
    # that they know the one which is meant.
    again = [item for item in replace if item["kind"] in NETWORK_KINDS]
    replace = [item for item in replace if item["kind"] not in NETWORK_KINDS]
    return Plan(tuple(delete + again), tuple(again + create), tuple(replace))


def execute(lab: Lab, steps: Plan) -> None:
    """Do what the plan says."""
    if steps.delete:
        arguments = ("delete", "--ignore-not-found", "--wait=false", "--filename=-")
        kube.kubectl(lab, *arguments, stdin=as_list(steps.delete))
    if steps.replace:
        kube.kubectl(lab, "replace", "--filename=-", stdin=as_list(steps.replace))
    if steps.create:
        kube.apply(lab, as_list(steps.create))


def as_list(items: Iterable[Object]) -> str:
    """Objects as one document for kubectl, without what only the server may say of them."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [_bare(i) for i in items]})


def same(wanted: Object, live: Object) -> bool:
    """Whether a policy is exactly as wanted; labels count, other metadata does not."""
    return _payload(wanted) == _payload(live)


def may_be_removed(item: Object) -> bool:
    """Whether a policy that no scenario wants is the lab's to remove."""
    kind, namespace, name = key(item)
    if kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        return name not in MESH_WEBHOOKS
    if kind in ("NetworkPolicy", "CiliumNetworkPolicy"):
        return namespace in LAB_NAMESPACES
    return kind in POLICY_KINDS or _is_constraint(item)


class Memory:
    """Which state of an application's object is the wanted one.

    The server adds defaults to these, so they cannot be compared with their manifests. What is
    remembered is the state that they had right after the lab wrote them.
    """

    def __init__(self, lab: Lab) -> None:
        self._file = lab.state / "applications.json"
        try:
            self._states: dict[str, list[str]] = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            self._states = {}

    def unchanged(self, wanted: Object, live: Object) -> bool:
        """Whether the object is as the lab wrote it, from the same manifest."""
        return self._states.get(_name(wanted)) == _state(wanted, live)

    def note(self, wanted: Iterable[Object], live: Snapshot) -> None:
        """Remember the state of objects that were just written."""
        for item in wanted:
            self._states[_name(item)] = _state(item, live.objects[key(item)])
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(self._states))
        partial.replace(self._file)


def _documents(text: str) -> Iterable[Object]:
    decoder = json.JSONDecoder()
    place = 0
    while (place := text.find("{", place)) >= 0:
        document, place = decoder.raw_decode(text, place)
        yield document


def _is_of(item: Object, kinds: set[str]) -> bool:
    return item["kind"] in kinds or ("Constraint" in kinds and _is_constraint(item))


def _is_constraint(item: Object) -> bool:
    return bool(item["apiVersion"].startswith(f"{CONSTRAINT_GROUP}/"))


def _bare(item: Object) -> Object:
    kept = {"name", "namespace", "labels", "annotations"}
    metadata = {name: value for name, value in item["metadata"].items() if name in kept}
    return {name: value for name, value in item.items() if name != "status"} | {
        "metadata": metadata
    }


def _payload(item: Object) -> Object:
    ignored = {"metadata", "status"} | ({"spec"} if item["kind"] == "Namespace" else set())
    labels = dict(item["metadata"].get("labels", {}))
    labels.pop("kubernetes.io/metadata.name", None)
    return {name: value for name, value in item.items() if name not in ignored} | {"labels": labels}


def _name(item: Object) -> str:
    return "/".join(key(item))


def _state(wanted: Object, live: Object) -> list[str]:
    metadata = live["metadata"]
    manifest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    # A Deployment's resource version changes with its status, its generation only with its spec.
    version = metadata.get("generation", metadata["resourceVersion"])
    return [manifest, metadata["uid"], str(version)]
