"""The probe pods of a run in the cluster: created by whoever comes first, joined by the rest.

Names are deterministic, and 'already exists' means that another process of the run was first. No
worker ever deletes anything; see ``cleanup``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable, Response
from pytest_zerotrust.cluster.discovery import services_publishing_unready
from pytest_zerotrust.cluster.exec import ExecFailed
from pytest_zerotrust.core.intent import ProbeIntent
from pytest_zerotrust.fleet import manifests
from pytest_zerotrust.fleet.channel import ask
from pytest_zerotrust.fleet.cleanup import why_it_stays
from pytest_zerotrust.fleet.plan import PodSpec, Role, unready_conflicts
from pytest_zerotrust.fleet.run import ANNOTATION_REACHED, Run
from pytest_zerotrust.fleet.state import PodState, read_state

START_TIMEOUT = 90.0
"""Seconds within which a probe pod must run."""

PROXY_TIMEOUT = 45.0
"""Seconds within which the mesh proxy of a probe pod must be ready."""

GOING_TIMEOUT = 60.0
"""Seconds within which a namespace of ours that an earlier run is deleting must be gone."""

HOPELESS_AFTER = 5.0
"""Seconds for which a pod must stay in a hopeless state before it is given up."""

PULLED_WITHIN = 15.0
"""The same for an image that could not be pulled: the kubelet tries again after 10 seconds."""

_POLL = 0.5
_LONGEST_POLL = 2.0
_POLL_PER_POD = 0.02
_FRESH_NAMESPACE_TRIES = 40
_PARALLEL = 8
_PARALLEL_EXECS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One probe pod of the fleet: what was wanted and what became of it."""

    spec: PodSpec
    state: PodState | None
    problem: str

    @property
    def usable(self) -> bool:
        """True if the pod can be asked."""
        return self.state is not None and self.state.usable and not self.problem


class Fleet:
    """Creates, waits for and asks the probe pods of one run."""

    def __init__(
        self,
        api: Api,
        run: Run,
        probe: ProbeIntent,
        image: str | None,
        *,
        allowed_namespaces: Sequence[str],
        pod_security: str,
        also_own: Sequence[str] = (),
        announce: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._api = api
        self.run = run
        self._probe = probe
        self._image = image
        self._ours = frozenset((probe.namespace, *also_own))
        self._allowed = self._ours.union(allowed_namespaces)
        self._pod_security = pod_security
        self._announce = announce
        self._specs: dict[str, PodSpec] = {}
        self._problems: dict[str, str] = {}
        self._services: dict[tuple[str, str], str] = {}
        self._ready_namespaces: set[str] = set()
        self._own_namespace_lock = threading.Lock()

    @property
    def own_namespace(self) -> str:
        """The namespace of our own."""
        return self._probe.namespace

    @property
    def api(self) -> Api:
        """The API server that the fleet lives behind."""
        return self._api

    def begin(self, specs: Iterable[PodSpec]) -> None:
        """Create those pods that are not there yet, and wait for none of them."""
        new = {spec.name: spec for spec in specs if spec.name not in self._specs}
        if new:
            self._create(list(new.values()))

    def members(self, specs: Iterable[PodSpec]) -> dict[str, Member]:
        """Create those pods that are not there yet, wait for all of them, return each by name.

        Never raises for a single pod that cannot be had; its ``problem`` says why.
        """
        wanted = {spec.name: spec for spec in specs}
        self.begin(wanted.values())
        return self._wait(wanted)

    def look(self, names: Iterable[str]) -> dict[str, PodState]:
        """The present state of pods, by name; one list call for each namespace."""
        wanted = set(names)
        namespaces = sorted({self._specs[name].namespace for name in wanted})
        states = {}
        for namespace in namespaces:
            items = self._api.get(
                f"/api/v1/namespaces/{namespace}/pods", labelSelector=self.run.selector
            )["items"]
            for item in items:
                state = read_state(item)
                if state.name in wanted:
                    states[state.name] = state
        return states

    def key_of(self, spec: PodSpec) -> bytes:
        """The key by which this pod proves itself."""
        return self.run.pod_key(spec.namespace, spec.name)

    def ask_all(
        self, requests: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> dict[str, Mapping[str, Any] | str]:
        """Send each pod (by name) its batch, all at once.

        Returns each agent's verified reply (its ``results`` are in the order of the probes), or a
        text that says why there is none.
        """

        def one(name: str) -> Mapping[str, Any] | str:
            spec = self._specs[name]
            try:
                return ask(
                    self._api.connection,
                    namespace=spec.namespace,
                    pod=spec.name,
                    key=self.key_of(spec),
                    probes=requests[name],
                )
            except ExecFailed as error:
                return str(error)

        with ThreadPoolExecutor(_PARALLEL_EXECS) as pool:
            return dict(zip(requests, pool.map(one, requests), strict=True))

    def service_ip(self, target: PodSpec) -> tuple[str, str]:
        """Put a Service of our own before a pod; return (its IP, "") or ("", problem)."""
        name = self.run.name("svc", target.subject)
        known = self._services.get((target.namespace, name))
        if known:
            return known, ""
        spec = self._service(target, manifests.service(name, target, self.run))
        if isinstance(spec, str):
            return "", spec
        ip = str(spec.get("clusterIP", ""))
        self._services[(target.namespace, name)] = ip
        return ip, ""

    def node_ports(self, target: PodSpec, *, local: bool) -> tuple[dict[tuple[int, str], int], str]:
        """Put a Service of our own with node ports before a pod.

        Returns the node port of each (port, protocol), or a problem. ``local`` is its
        externalTrafficPolicy.
        """
        name = self.run.name("door", target.subject, "local" if local else "cluster")
        body = manifests.node_port_service(name, target, self.run, local=local)
        spec = self._service(target, body)
        if isinstance(spec, str):
            return {}, spec
        return {
            (int(port["port"]), str(port["protocol"])): int(port["nodePort"])
            for port in spec.get("ports", ())
            if port.get("nodePort")
        }, ""

    def _service(self, target: PodSpec, body: Mapping[str, Any]) -> Mapping[str, Any] | str:
        """The spec of a Service of ours, made now or by another process; else what is wrong."""
        path, name = f"/api/v1/namespaces/{target.namespace}/services", body["metadata"]["name"]
        try:
            response = self._api.request("POST", path, body=body)
            if response.status == 409:
                response = self._api.request("GET", f"{path}/{name}")
        except ApiUnreachable as error:
            return str(error)
        if not response.ok:
            return f"Service {target.namespace}/{name}: {response.status} {response.message}"
        spec: Mapping[str, Any] = response.body["spec"]
        return spec

    def seal(self, note: str) -> bool:
        """Make the policy that closes the sealed canaries; ``note`` says what was reached before.

        Returns True if it was made now, False if another process of the run was first. Raises
        ApiFailure or ApiUnreachable.
        """
        own = self.own_namespace
        path = f"/apis/networking.k8s.io/v1/namespaces/{own}/networkpolicies"
        body = manifests.seal(self.run.name("seal"), own, self.run, note)
        response = self._api.request("POST", path, body=body)
        if not response.ok and response.status != 409:
            raise ApiFailure(response, f"policy of the sealed canary in {own}")
        return response.ok

    def declare(self, policy: Mapping[str, Any]) -> None:
        """Make a policy of ours, unless another process of the run was first.

        Raises ApiFailure or ApiUnreachable.
        """
        where = policy["metadata"]["namespace"]
        path = f"/apis/networking.k8s.io/v1/namespaces/{where}/networkpolicies"
        response = self._api.request("POST", path, body=policy)
        if not response.ok and response.status != 409:
            raise ApiFailure(response, f"policy {policy['metadata']['name']} in {where}")

    def seal_note(self) -> str | None:
        """The note at the policy of the sealed canaries (empty if it has none), or None if the
        policy is not there. Raises ApiFailure or ApiUnreachable."""
        own = self.own_namespace
        path = f"/apis/networking.k8s.io/v1/namespaces/{own}/networkpolicies"
        for item in self._api.get(path, labelSelector=self.run.selector)["items"]:
            meta = item["metadata"]
            if meta["name"] == self.run.name("seal"):
                return str((meta.get("annotations") or {}).get(ANNOTATION_REACHED, ""))
        return None

    def service_host(self, target: PodSpec) -> str:
        """The DNS name of the Service of our own before a pod, without the cluster's domain."""
        return f"{self.run.name('svc', target.subject)}.{target.namespace}.svc"

    # -- creating

    def _create(self, specs: Sequence[PodSpec]) -> None:
        outside = sorted({s.namespace for s in specs} - self._allowed)
        for spec in specs:
            self._specs[spec.name] = spec
            if spec.refusal:
                self._problems[spec.name] = spec.refusal
            if spec.namespace in outside:
                self._problems[spec.name] = (
                    f"namespace {spec.namespace} is not one in which probe pods may be placed; "
                    f"allowed: {', '.join(sorted(self._allowed))}"
                )
        if self._image is None:
            for spec in specs:
                self._problems[spec.name] = (
                    "no image for the probe pods: give --zt-probe-image REF, or probe.image in "
                    "the intent file"
                )
            return
        if len(self._specs) > self._probe.max_pods:
            for spec in specs:
                self._problems[spec.name] = (
                    f"the run would need {len(self._specs)} probe pods, more than the cap of "
                    f"{self._probe.max_pods} (probe.maxPods in the intent file)"
                )
            return
        specs = [spec for spec in specs if spec.name not in self._problems]
        try:
            self._refuse_unready_services(specs)
            specs = [spec for spec in specs if spec.name not in self._problems]
            for name in sorted({spec.namespace for spec in specs} & self._ours):
                self._ensure_own_namespace(name)
        except (ApiFailure, ApiUnreachable) as error:
            for spec in specs:
                self._problems[spec.name] = str(error)
            return
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for spec, problem in zip(specs, pool.map(self._create_pod, specs), strict=True):
                if problem:
                    self._problems[spec.name] = problem

    def _refuse_unready_services(self, specs: Sequence[PodSpec]) -> None:
        twins = [spec for spec in specs if spec.role in (Role.TWIN, Role.MESHED, Role.NEWBORN)]
        services = {
            namespace: services_publishing_unready(self._api, namespace)
            for namespace in sorted({spec.namespace for spec in twins})
        }
        self._problems.update(unready_conflicts(twins, services))

    def _create_pod(self, spec: PodSpec) -> str:
        body = manifests.pod(spec, self.run, str(self._image), self._probe)
        path = f"/api/v1/namespaces/{spec.namespace}/pods"
        for attempt in range(_FRESH_NAMESPACE_TRIES):
            try:
                response = self._api.request("POST", path, body=body)
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
                if spec.namespace not in self._ours:
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
                body = manifests.namespace(name, self.run, pod_security=self._pod_security)
                response = self._api.request("POST", "/api/v1/namespaces", body=body)
            if not response.ok and response.status != 409:
                raise ApiFailure(response, f"own namespace {name}")
            self._ready_namespaces.add(name)

    def _own_namespace(self, name: str) -> Response:
        """Our namespace as it is now (404: not there); one that is being deleted is waited for."""
        deadline = time.monotonic() + GOING_TIMEOUT
        while True:
            response = self._api.request("GET", f"/api/v1/namespaces/{name}")
            going = response.ok and response.body["metadata"].get("deletionTimestamp")
            if not going:
                return response
            if time.monotonic() > deadline:
                raise ApiUnreachable(
                    f"namespace {name} is being deleted and does not go"
                    f"{why_it_stays(response.body)}"
                )
            time.sleep(_POLL)

    # -- waiting

    def _wait(self, wanted: Mapping[str, PodSpec]) -> dict[str, Member]:
        begun = time.monotonic()
        names = [name for name in wanted if name not in self._problems]
        states: dict[str, PodState] = {}
        hopeless_since: dict[str, float] = {}
        error = ""
        while names:
            try:
                states = self.look(names)
                error = ""
            except (ApiFailure, ApiUnreachable) as failure:
                error = str(failure)
            now = time.monotonic()
            pending = [n for n in names if not _settled(wanted[n], states.get(n))]
            for name in pending:
                state = states.get(name)
                # They were all created, so one that a good answer lacks was deleted.
                gone = state is None and not error
                if gone or (state is not None and state.hopeless):
                    hopeless_since.setdefault(name, now)
                else:
                    hopeless_since.pop(name, None)
            open_ = [
                n for n in pending if now - hopeless_since.get(n, now) < _patience(states.get(n))
            ]
            if all(_late(wanted[n], now - begun) for n in open_):
                break
            time.sleep(_pause(len(pending)))
        return {name: self._member(spec, states.get(name), error) for name, spec in wanted.items()}

    def _member(self, spec: PodSpec, state: PodState | None, error: str) -> Member:
        problem = self._problems.get(spec.name, "")
        if not problem and state is None:
            problem = f"probe pod {spec.where} is not there: {error or 'it was deleted'}"
        elif not problem and state is not None and not (state.usable and state.sidecar_ready):
            problem = f"probe pod {spec.where}: {state.problem}"
        if not problem and spec.role is Role.MESHED and state is not None and not state.sidecar:
            problem = f"probe pod {spec.where}: the mesh injected no proxy into it"
        return Member(spec=spec, state=state, problem=problem)


def _pause(pending: int) -> float:
    """Seconds between two looks: each costs the server more, the more pods it is about."""
    return max(_POLL, min(_LONGEST_POLL, _POLL_PER_POD * pending))


def _patience(state: PodState | None) -> float:
    """For how many seconds a hopeless pod is waited for."""
    return PULLED_WITHIN if state is not None and state.pulling else HOPELESS_AFTER


def _late(spec: PodSpec, waited: float) -> bool:
    """True if a pod has had its time to start (``waited`` in seconds)."""
    limit = min(PROXY_TIMEOUT, START_TIMEOUT) if spec.role is Role.MESHED else START_TIMEOUT
    return waited > limit


def _settled(spec: PodSpec, state: PodState | None) -> bool:
    """True if nothing more needs to be waited for."""
    if state is None or not state.usable or not state.sidecar_ready:
        return False
    return state.answers_kubelet or not spec.listens
