"""From allow rules of policies to the flows of a draft. Pure, and no judge of anything.

Only rules that name pods are read. A rule for everybody or for addresses is told, not written: it
says what is possible, not what was meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.draft.workloads import Found

Item = Mapping[str, Any]
_NAMESPACE = "io.kubernetes.pod.namespace"
_NAMESPACE_LABEL = "io.cilium.k8s.namespace.labels."


@dataclass(slots=True)
class Guessed:
    """``flows`` maps each flow, as (source, target, port, protocol), to the policies that allow
    it; ``remarks`` tell of rules that were left out."""

    flows: dict[tuple[str, str, int, str], list[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def guess(
    policies: Iterable[Item],
    workloads: Sequence[Found],
    namespaces: Mapping[str, Mapping[str, str]],
) -> Guessed:
    """Every flow between two of the workloads that an allow rule names."""
    guessed = Guessed()
    for policy in policies:
        name = f"{policy['kind']} {policy['metadata']['namespace']}/{policy['metadata']['name']}"
        specs = [policy["spec"]] if policy.get("spec") else []
        for spec in (*specs, *policy.get("specs", ())):
            read = _kubernetes if policy["kind"] == "NetworkPolicy" else _cilium
            for selected, peers, ports, side in read(policy, spec, workloads, namespaces):
                _add(guessed, name, selected, peers, ports, side)
    return guessed


Rule = tuple[list[Found], list[Found] | None, list[Item] | None, str]
"""Who is selected, which peers are named (None: others than pods, or everybody), which ports
(None: all), and the side."""


def _add(
    guessed: Guessed,
    name: str,
    selected: list[Found],
    peers: list[Found] | None,
    ports: list[Item] | None,
    side: str,
) -> None:
    if peers is None:
        if selected:
            remark = f"{name}: an {side} rule for everybody or for addresses"
            if remark not in guessed.remarks:
                guessed.remarks.append(remark)
        return
    for one in selected:
        for peer in peers:
            source, target = (peer, one) if side == "ingress" else (one, peer)
            if source.key == target.key:
                continue
            for number, protocol in target.ports:
                if ports is None or any(_covers(p, number, protocol, target) for p in ports):
                    names = guessed.flows.setdefault((source.key, target.key, number, protocol), [])
                    if name not in names:
                        names.append(name)


def _covers(port: Item, number: int, protocol: str, target: Found) -> bool:
    if port.get("protocol", "TCP") not in (protocol, "ANY"):
        return False
    wanted = port.get("port")
    if wanted in (None, 0, "0"):
        return True
    first = target.port_names.get(str(wanted), int(wanted) if str(wanted).isdigit() else -1)
    return first <= number <= int(port.get("endPort") or first)


def _kubernetes(
    policy: Item, spec: Item, workloads: Sequence[Found], namespaces: Mapping[str, Any]
) -> Iterator[Rule]:
    home = policy["metadata"]["namespace"]
    selected = [
        w
        for w in workloads
        if w.namespace == home and matches(spec.get("podSelector"), w.pod_labels)
    ]
    for side, key in (("ingress", "from"), ("egress", "to")):
        for rule in spec.get(side) or ():
            peers: list[Found] | None = None
            for peer in rule.get(key) or ():
                if _narrow(peer.get("podSelector")):
                    there = [
                        w
                        for w in workloads
                        if matches(peer["podSelector"], w.pod_labels)
                        and _in_namespaces(peer, w, home, namespaces)
                    ]
                    peers = [*(peers or ()), *there]
            yield selected, peers, rule.get("ports") or None, side


def _narrow(selector: Item | None) -> bool:
    """True if a selector names some pods, and not simply all."""
    return bool(selector and (selector.get("matchLabels") or selector.get("matchExpressions")))


def _in_namespaces(peer: Item, workload: Found, home: str, namespaces: Mapping[str, Any]) -> bool:
    if peer.get("namespaceSelector") is None:
        return workload.namespace == home
    return matches(peer["namespaceSelector"], namespaces.get(workload.namespace, {}))


def _cilium(
    policy: Item, spec: Item, workloads: Sequence[Found], namespaces: Mapping[str, Any]
) -> Iterator[Rule]:
    home = policy["metadata"]["namespace"]

    def chosen(selector: Item | None) -> list[Found]:
        return [w for w in workloads if _cilium_matches(selector or {}, w, home, namespaces)]

    selected = [w for w in chosen(spec.get("endpointSelector")) if w.namespace == home]
    for side, key in (("ingress", "fromEndpoints"), ("egress", "toEndpoints")):
        for rule in spec.get(side) or ():
            named = [s for s in rule.get(key) or () if _narrow(s)]
            groups = rule.get("toPorts") or ()
            ports = [port for group in groups for port in group.get("ports") or ()]
            peers = [w for s in named for w in chosen(s)] if named else None
            yield selected, peers, ports or None, side


def _cilium_matches(
    selector: Item, workload: Found, home: str, namespaces: Mapping[str, Any]
) -> bool:
    labels = {
        **workload.pod_labels,
        _NAMESPACE: workload.namespace,
        **{
            f"{_NAMESPACE_LABEL}{key}": value
            for key, value in namespaces.get(workload.namespace, {}).items()
        },
    }
    plain = {_bare(k): v for k, v in (selector.get("matchLabels") or {}).items()}
    expressions = [{**e, "key": _bare(e["key"])} for e in selector.get("matchExpressions") or ()]
    told = (*plain, *(e["key"] for e in expressions))
    # Without a namespace in the selector, Cilium means the policy's own.
    if not any(key == _NAMESPACE or key.startswith(_NAMESPACE_LABEL) for key in told):
        plain[_NAMESPACE] = home
    return matches({"matchLabels": plain, "matchExpressions": expressions}, labels)


def _bare(key: str) -> str:
    """A label's key without the source that Cilium writes before it."""
    return key.partition(":")[2] if key.startswith(("k8s:", "any:")) else key


def matches(selector: Item | None, labels: Mapping[str, str]) -> bool:
    """A label selector of Kubernetes (kubernetes.io, "Labels and Selectors"); None is empty."""
    selector = selector or {}
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression["key"], expression.get("values") or ()
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not holds.get(expression["operator"], False):
            return False
    return True
