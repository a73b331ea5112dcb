"""The probe pods of a run in the cluster: created by whoever comes first, joined by the rest.

Names are deterministic, and 'already exists' means that another process of the run was first. No
worker ever deletes anything; see ``cleanup``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_zerotrust.cluster.api import Api, ApiFailure, ApiUnreachable
from pytest_zerotrust.cluster.exec import ExecFailed
from pytest_zerotrust.core.intent import ProbeIntent
from pytest_zerotrust.fleet import manifests
from pytest_zerotrust.fleet.channel import ask
from pytest_zerotrust.fleet.making import Maker
from pytest_zerotrust.fleet.plan import PodSpec
from pytest_zerotrust.fleet.run import ANNOTATION_REACHED, Run
from pytest_zerotrust.fleet.state import PodState, read_state
from pytest_zerotrust.fleet.waiting import Member, wait_for_pods

__all__ = ["Fleet", "Member"]

_PARALLEL_EXECS = 64


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
    ) -> None:
        self._api = api
        self.run = run
        self._probe = probe
        ours = frozenset((probe.namespace, *also_own))
        self._maker = Maker(
            api=api,
            run=run,
            probe=probe,
            image=image,
            ours=ours,
            allowed=ours.union(allowed_namespaces),
            pod_security=pod_security,
        )
        self._specs: dict[str, PodSpec] = {}
        self._problems: dict[str, str] = {}
        self._services: dict[tuple[str, str], str] = {}

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
            self._specs |= new
            self._problems |= self._maker.make(list(new.values()), len(self._specs))

    def members(self, specs: Iterable[PodSpec]) -> dict[str, Member]:
        """Create those pods that are not there yet, wait for all of them, return each by name.

        Never raises for a single pod that cannot be had; its ``problem`` says why.
        """
        wanted = {spec.name: spec for spec in specs}
        self.begin(wanted.values())
        return wait_for_pods(wanted, self._problems, self.look)

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
