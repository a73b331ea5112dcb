"""From a check to requests: the compliant twin and the bad pod, over the check's way in.

Every request is a server-side dry run with strict field validation: a server that does not know a
field must say so, or the bad pod would be a good one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.admission.corpus.model import TEMPLATES, Way
from pytest_zerotrust.admission.corpus.pods import compliant_pod, ephemeral_container
from pytest_zerotrust.admission.corpus.select import CaseCheck
from pytest_zerotrust.admission.gated import gated_name
from pytest_zerotrust.admission.pairs import Pair, PairCheck, build_pair
from pytest_zerotrust.core.admission_diff import ABSENT, Path, counterpart, dotted
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import AdmissionIntent
from pytest_zerotrust.fleet.run import Run

_JSON = "application/json"
_DRY = {"dryRun": "All", "fieldValidation": "Strict"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One dry run. ``user`` is who it is sent as, if not ourselves."""

    method: str
    path: str
    body: Mapping[str, Any]
    params: Mapping[str, str] = field(default_factory=lambda: dict(_DRY))
    content_type: str = _JSON
    user: str = ""

    @property
    def key(self) -> str:
        """The same for requests that are the same."""
        return json.dumps([self.method, self.path, self.user, self.params, self.body])


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A minimal pair of requests. ``path`` leads to the tested field in the body of ``bad``.

    ``pods``: where the pair are templates, the pair of the pods that come from them. ``optional``:
    older servers do not know the field. ``policy`` is the policy that must answer, if one must.
    """

    title: str
    control: str
    subject: str
    good: Request
    bad: Request
    path: Path
    engine: str
    policy: str = ""
    remedy: str = ""
    optional: bool = False
    pods: Trial | None = None

    @property
    def requests(self) -> tuple[Request, Request]:
        """Both, the twin first."""
        return self.good, self.bad

    @property
    def where(self) -> str:
        """The tested field as people write it."""
        return dotted(self.path)

    def value(self, request: Request) -> Any:
        """What stands in the tested field of a request."""
        return counterpart(request.body, request.body, self.path)


def trial_of(check: PairCheck | CaseCheck, run: Run, intent: AdmissionIntent) -> Trial:
    """The requests of a check."""
    if isinstance(check, PairCheck):
        pair = build_pair(check, run.name("dry", check.case, check.list_name), intent.registries[0])
        title = f"{check.control} {check.case} in {check.list_name}, namespace {check.namespace}"
        return trial_of_pods(
            pair, title=title, control=check.control, subject=check.subject, engine=intent.engine
        )
    return _of_case(check, run)


def trial_of_pods(
    pair: Pair,
    *,
    title: str,
    control: str,
    subject: str,
    engine: str,
    policy: str = "",
    user: str = "",
    remedy: str = "",
    optional: bool = False,
) -> Trial:
    """A trial that creates the two pods of a pair."""
    known = CONTROLS.get(control)
    return Trial(
        title=title,
        control=control,
        subject=subject,
        good=creation(pair.good, user),
        bad=creation(pair.bad, user),
        path=pair.path,
        engine=engine,
        policy=policy,
        remedy=remedy or (known.remedy if known else ""),
        optional=optional,
    )


def creation(manifest: Mapping[str, Any], user: str = "") -> Request:
    """Create an object of one of the kinds in ``PLURALS``."""
    namespace = manifest["metadata"]["namespace"]
    group, plural = PLURALS[manifest["kind"]]
    return Request(
        method="POST", path=f"{group}/namespaces/{namespace}/{plural}", body=manifest, user=user
    )


PLURALS = {
    "Pod": ("/api/v1", "pods"),
    "ReplicationController": ("/api/v1", "replicationcontrollers"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "ReplicaSet": ("/apis/apps/v1", "replicasets"),
    "Job": ("/apis/batch/v1", "jobs"),
    "CronJob": ("/apis/batch/v1", "cronjobs"),
}
KINDS = {
    Way.DEPLOYMENT: "Deployment",
    Way.STATEFUL_SET: "StatefulSet",
    Way.DAEMON_SET: "DaemonSet",
    Way.REPLICA_SET: "ReplicaSet",
    Way.REPLICATION_CONTROLLER: "ReplicationController",
    Way.JOB: "Job",
    Way.CRON_JOB: "CronJob",
}


def _of_case(check: CaseCheck, run: Run) -> Trial:
    case = check.case
    pod = compliant_pod(run.name("dry"), check.namespace, check.registry)
    pod["metadata"]["labels"] |= {"zerotrust.dev/dry-run": run.id}
    if case.way is Way.EPHEMERAL:
        pod["spec"]["ephemeralContainers"] = [ephemeral_container(check.registry)]
    good, bad = case.pods(pod)
    words = case.name.replace("-in-", " in ", 1) if "-in-" in case.name else case.name
    title = f"{check.control} {words}, namespace {check.namespace}"
    if check.user:
        title += f", as {check.user}"
    pair = trial_of_pods(
        Pair(good=good, bad=bad, path=case.path),
        title=title,
        control=check.control,
        subject=check.subject,
        engine=check.engine,
        user=check.user,
        remedy=case.remedy,
        optional=case.optional,
    )
    requests = [_over(case.way, request, run) for request in pair.requests]
    return Trial(
        title=title,
        control=pair.control,
        subject=pair.subject,
        good=requests[0],
        bad=requests[1],
        path=_path_in(case.way, case.path),
        engine=pair.engine,
        remedy=pair.remedy,
        optional=pair.optional,
        pods=pair if case.way in TEMPLATES else None,
    )


def _over(way: Way, request: Request, run: Run) -> Request:
    """The request that brings the same pod in by another way."""
    pod = request.body
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    pods = f"/api/v1/namespaces/{namespace}/pods"
    if way is Way.CREATE:
        return request
    if way is Way.GENERATE_NAME:
        body = copy.deepcopy(dict(pod))
        body["metadata"]["generateName"] = f"{body['metadata'].pop('name')}-"
        return Request(method="POST", path=pods, body=body, user=request.user)
    if way is Way.APPLY:
        return Request(
            method="PATCH",
            path=f"{pods}/{name}",
            body=pod,
            params={**_DRY, "fieldManager": "pytest-zerotrust", "force": "true"},
            content_type="application/apply-patch+yaml",
            user=request.user,
        )
    if way is Way.EPHEMERAL:
        return _patch(f"{pods}/{gated_name(run, namespace)}/ephemeralcontainers", request, {
            "spec": {"ephemeralContainers": pod["spec"]["ephemeralContainers"]}
        })  # fmt: skip
    if way is Way.UPDATE:
        images = {
            list_name: [{"name": c["name"], "image": c["image"]} for c in pod["spec"][list_name]]
            for list_name in ("containers", "initContainers")
        }
        return _patch(f"{pods}/{gated_name(run, namespace)}", request, {"spec": images})
    return creation(_workload(KINDS[way], pod), request.user)


def _patch(path: str, request: Request, body: Mapping[str, Any]) -> Request:
    return Request(
        method="PATCH",
        path=path,
        body=body,
        content_type="application/strategic-merge-patch+json",
        user=request.user,
    )


def _workload(kind: str, pod: Mapping[str, Any]) -> dict[str, Any]:
    """A workload whose template is this pod. Its replicas are none, and it is never stored."""
    labels = dict(pod["metadata"]["labels"])
    meta = {key: value for key, value in pod["metadata"].items() if key in ("labels",)}
    spec = copy.deepcopy(dict(pod["spec"]))
    if kind in ("Job", "CronJob"):
        spec["restartPolicy"] = "Never"
    template = {"metadata": meta, "spec": spec}
    metadata = {
        "name": pod["metadata"]["name"],
        "namespace": pod["metadata"]["namespace"],
        "labels": labels,
    }
    body: dict[str, Any] = {"template": template}
    group = PLURALS[kind][0].removeprefix("/apis/").removeprefix("/api/")
    if kind == "ReplicationController":
        body |= {"replicas": 0, "selector": labels}
    elif kind in ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet"):
        body["selector"] = {"matchLabels": labels}
        body |= {"replicas": 0} if kind != "DaemonSet" else {}
        body |= {"serviceName": "none"} if kind == "StatefulSet" else {}
    elif kind == "CronJob":
        body = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": body}}
    else:
        body["suspend"] = True
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": body}


def _path_in(way: Way, path: Path) -> Path:
    """Where the tested field of a pod stands in the body that goes over this way."""
    if way is Way.CRON_JOB:
        return ("spec", "jobTemplate", "spec", "template", *path)
    return ("spec", "template", *path) if way in TEMPLATES else path


def shown(value: Any) -> str:
    """A value in a sentence; a field that is left out is unset."""
    return "unset" if value is ABSENT else repr(value)
