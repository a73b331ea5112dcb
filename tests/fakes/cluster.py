"""The objects of a pretended cluster, and what its API answers about them."""

from __future__ import annotations

import copy
import itertools
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.world import Place, World

Object = dict[str, Any]
Admission = Callable[[Object], tuple[int, str] | None]
"""Says with which status and message a pod is turned away, or None if it is admitted."""

_PATH = re.compile(
    r"^/(?:api/v1|apis/networking\.k8s\.io/v1)"
    r"/namespaces(?:/(?P<namespace>[^/]+)(?:/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?)?)?$"
)
_EVERYWHERE = re.compile(r"^/(?:api/v1|apis/[a-z0-9./]+/v\d)/([a-z]+)$")
GATEKEEPER = 'admission webhook "validation.gatekeeper.sh" denied the request: '


_WORKLOADS = re.compile(r"/(\w+sets|deployments|jobs|cronjobs|replicationcontrollers)$")
FAILS_CLOSED: Object = {
    "name": "validation.gatekeeper.sh",
    "failurePolicy": "Fail",
    "rules": [{"apiGroups": ["*"], "operations": ["*"], "resources": ["*/*"]}],
}


def gatekeeper(pod: Object) -> tuple[int, str] | None:
    """The three rules of the reference scenario over all containers, as Gatekeeper tells them."""
    spec = pod["spec"]
    lists = ("initContainers", "containers", "ephemeralContainers")
    for container in (c for name in lists for c in spec.get(name, ())):
        context = spec.get("securityContext", {}) | container.get("securityContext", {})
        if context.get("privileged"):
            return 403, GATEKEEPER + "[restricted] privileged container"
        if not context.get("runAsNonRoot") or context.get("runAsUser") == 0:
            return 403, GATEKEEPER + "[restricted] container may run as root"
        if not container["image"].startswith("registry.company.com/"):
            return 403, GATEKEEPER + "[restricted] image from elsewhere"
    for volume in spec.get("volumes", ()):
        if (
            not volume.get("image", {})
            .get("reference", "registry.company.com/")
            .startswith("registry.company.com/")
        ):
            return 403, GATEKEEPER + "[restricted] volume from elsewhere"
    return None


def nobody(pod: Object) -> tuple[int, str] | None:
    """Admits everything."""
    return None


@dataclass
class Cluster:
    """Objects by namespace and kind, and the rules by which requests are answered."""

    world: World = field(default_factory=World)
    username: str = "tester"
    admission: Admission = gatekeeper
    denied: Callable[[Mapping[str, str]], bool] = lambda attributes: False
    nodes: tuple[str, ...] = ("node-1", "node-2")
    undeletable: bool = False
    cluster_wide: bool = True
    pods_start: bool = True
    webhook: Object = field(default_factory=lambda: dict(FAILS_CLOSED))

    def __post_init__(self) -> None:
        self.namespaces: dict[str, Object] = {}
        self.objects: dict[tuple[str, str], dict[str, Object]] = {}
        self.keys: dict[str, bytes] = {}
        self._numbers = itertools.count(1)
        self._places = itertools.cycle(self.nodes)
        self._lock = threading.RLock()

    # -- filling it

    def add_workload(self, namespace: str, app: str, *ports: int) -> None:
        """A namespace with one running pod of a workload and a Service before it."""
        self.namespaces.setdefault(namespace, {"metadata": {"name": namespace, "labels": {}}})
        containers = [{"name": "app", "ports": [{"containerPort": p} for p in ports]}]
        self._add_pod(
            namespace, {"metadata": {"name": f"{app}-1", "labels": {"app": app}},
                        "spec": {"containers": containers}},
        )  # fmt: skip
        deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        self._kind(namespace, "networkpolicies")["default-deny"] = {
            "metadata": {"name": "default-deny", "namespace": namespace, "labels": {}},
            "spec": deny,
        }
        if ports:
            spec = {"selector": {"app": app}, "ports": [{"port": p} for p in ports]}
            self._add_service(namespace, {"metadata": {"name": app}, "spec": spec})

    def _add_pod(self, namespace: str, body: Object) -> Object:
        number = next(self._numbers)
        labels = body["metadata"].get("labels", {})
        statuses = [{"name": c["name"], "ready": True, "state": {"running": {}}}
                    for c in body["spec"]["containers"]]  # fmt: skip
        if labels.get("sidecar.istio.io/inject") == "true":
            statuses.append({"name": "istio-proxy", "ready": True, "state": {"running": {}}})
        for variable in body["spec"]["containers"][0].get("env", ()):
            if variable["name"] == "ZT_KEY":
                self.keys[body["metadata"]["name"]] = variable["value"].encode()
        body["metadata"].update(namespace=namespace, uid=f"uid-{number}")
        body["spec"]["nodeName"] = self._node(body)
        body["status"] = {
            "phase": "Running",
            "podIP": f"10.244.{number // 250}.{number % 250}",
            "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        if not self.pods_start:
            body["status"] = {"phase": "Pending"}
        self._kind(namespace, "pods")[body["metadata"]["name"]] = body
        return body

    def _node(self, body: Object) -> str:
        affinity = body["spec"].get("affinity", {}).get("nodeAffinity", {})
        for kind, terms in affinity.items():
            demand = kind.startswith("required")
            chosen = terms["nodeSelectorTerms"][0] if demand else terms[0]["preference"]
            return str(chosen["matchFields"][0]["values"][0])
        return next(self._places)

    def _add_service(self, namespace: str, body: Object) -> Object:
        body["metadata"]["namespace"] = namespace
        body["spec"]["clusterIP"] = f"10.96.1.{next(self._numbers)}"
        self._kind(namespace, "services")[body["metadata"]["name"]] = body
        return body

    def _kind(self, namespace: str, resource: str) -> dict[str, Object]:
        return self.objects.setdefault((namespace, resource), {})

    # -- answering

    def answer(
        self, method: str, path: str, query: Mapping[str, str], body: Object
    ) -> tuple[int, Object]:
        """Status and body of one request."""
        with self._lock:
            if path == "/version":
                return 200, {"gitVersion": "v1.35.4"}
            if path == "/apis":
                return 200, {"groups": []}
            if path.endswith("/selfsubjectreviews"):
                return 201, {"status": {"userInfo": {"username": self.username}}}
            if path.endswith("/selfsubjectaccessreviews"):
                allowed = not self.denied(body["spec"]["resourceAttributes"])
                return 201, {"status": {"allowed": allowed}}
            if path.endswith("/validatingwebhookconfigurations"):
                return 200, {"items": [{"metadata": {"name": "rules"}, "webhooks": [self.webhook]}]}
            if path.startswith("/apis/constraints.gatekeeper.sh"):
                return self._constraints(path)
            if method == "POST" and _WORKLOADS.search(path):
                return 201, body
            if method == "PATCH":
                return self._patch(path, body)
            match = _PATH.match(path)
            everywhere = _EVERYWHERE.match(path)
            if everywhere is not None and method == "GET":
                if not self.cluster_wide:
                    return _status(403, f"cannot list {everywhere[1]} at the cluster scope")
                return 200, {"items": self._all(everywhere[1], query)}
            if match is None:
                return _status(404, f"the server could not find {path}")
            namespace, resource, name = match.group("namespace", "resource", "name")
            if resource is None:
                return self._namespace(method, namespace, body)
            if namespace not in self.namespaces:
                return _status(404, f'namespaces "{namespace}" not found')
            if name is not None:
                return self._one(method, namespace, resource, name)
            return self._collection(method, namespace, resource, query, body)

    def _constraints(self, path: str) -> tuple[int, Object]:
        """The one constraint of ``gatekeeper``, which looks at everything."""
        version = "constraints.gatekeeper.sh/v1beta1"
        answers: dict[str, Object] = {
            "/apis/constraints.gatekeeper.sh": {"preferredVersion": {"groupVersion": version}},
            f"/apis/{version}": {"resources": [{"name": "restricts", "kind": "Restricts"}]},
            f"/apis/{version}/restricts/restricted": {"spec": {}},
        }
        found = answers.get(path)
        return (200, found) if found else _status(404, f"the server could not find {path}")

    def _all(self, resource: str, query: Mapping[str, str]) -> list[Object]:
        kinds = [o for (_, kind), o in self.objects.items() if kind == resource]
        found = [item for objects in kinds for item in objects.values()]
        if resource == "namespaces":
            found = list(self.namespaces.values())
        return [item for item in found if selected(item, query.get("labelSelector", ""))]

    def _patch(self, path: str, body: Object) -> tuple[int, Object]:
        """A dry run of a change: of labels of a namespace, of an admitted pod, or the apply of a
        new one."""
        if path.removeprefix("/api/v1/namespaces/") in self.namespaces:
            return 200, body
        _, namespace, _, name, *_ = path.removeprefix("/api/v1/").split("/")
        found = self._kind(namespace, "pods").get(name)
        if found is None and "kind" not in body:
            return _status(404, f'pods "{name}" not found')
        changed = copy.deepcopy(found or body)
        for list_name, containers in body["spec"].items() if found else ():
            known = {c["name"]: c for c in changed["spec"].get(list_name, ())}
            known |= {c["name"]: known.get(c["name"], {}) | c for c in containers}
            changed["spec"][list_name] = list(known.values())
        refused = self.admission(changed)
        return _status(*refused) if refused is not None else (200, changed)

    def _namespace(self, method: str, name: str | None, body: Object) -> tuple[int, Object]:
        if method == "POST":
            name = str(body["metadata"]["name"])
            if name in self.namespaces:
                return _status(409, f'namespaces "{name}" already exists')
            body["metadata"]["uid"] = f"uid-{next(self._numbers)}"
            self.namespaces[name] = body
            return 201, body
        if name is None or name not in self.namespaces:
            return _status(404, f'namespaces "{name}" not found')
        if method == "DELETE":
            for key in [key for key in self.objects if key[0] == name]:
                del self.objects[key]
            return 200, self.namespaces.pop(name)
        return 200, self.namespaces[name]

    def _one(self, method: str, namespace: str, resource: str, name: str) -> tuple[int, Object]:
        found = self._kind(namespace, resource)
        if name not in found:
            return _status(404, f'{resource} "{name}" not found')
        return 200, found.pop(name) if method == "DELETE" else found[name]

    def _collection(
        self, method: str, namespace: str, resource: str, query: Mapping[str, str], body: Object
    ) -> tuple[int, Object]:
        kind = self._kind(namespace, resource)
        chosen = [o for o in kind.values() if selected(o, query.get("labelSelector", ""))]
        wanted = query.get("fieldSelector", "").removeprefix("metadata.name=")
        chosen = [o for o in chosen if wanted in ("", o["metadata"]["name"])]
        if method == "GET":
            return 200, {"items": chosen}
        if method == "DELETE":
            uid = (body.get("preconditions") or {}).get("uid")
            if uid is not None and any(o["metadata"].get("uid", "") != uid for o in chosen):
                return _status(409, "the UID in the precondition does not match")
            if not self.undeletable:
                for item in chosen:
                    del kind[item["metadata"]["name"]]
            return 200, {"kind": "Status", "status": "Success"}
        name = body["metadata"].get("name") or f"{body['metadata']['generateName']}x"
        if name in kind:
            return _status(409, f'{resource} "{name}" already exists')
        if resource == "pods":
            refused = self.admission(body)
            if refused is not None:
                return _status(*refused)
        if query.get("dryRun") == "All":
            return 201, body
        if resource == "pods":
            return 201, self._add_pod(namespace, body)
        if resource == "services":
            return 201, self._add_service(namespace, body)
        body["metadata"]["namespace"] = namespace
        kind[name] = body
        return 201, body

    # -- seeing the network from a pod

    def run_probes(self, namespace: str, pod: str, probes: Iterable[Object]) -> list[Any]:
        """The reports of a batch that the agent of a pod was asked to run."""
        with self._lock:
            item = self._kind(namespace, "pods")[pod]
            # The policies of runs are those of their sealed canaries.
            self.world.sealed = any(
                "zerotrust.dev/run" in policy["metadata"].get("labels", {})
                for (_, resource), policies in self.objects.items()
                if resource == "networkpolicies"
                for policy in policies.values()
            )
            return [self._report(item, probe) for probe in probes]

    def _report(self, pod: Object, probe: Object) -> Any:
        source = self._place(pod)
        if probe["kind"] == "watch":
            # Nothing changes while it is watched, so there is nothing to measure.
            return {"stage": "watch", "end": "complete", "began": 0.0, "entries": [], "kept": ""}
        if probe["kind"] == "birth":
            wanted = json.loads(pod["spec"]["containers"][0]["command"][-1])["birth"]["targets"]
            return {
                "stage": "birth",
                "end": "complete",
                "targets": [self._trail(source, target) for target in wanted],
            }
        ip = probe.get("ip", "")
        if "host" in probe:
            if not self.world.resolves(source, "UDP"):
                return {"stage": "resolve", "end": "unresolved"}
            name, namespace, *_ = probe["host"].split(".")
            ip = self._kind(namespace, "services")[name]["spec"]["clusterIP"]
        return self.world.attempt(source, self._at(ip), probe)

    def _trail(self, source: Place, target: Object) -> list[list[Any]]:
        report = self.world.attempt(source, self._at(target["ip"]), target)
        entry = [report["stage"], report["end"], report.get("data", "")]
        return [[50.0 * number, *entry] for number in range(30)]

    def _at(self, ip: str) -> Place | None:
        for (namespace, resource), objects in self.objects.items():
            for item in objects.values():
                if resource == "pods" and item["status"]["podIP"] == ip:
                    return self._place(item)
                if resource == "services" and item["spec"]["clusterIP"] == ip:
                    selector = item["spec"]["selector"].items()
                    for pod in self._kind(namespace, "pods").values():
                        if selector <= pod["metadata"]["labels"].items():
                            return self._place(pod, via="service")
        return None

    def _place(self, pod: Object, via: str = "pod") -> Place:
        labels = pod["metadata"]["labels"]
        name = pod["metadata"]["name"]
        return Place(
            name=name,
            namespace=pod["metadata"]["namespace"],
            role=labels.get("zerotrust.dev/role", "application"),
            app=labels.get("app", ""),
            node=pod["spec"]["nodeName"],
            key=self.keys.get(name, b""),
            via=via,
        )

    def made_by_runs(self) -> list[str]:
        """Everything that carries the label of a run, as kind/name."""
        with self._lock:
            found = [
                f"{resource}/{name}"
                for (_, resource), objects in self.objects.items()
                for name, item in objects.items()
                if "zerotrust.dev/run" in item["metadata"].get("labels", {})
            ]
            own = [f"namespaces/{n}" for n, o in self.namespaces.items()
                   if "zerotrust.dev/run" in o["metadata"].get("labels", {})]  # fmt: skip
            return sorted(found + own)


def selected(item: Object, selector: str) -> bool:
    """True if a label selector (k=v, k!=v and !k) selects an object."""
    labels = item["metadata"].get("labels", {})
    for term in filter(None, selector.split(",")):
        key, _, value = term.partition("=")
        if term.startswith("!"):
            if term[1:] in labels:
                return False
        elif "!=" in term:
            key, _, value = term.partition("!=")
            if labels.get(key) == value:
                return False
        elif "=" not in term:
            if term not in labels:
                return False
        elif labels.get(key) != value:
            return False
    return True


def _status(code: int, message: str) -> tuple[int, Object]:
    return code, {"kind": "Status", "status": "Failure", "code": code, "message": message}
