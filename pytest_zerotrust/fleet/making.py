"""Making probe pods and the namespaces of our own: by whoever comes first, joined by the rest.

Names are deterministic, and 'already exists' means that another process of the run was first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable, Response
from pytest_zerotrust.cluster.discovery import services_publishing_unready
from pytest_zerotrust.core.intent import ProbeIntent
from pytest_zerotrust.fleet import manifests
from pytest_zerotrust.fleet.cleanup import why_it_stays
from pytest_zerotrust.fleet.plan import PodSpec, Role, unready_conflicts
from pytest_zerotrust.fleet.run import Run

GOING_TIMEOUT = 60.0
"""Seconds within which a namespace of ours that an earlier run is deleting must be gone."""

_POLL = 0.5
_FRESH_NAMESPACE_TRIES = 40
_PARALLEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes probe pods where they may be. ``ours`` are the namespaces of our own, ``allowed`` all
    in which pods may be placed; ``pod_security`` is the level of those that are made."""

    api: Api
    run: Run
    probe: ProbeIntent
    image: str | None
    ours: frozenset[str]
    allowed: frozenset[str]
    pod_security: str
    _ready_namespaces: set[str] = field(default_factory=set, init=False)
    _own_namespace_lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def make(self, specs: Sequence[PodSpec], total: int) -> dict[str, str]:
        """Make pods and wait for none; ``total`` is how many the run needs with them.

        Returns why by the name of each pod that could not be made.
        """
        if self.image is None:
            return dict.fromkeys(
                (spec.name for spec in specs),
                "no image for the probe pods: give --zt-probe-image REF, or probe.image in the "
                "intent file",
            )
        if total > self.probe.max_pods:
            return dict.fromkeys(
                (spec.name for spec in specs),
                f"the run would need {total} probe pods, more than the cap of "
                f"{self.probe.max_pods} (probe.maxPods in the intent file)",
            )
        problems = {spec.name: why for spec in specs if (why := self._refusal(spec))}
        left = [spec for spec in specs if spec.name not in problems]
        try:
            problems |= self._unready_services(left)
            left = [spec for spec in left if spec.name not in problems]
            for name in sorted({spec.namespace for spec in left} & self.ours):
                self._ensure_own_namespace(name)
        except (ApiFailure, ApiUnreachable) as error:
            return problems | dict.fromkeys((spec.name for spec in left), str(error))
        with ThreadPoolExecutor(_PARALLEL) as pool:
            made = zip(left, pool.map(self._create_pod, left), strict=True)
            return problems | {spec.name: problem for spec, problem in made if problem}

    def _refusal(self, spec: PodSpec) -> str:
        if spec.namespace not in self.allowed:
            return (
                f"namespace {spec.namespace} is not one in which probe pods may be placed; "
                f"allowed: {', '.join(sorted(self.allowed))}"
            )
        return spec.refusal

    def _unready_services(self, specs: Sequence[PodSpec]) -> dict[str, str]:
        twins = [spec for spec in specs if spec.role in (Role.TWIN, Role.MESHED, Role.NEWBORN)]
        services = {
            namespace: services_publishing_unready(self.api, namespace)
            for namespace in sorted({spec.namespace for spec in twins})
        }
        return unready_conflicts(twins, services)

    def _create_pod(self, spec: PodSpec) -> str:
        body = manifests.pod(spec, self.run, str(self.image), self.probe)
        path = f"/api/v1/namespaces/{spec.namespace}/pods"
        for attempt in range(_FRESH_NAMESPACE_TRIES):
            try:
                response = self.api.request("POST", path, body=body)
            except ApiUnreachable as error:
                return f"probe pod {spec.where} could not be created: {error}"
            if response.ok or response.status == 409:
                return ""
            fresh = response.status == 403 and "error looking up service account" in (
                response.message
            )
            # Another run left it last, and deleted it between our look at it and this request.
            leaving = response.status == 403 and "is being terminated" in response.message
            if attempt == _FRESH_NAMESPACE_TRIES - 1 or not (fresh or leaving):
                break
            if leaving:
                if spec.namespace not in self.ours:
                    break
                try:
                    self._ensure_own_namespace(spec.namespace, anew=True)
                except (ApiFailure, ApiUnreachable) as error:
                    return f"probe pod {spec.where} could not be created: {error}"
            time.sleep(_POLL / 2)
        return f"probe pod {spec.where} was turned away: {response.status} {response.message}"

    def _ensure_own_namespace(self, name: str, *, anew: bool = False) -> None:
        with self._own_namespace_lock:
            if name in self._ready_namespaces and not anew:
                return
            response = self._own_namespace(name)
            if response.status == 404:
                body = manifests.namespace(name, self.run, pod_security=self.pod_security)
                response = self.api.request("POST", "/api/v1/namespaces", body=body)
            if not response.ok and response.status != 409:
                raise ApiFailure(response, f"own namespace {name}")
            self._ready_namespaces.add(name)

    def _own_namespace(self, name: str) -> Response:
        """Our namespace as it is now (404: not there); one that is being deleted is waited for."""
        deadline = time.monotonic() + GOING_TIMEOUT
        while True:
            response = self.api.request("GET", f"/api/v1/namespaces/{name}")
            going = response.ok and response.body["metadata"].get("deletionTimestamp")
            if not going:
                return response
            if time.monotonic() > deadline:
                raise ApiUnreachable(
                    f"namespace {name} is being deleted and does not go"
                    f"{why_it_stays(response.body)}"
                )
            time.sleep(_POLL)
