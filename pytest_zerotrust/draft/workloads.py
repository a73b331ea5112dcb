"""From pods and Services to the workloads of a draft: names, labels, ports. Pure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.inventory import owner_of
from pytest_zerotrust.core.labels import without_controllers_own

Item = Mapping[str, Any]

# What people name a workload by, the usual ones first.
_USUAL = ("app", "app.kubernetes.io/name", "k8s-app", "app.kubernetes.io/instance", "name")
# What an injector adds is no name of the user's.
_INJECTED = ("istio.io/", "linkerd.io/")
_PROXY = "istio-proxy"
_MOST_LABELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A workload as it was found. ``ports`` are (number, protocol); ``port_names`` what its
    containers call them; ``pod_labels`` are those of its first pod, by which policies select."""

    key: str
    namespace: str
    owner: str
    labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    ports: tuple[tuple[int, str], ...]
    port_names: Mapping[str, int]
    service: str | None
    meshed: bool
    images: tuple[str, ...]


def find(
    pods: Mapping[str, Sequence[Item]], services: Mapping[str, Sequence[Item]]
) -> tuple[list[Found], list[str]]:
    """The workloads of all namespaces, and a line for each owner that is not written and why."""
    found: list[Found] = []
    left_out: list[str] = []
    taken: set[str] = set()
    names = [owner.partition(" ")[2] for ns in pods for owner in _groups(pods[ns])]
    for namespace in pods:
        groups = _groups(pods[namespace])
        for owner, members in groups.items():
            where = f"{owner} in {namespace}"
            running = [m for m in members if _reachable(m)]
            if not running:
                left_out.append(f"{where}: no running pod in a network of its own")
                continue
            others = [m for o, group in groups.items() if o != owner for m in group]
            labels = distinguishing(members, others)
            if not labels:
                left_out.append(f"{where}: no labels that tell its pods from all others")
                continue
            name = owner.partition(" ")[2]
            key = _key(name if names.count(name) == 1 else f"{namespace}/{name}", taken)
            found.append(_found(key, namespace, owner, labels, running, services[namespace]))
    return found, left_out


def _groups(items: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda i: str(i["metadata"]["name"])):
        groups.setdefault(owner_of(item["metadata"]), []).append(item)
    return dict(sorted(groups.items()))


def _reachable(item: Item) -> bool:
    status = item.get("status", {})
    running = status.get("phase") == "Running" and bool(status.get("podIP"))
    return running and not item["spec"].get("hostNetwork")


def _labels(item: Item) -> dict[str, str]:
    return without_controllers_own(item["metadata"].get("labels", {}))


def distinguishing(members: Sequence[Item], others: Sequence[Item]) -> dict[str, str]:
    """The fewest labels that all members carry and no other pod does; empty if there are none."""
    common = set.intersection(*(set(_labels(m).items()) for m in members))
    candidates = sorted(
        (pair for pair in common if not any(word in pair[0] for word in _INJECTED)),
        key=lambda pair: (_USUAL.index(pair[0]) if pair[0] in _USUAL else len(_USUAL), pair),
    )
    foreign = [set(_labels(other).items()) for other in others]
    for size in range(1, min(len(candidates), _MOST_LABELS) + 1):
        for chosen in itertools.combinations(candidates, size):
            if not any(set(chosen) <= labels for labels in foreign):
                return dict(chosen)
    if candidates and not any(set(candidates) <= labels for labels in foreign):
        return dict(candidates)
    return {}


def _key(name: str, taken: set[str]) -> str:
    """A name that the intent file takes, and that no other workload has."""
    base = re.sub(r"[^a-z0-9./-]", "-", name.lower())[:60].strip("./-") or "workload"
    for number in itertools.count(1):
        key = base if number == 1 else f"{base[:56]}-{number}"
        if key not in taken:
            taken.add(key)
            return key
    raise AssertionError("unreachable")


def _found(
    key: str,
    namespace: str,
    owner: str,
    labels: Mapping[str, str],
    running: Sequence[Item],
    services: Sequence[Item],
) -> Found:
    first = running[0]
    containers = [c for c in first["spec"]["containers"] if c["name"] != _PROXY]
    proxies = (*first["spec"]["containers"], *first["spec"].get("initContainers", ()))
    declared = [p for c in containers for p in c.get("ports", ())]
    names = {str(p["name"]): int(p["containerPort"]) for p in declared if "name" in p}
    pod_labels = first["metadata"].get("labels", {})
    selecting = [s for s in services if _selects(s, pod_labels)]
    ports = {(int(p["containerPort"]), str(p.get("protocol", "TCP"))) for p in declared}
    for service in selecting:
        ports |= set(_target_ports(service, names))
    named = sorted(str(s["metadata"]["name"]) for s in selecting)
    by_default = key.rpartition("/")[2]
    return Found(
        key=key,
        namespace=namespace,
        owner=owner,
        labels=labels,
        pod_labels=pod_labels,
        ports=tuple(sorted(p for p in ports if p[1] in ("TCP", "UDP"))),
        port_names=names,
        service=named[0] if named and by_default not in named else None,
        meshed=any(c["name"] == _PROXY for c in proxies),
        images=tuple(sorted({str(c.get("image", "")) for c in containers})),
    )


def _selects(service: Item, labels: Mapping[str, str]) -> bool:
    selector = service["spec"].get("selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def _target_ports(service: Item, names: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    for port in service["spec"].get("ports", ()):
        target = port.get("targetPort", port["port"])
        number = names.get(target) if isinstance(target, str) else target
        if number is not None:
            yield int(number), str(port.get("protocol", "TCP"))
