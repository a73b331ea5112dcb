"""Bring a running lab to a scenario, from any other one and from whatever was done to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import addons, converge, kube, settle
from .addons import certificates, gatekeeper, opa
from .converge import (
    ADMISSION_KINDS,
    APPLICATION_NAMESPACES,
    MANIFESTS,
    MESH_KINDS,
    NETWORK_KINDS,
    Memory,
    Object,
    Snapshot,
    key,
)
from .settings import Lab, LabError

NAMES = ("open", "reference", "hardened")
ENGINES = ("gatekeeper", "opa")

# What works wherever nothing is cut by mistake: who asks whom.
FLOWS: Mapping[str, Sequence[str]] = {
    "production/api-gateway": ("http://payment-service:8080/",),
    "production/payment-service": ("lines://database:5432",),
    "production/api": ("lines://database:5432",),
    "staging/frontend": ("http://reports:8080/",),
    "legacy/web": ("dns://web",),
}
_WORKLOAD_KINDS = ("ServiceAccount", "Service", "Deployment")
# Added to pods by others than their templates.
_FOREIGN_LABELS = {
    "pod-template-hash",
    "security.istio.io/tlsMode",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
}
_REFUSERS = {"gatekeeper": "[restricted-containers]", "opa": "validating-webhook.openpolicyagent"}


@dataclass(frozen=True)
class _Goal:
    """A scenario on one lab."""

    name: str
    engine: str
    objects: tuple[Object, ...]

    @property
    def folder(self) -> Path:
        return MANIFESTS / "scenarios" / self.name

    @property
    def opa_policy(self) -> Path | None:
        """The rules that OPA serves, if it does."""
        policy = self.folder / "opa" / "restricted.rego"
        return policy if self.engine == "opa" and policy.exists() else None

    def of(self, *kinds: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] in kinds]

    def constraints(self) -> list[Object]:
        group = f"{converge.CONSTRAINT_GROUP}/"
        return [item for item in self.objects if item["apiVersion"].startswith(group)]


def apply(lab: Lab, name: str, engine: str = ENGINES[0]) -> None:
    """Make the lab exactly this scenario, and return when it is in force.

    The reference scenario cuts what the applications need, so it is laid over running ones:
    if they are not all well, the lab goes through the open scenario first.
    """
    if name not in NAMES:
        raise LabError(f"unknown scenario {name!r}; one of: {', '.join(NAMES)}")
    if engine not in ENGINES:
        raise LabError(f"unknown engine {engine!r}; one of: {', '.join(ENGINES)}")
    goal = _goal(lab, name, engine)
    live = _with_addons(lab)
    if name != "reference":
        _apply_all(lab, goal, live)
    elif not _apply_over_running(lab, goal, live):
        _apply_all(lab, _goal(lab, "open", engine), live)
        if not _apply_over_running(lab, goal, converge.snapshot(lab)):
            raise LabError("the applications do not stay well under the open scenario")


def _goal(lab: Lab, name: str, engine: str) -> _Goal:
    folder = MANIFESTS / "scenarios" / name
    parts = [MANIFESTS / "apps", folder / "namespaces.yaml", folder / "network"]
    if lab.with_mesh:
        parts.append(folder / "mesh")
    filled = {}
    # The open scenario has no rules for OPA to serve.
    served = engine if (folder / engine).exists() else ENGINES[0]
    if lab.with_admission:
        parts.append(folder / served)
        host = opa.SERVICE if served == "opa" else gatekeeper.SERVICE
        filled["CA_BUNDLE"] = certificates.serving(lab, served, host).bundle()
    present = [part for part in parts if part.exists()]
    return _Goal(name, served, tuple(converge.load(lab, present, filled)))


def _with_addons(lab: Lab) -> Snapshot:
    """The cluster as it is, with what runs below the applications put back if it is broken."""
    live = converge.snapshot(lab)
    needed = [("Deployment", "kube-system", "coredns")]
    if lab.with_admission:
        needed += [("Deployment", gatekeeper.NAMESPACE, name) for name in gatekeeper.DEPLOYMENTS]
    if lab.with_mesh:
        needed.append(("Deployment", "istio-system", "istiod"))
        needed.append(("MutatingWebhookConfiguration", "", "istio-sidecar-injector"))
    if all(name in live.objects and _stands(live.objects[name]) for name in needed):
        return live
    addons.install(lab)
    return converge.snapshot(lab)


def _stands(item: Object) -> bool:
    if item["kind"] != "Deployment":
        return True
    available = item.get("status", {}).get("availableReplicas", 0)
    return bool(item["spec"]["replicas"] > 0 and available == item["spec"]["replicas"])


def _apply_all(lab: Lab, goal: _Goal, live: Snapshot) -> None:
    _namespaces(lab, goal, live)
    _rules(lab, goal, live)
    _network(lab, goal, live)
    _workloads(lab, goal, live)
    # Twice, since a pod may have been made in the moment before its namespace was put right.
    for _ in range(2):
        _restart(lab, [pod for pod, _ in _unsound(lab, goal, converge.running(lab))])
        settle.applications(lab, lambda: _state(lab))
    _settle_rules(lab, goal)
    settle.network(lab)
    _settle_answers(lab, goal)


def _apply_over_running(lab: Lab, goal: _Goal, live: Snapshot) -> bool:
    """Lay the scenario over the running applications; false if they are not fit for that."""
    deployments = [item for item in live.of("Deployment") if _is_application(item)]
    if any(not _stands(item) for item in deployments) or _unsound(lab, goal, live):
        return False
    memory = Memory(lab)
    for item in goal.of(*_WORKLOAD_KINDS):
        if key(item) not in live.objects or not memory.unchanged(item, live.objects[key(item)]):
            return False
    _namespaces(lab, goal, live)
    _rules(lab, goal, live)
    # The proxies must hear of the mesh's rules before the network policies cut them off.
    if not _heard(lab, goal):
        return False
    _network(lab, goal, live)
    _settle_rules(lab, goal)
    settle.network(lab)
    return True


def _namespaces(lab: Lab, goal: _Goal, live: Snapshot) -> None:
    ending = [
        item["metadata"]["name"]
        for item in live.of("Namespace")
        if "deletionTimestamp" in item["metadata"] and _is_application(item)
    ]
    for name in ending:
        kube.kubectl(lab, "wait", "--for=delete", f"namespace/{name}", "--timeout=120s")
    steps = converge.plan(goal.objects, live, ["Namespace"], converge.same)
    converge.execute(lab, steps)


def _rules(lab: Lab, goal: _Goal, live: Snapshot) -> None:
    """The policies of the mesh and of admission."""
    if goal.opa_policy:
        opa.install(lab, goal.opa_policy, old_syntax=goal.name == "reference")
    kinds = [*MESH_KINDS, *ADMISSION_KINDS, "Constraint"]
    steps = converge.plan(goal.objects, live, kinds, converge.same)
    # A constraint's kind exists only once Gatekeeper has read the template; and with its template
    # a constraint goes by itself.
    constraints = {key(item) for item in goal.constraints()}
    later = tuple(item for item in steps.create if key(item) in constraints)
    now = tuple(item for item in steps.create if key(item) not in constraints)
    converge.execute(lab, replace(steps, create=now))
    if later:
        settle.templates(lab, goal.of("ConstraintTemplate"))
        converge.execute(lab, converge.Plan((), later, ()))
    if not goal.opa_policy and ("Deployment", opa.NAMESPACE, "opa") in live.objects:
        opa.remove(lab)


def _network(lab: Lab, goal: _Goal, live: Snapshot) -> None:
    steps = converge.plan(goal.objects, live, NETWORK_KINDS, converge.same)
    converge.execute(lab, steps)


def _workloads(lab: Lab, goal: _Goal, live: Snapshot) -> None:
    memory = Memory(lab)
    steps = converge.plan(goal.objects, live, _WORKLOAD_KINDS, memory.unchanged)
    converge.execute(lab, steps)
    touched = steps.keys()
    if touched:
        written = [item for item in goal.of(*_WORKLOAD_KINDS) if key(item) in touched]
        memory.note(written, converge.snapshot(lab))


def _unsound(lab: Lab, goal: _Goal, live: Snapshot) -> list[tuple[Object, str]]:
    """Pods of the applications that are not what their template and namespace ask for."""
    templates = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item["spec"]["template"]
        for item in goal.of("Deployment")
    }
    found = []
    for pod in live.of("Pod"):
        metadata = pod["metadata"]
        labels = metadata.get("labels", {})
        if not _is_application(pod) or not _is_ours(pod):
            continue
        if "deletionTimestamp" in metadata:
            continue
        owned = bool(metadata.get("ownerReferences"))
        template = templates.get((metadata["namespace"], labels.get("app", "")))
        if not owned or template is None:
            found.append((pod, "it belongs to nobody"))
            continue
        asked = template["metadata"]["labels"]
        if {name: labels[name] for name in labels.keys() - _FOREIGN_LABELS} != asked:
            found.append((pod, "its labels were changed"))
        elif settle.is_meshed(pod) != _belongs_to_mesh(lab, metadata["namespace"], asked):
            found.append((pod, "it is in the mesh and should not, or the other way round"))
    return found


def _belongs_to_mesh(lab: Lab, namespace: str, labels: Mapping[str, str]) -> bool:
    injected = lab.with_mesh and namespace != "legacy"
    return injected and labels.get("sidecar.istio.io/inject") != "false"


def _restart(lab: Lab, pods: Sequence[Object]) -> None:
    if pods:
        command = ("delete", "--ignore-not-found", "--wait=false", "--filename=-")
        kube.kubectl(lab, *command, stdin=converge.as_list(pods))


def _settle_rules(lab: Lab, goal: _Goal) -> None:
    if not lab.with_admission:
        return
    if goal.of("ConstraintTemplate"):
        settle.gatekeeper(lab)
    by_container = _REFUSERS[goal.engine] if goal.name != "open" else ""
    by_init = _REFUSERS[goal.engine] if goal.name == "hardened" else ""
    pods = [_canary("container", initial=False), _canary("init", initial=True)]
    settle.admission(lab, pods, [by_container, by_init])


def _canary(name: str, *, initial: bool) -> Object:
    good = {"allowPrivilegeEscalation": False, "runAsNonRoot": True}
    image = "registry.company.com/apps/app:1"
    container = {"name": "app", "image": image, "securityContext": good}
    bad = container | {"name": "bad", "securityContext": {"privileged": True}}
    spec = {"containers": [container] if initial else [container, bad]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"canary-{name}", "namespace": "production"},
        "spec": spec | ({"initContainers": [bad]} if initial else {}),
    }


def _strict(lab: Lab, goal: _Goal) -> bool | None:
    return bool(goal.of("PeerAuthentication")) if lab.with_mesh else None


def _heard(lab: Lab, goal: _Goal) -> bool:
    """Whether all proxies have taken over the mesh's rules."""
    return not settle.answers(lab, _pods(lab), {}, _strict(lab, goal), 10)


def _settle_answers(lab: Lab, goal: _Goal) -> None:
    strict = _strict(lab, goal)
    silent = settle.answers(lab, _pods(lab), FLOWS, strict, 10)
    if not silent:
        return
    # Proxies that were cut off from istiod for long wait long before they try again.
    _restart(lab, silent)
    settle.applications(lab, lambda: _state(lab))
    settle.network(lab)
    silent = settle.answers(lab, _pods(lab), FLOWS, strict, 60)
    if silent:
        names = ", ".join(pod["metadata"]["name"] for pod in silent)
        raise LabError(f"not answered as they should be, even after a restart: {names}")


def _pods(lab: Lab) -> list[Object]:
    """The applications' pods that are not about to end."""
    return [pod for pod in _state(lab)[2] if "deletionTimestamp" not in pod["metadata"]]


def _state(lab: Lab) -> tuple[list[Object], list[Object], list[Object]]:
    """The applications' Deployments, ReplicaSets and pods."""
    live = converge.running(lab)
    chosen = [item for item in live.objects.values() if _is_application(item)]
    kinds = ("Deployment", "ReplicaSet", "Pod")
    deployments, replica_sets, pods = (
        [item for item in chosen if item["kind"] == kind] for kind in kinds
    )
    return deployments, replica_sets, [pod for pod in pods if _is_ours(pod)]


def _is_ours(pod: Object) -> bool:
    return "pod-template-hash" in pod["metadata"].get("labels", {})


def _is_application(item: Object) -> bool:
    metadata = item["metadata"]
    return (metadata.get("namespace") or metadata["name"]) in APPLICATION_NAMESPACES
