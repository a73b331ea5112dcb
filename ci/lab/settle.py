"""Wait until what a scenario says is what the cluster does."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import cilium, kube
from .api import Api
from .converge import LAB_NAMESPACES, NETWORK_KINDS, TEMPLATES, Object, as_list, constraint_paths
from .settings import Lab, LabError, Node

# Where a pod's own proxy says how it takes connections in.
INBOUND = "http://127.0.0.1:15000/config_dump?resource=dynamic_listeners&name_regex=virtualInbound"
# Answers in a row that must be right, and the seconds in which each must come.
_ANSWERS = 5
_PROMPT = 2.0
_ASK = ("/usr/bin/python3", "/srv/ask.py")
_GATEKEEPER_PODS = (
    "/api/v1/namespaces/gatekeeper-system/pods?labelSelector=control-plane%3Dcontroller-manager"
)


def until(complaint: Callable[[], str], timeout: float, pause: float = 0.3) -> None:
    """Return when there is nothing to complain about any more; else fail with the last word."""
    deadline = time.monotonic() + timeout
    while said := complaint():
        if time.monotonic() > deadline:
            raise LabError(f"after {timeout:.0f} s still: {said}")
        time.sleep(pause)


def network(lab: Lab) -> None:
    """Every node's agent knows exactly the policies that exist, and every pod is under them."""
    if lab.cni != "cilium":
        return

    def complaint() -> str:
        with Api(lab) as api:
            items = [item for path in NETWORK_KINDS.values() for item in api.items(path)]
        expected = {
            str(item["metadata"]["uid"])
            for item in items
            if item["metadata"].get("namespace") in (None, *LAB_NAMESPACES)
            and "deletionTimestamp" not in item["metadata"]
        }
        return next((said for node in lab.nodes if (said := _behind(lab, node, expected))), "")

    until(complaint, 60, 0.1)


def _behind(lab: Lab, node: Node, expected: set[str]) -> str:
    answer = cilium.agent_get(lab, node, "/v1/policy")
    known = set()
    for rule in json.loads(answer["policy"]):
        about = {label["key"].rpartition(".")[2]: label["value"] for label in rule["labels"]}
        if about.get("namespace") in (None, *LAB_NAMESPACES):
            known.add(about.get("uid", ""))
    if known != expected:
        return f"{node.name} lacks {len(expected - known)} policies and has {len(known - expected)}"
    revision = int(answer["revision"])
    for endpoint in cilium.agent_get(lab, node, "/v1/endpoint"):
        status = endpoint["status"]
        realized = int(status["policy"]["realized"].get("policy-revision", 0))
        if status["state"] != "disconnecting" and realized < revision:
            pod = status["external-identifiers"].get("k8s-pod-name", endpoint["id"])
            return f"{node.name} has not brought {pod} to policy revision {revision}"
    return ""


def templates(lab: Lab, wanted: Sequence[Object]) -> None:
    """The kinds that Gatekeeper's templates define can be used."""
    kinds = {f"{item['spec']['crd']['spec']['names']['kind'].lower()}" for item in wanted}

    def complaint() -> str:
        with Api(lab) as api:
            served = {path.rpartition("/")[2] for path in constraint_paths(api)}
        return f"Gatekeeper has not made {', '.join(kinds - served)}" if kinds - served else ""

    until(complaint, 60)


def gatekeeper(lab: Lab) -> None:
    """All of Gatekeeper's webhook pods have loaded all templates and enforce all constraints."""

    def complaint() -> str:
        with Api(lab) as api:
            pods = {
                pod["metadata"]["name"]
                for pod in api.items(_GATEKEEPER_PODS)
                if "deletionTimestamp" not in pod["metadata"]
            }
            rules = [i for path in (TEMPLATES, *constraint_paths(api)) for i in api.items(path)]
        return next((said for item in rules if (said := _not_yet(item, pods))), "")

    until(complaint, 60)


def _not_yet(item: Object, pods: Iterable[str]) -> str:
    name, generation = item["metadata"]["name"], item["metadata"]["generation"]
    reports = {report["id"]: report for report in item.get("status", {}).get("byPod", [])}
    constraint = item["kind"] != "ConstraintTemplate"
    for pod in pods:
        report = reports.get(pod, {})
        if report.get("errors"):
            raise LabError(f"Gatekeeper refuses {name}: {report['errors']}")
        loaded = report.get("observedGeneration") == generation
        if not loaded or (constraint and not report.get("enforced")):
            return f"{pod} does not enforce {name} yet"
    return ""


def admission(lab: Lab, pods: Sequence[Object], refusals: Sequence[str]) -> None:
    """Pods are turned away by whom they must be, or by nobody, on a dry run, and promptly.

    There is one entry in refusals for each pod: a part of the message, empty for admitted. One
    right answer is not enough: a webhook that fails open admits whatever it is too slow for, and
    the first request after a change is the slowest. So every answer of a whole series must be
    right, and each in a fraction of the webhook's time-out.
    """

    def complaint() -> str:
        with Api(lab) as api:
            for _ in range(_ANSWERS):
                for pod, refusal in zip(pods, refusals, strict=True):
                    started = time.monotonic()
                    said = _misjudged(api, pod, refusal)
                    if said:
                        return said
                    if time.monotonic() - started > _PROMPT:
                        return f"the answer about pod {pod['metadata']['name']} is too slow"
        return ""

    until(complaint, 120)


def _misjudged(api: Api, pod: Object, refusal: str) -> str:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    status, answer = api.request("POST", path, pod)
    admitted = status == http.client.CREATED
    message = "" if admitted else str(answer.get("message", status))
    if refusal and refusal not in message:
        return f"pod {name} is not refused by {refusal}: {message or 'it is admitted'}"
    return f"pod {name} is refused: {message}" if message and not refusal else ""


def applications(
    lab: Lab, read: Callable[[], tuple[list[Object], list[Object], list[Object]]]
) -> None:
    """Every Deployment of the applications has exactly its pods, and all are ready."""
    nudged = 0.0

    def complaint() -> str:
        nonlocal nudged
        deployments, replica_sets, pods = read()
        stuck = [item for item in replica_sets if _stuck(item)]
        if stuck and time.monotonic() - nudged > 2:
            # After a refusal a ReplicaSet waits longer and longer before it tries again; a change
            # of any kind makes it try at once.
            nudged = time.monotonic()
            change = f"lab.zerotrust.dev/nudged={time.time():.0f}"
            command = ("annotate", "--overwrite", "--filename=-", change)
            kube.kubectl(lab, *command, stdin=as_list(stuck), check=False)
        waiting = [said for item in deployments if (said := _unfinished(item))]
        leaving = [
            f"pod {pod['metadata']['name']} is ending"
            for pod in pods
            if "deletionTimestamp" in pod["metadata"]
        ]
        return ", ".join(waiting + leaving)

    until(complaint, 120)


def _stuck(replica_set: Object) -> bool:
    conditions = replica_set.get("status", {}).get("conditions", [])
    return any(
        condition["type"] == "ReplicaFailure" and condition["status"] == "True"
        for condition in conditions
    )


def _unfinished(deployment: Object) -> str:
    metadata, status = deployment["metadata"], deployment.get("status", {})
    wanted = deployment["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    seen = status.get("observedGeneration") == metadata["generation"]
    if seen and counts == [wanted] * 3:
        return ""
    return f"{metadata['namespace']}/{metadata['name']} is not ready"


def answers(
    lab: Lab,
    pods: Sequence[Object],
    flows: Mapping[str, Sequence[str]],
    strict: bool | None,
    timeout: float,
) -> list[Object]:
    """The pods that are still not answered as they should be when time is up.

    Every pod asks what is listed for it, by 'namespace/app'. A pod with a proxy also asks that
    whether it accepts plaintext; None leaves this out.
    """
    left = list(pods)

    def complaint() -> str:
        with ThreadPoolExecutor(max_workers=6) as pool:
            said = list(pool.map(lambda pod: _unanswered(lab, pod, flows, strict), left))
        left[:] = [pod for pod, text in zip(left, said, strict=True) if text]
        return "; ".join(text for text in said if text)

    with contextlib.suppress(LabError):
        until(complaint, timeout)
    return left


def _unanswered(
    lab: Lab, pod: Object, flows: Mapping[str, Sequence[str]], strict: bool | None
) -> str:
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['labels'].get('app', '')}"
    ask_mode = strict is not None and is_meshed(pod)
    questions = [*([INBOUND] if ask_mode else []), *flows.get(name, ())]
    if not questions:
        return ""
    replies = _ask(lab, pod, questions)
    if not replies:
        return f"{name} cannot be asked"
    if ask_mode:
        mode = replies.pop(0)
        if not mode["ok"] or _accepts_plaintext(mode["answer"]) == strict:
            return f"the proxy of {name} is not told yet whether it may accept plaintext"
    return "; ".join(f"{name} -> {r['flow']}: {r['answer']}" for r in replies if not r["ok"])


def _accepts_plaintext(listeners: str) -> bool:
    # The listener that was replaced goes on for a while, for the connections that it has.
    active = [entry["active_state"] for entry in json.loads(listeners)["configs"]]
    return "raw_buffer" in json.dumps(active)


def is_meshed(pod: Object) -> bool:
    """Whether the pod has a proxy of the mesh."""
    spec = pod["spec"]
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    return any(container["name"] == "istio-proxy" for container in containers)


def _ask(lab: Lab, pod: Object, questions: Sequence[str]) -> list[dict[str, Any]]:
    where = ("--namespace", pod["metadata"]["namespace"], "--container=app")
    command = ("exec", *where, pod["metadata"]["name"], "--", *_ASK, *questions)
    done = kube.kubectl(lab, *command, check=False, timeout=30)
    try:
        replies: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        return []
    return replies
