"""Which pods belong to which declared workload, which to none, and which differ. Pure.

Verdicts about flows rest on one pod of each workload. So no pod may be there that no workload
stands for, and the pods of a workload must look the same to policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.core.labels import without_controllers_own
from pytest_zerotrust.core.verdict import Result, Verdict

_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """A pod that is there to stay: neither finished nor being deleted, and no probe of ours.

    ``owner`` is ``Kind name`` of what made it (for a Deployment's pods the Deployment), or
    ``Pod name`` if nothing did.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    owner: str
    host_network: bool = False
    service_account: str = "default"

    @property
    def look(self) -> dict[str, str]:
        """The labels by which policies may tell it from other pods of its owner."""
        return without_controllers_own(self.labels)


def claimants(
    namespace: str, labels: Mapping[str, str], workloads: Iterable[Workload]
) -> tuple[Workload, ...]:
    """The workloads that a pod belongs to: those that select it, but for those that are less
    specific than another one of them (whose labels are a part of the other's)."""
    selecting = [
        w for w in workloads if w.namespace == namespace and w.labels.items() <= labels.items()
    ]
    return tuple(
        w
        for w in selecting
        if not any(w.labels.items() < other.labels.items() for other in selecting)
    )


def judge_named(
    pods: Iterable[PodFacts],
    workloads: Iterable[Workload],
    *,
    control: str,
    namespace: str,
    remedy: str,
) -> Result:
    """The verdict on a namespace: it holds if each of its pods belongs to a declared workload.

    A list that lacks the pods of a declared workload is not to be believed: inconclusive.
    """
    pods, workloads = list(pods), [w for w in workloads if w.namespace == namespace]
    claimed = {pod.name: claimants(namespace, pod.labels, workloads) for pod in pods}
    groups: dict[str, list[PodFacts]] = {}
    for pod in pods:
        if not claimed[pod.name]:
            groups.setdefault(pod.owner, []).append(pod)
    missing = [w.key for w in workloads if not any(w in found for found in claimed.values())]
    observed = tuple(_told(owner, group) for owner, group in sorted(groups.items()))
    verdict, reason = Verdict.HOLDS, ""
    if groups:
        verdict = Verdict.VIOLATED
        names = ", ".join(sorted(groups)[:5]) + (" and more" if len(groups) > 5 else "")
        what = f"runs what the intent does not name: {names}"
    elif missing:
        verdict, reason = Verdict.INCONCLUSIVE, "no-pod"
        what = f"was listed without a pod of {', '.join(missing[:5])}"
    elif pods:
        what = f"runs {len(pods)} pods, all of declared workloads"
    else:
        what = "runs no pod"
    return Result(
        control=control,
        subject=namespace,
        verdict=verdict,
        reason=reason,
        headline=f"{control} namespace {namespace} {what}",
        observed=_shortened(observed),
        objects=tuple(f"{o.partition(' ')[0]} {namespace}/{o.partition(' ')[2]}" for o in groups),
        remedy=remedy if verdict is Verdict.VIOLATED else "",
        reproduce=f"kubectl -n {namespace} get pods --show-labels",
        evidence={
            "pods": len(pods),
            "unnamed": {o: sorted(p.name for p in g) for o, g in sorted(groups.items())},
        },
    )


def _told(owner: str, pods: list[PodFacts]) -> str:
    first = min(pods, key=lambda pod: pod.name)
    number = f"{len(pods)} pods, first {first.name}" if len(pods) > 1 else f"pod {first.name}"
    host = ", in the node's network, where no policy for pods applies" if first.host_network else ""
    return f"{owner}: {number}, labels {_labels(first.look)}{host}"


def judge_alike(
    pods: Iterable[PodFacts],
    workloads: Iterable[Workload],
    *,
    control: str,
    workload: Workload,
    remedy: str,
) -> Result:
    """The verdict on a workload: it holds if all of its pods carry the same labels and service
    account, and run in the same kind of network."""
    workloads = list(workloads)
    own = [p for p in pods if workload in claimants(workload.namespace, p.labels, workloads)]
    variants: dict[tuple[tuple[tuple[str, str], ...], bool], list[PodFacts]] = {}
    for pod in own:
        # Some policies tell pods apart by their service account.
        account = ("(service account)", pod.service_account)
        look = (tuple(sorted((*pod.look.items(), account))), pod.host_network)
        variants.setdefault(look, []).append(pod)
    verdict, reason = Verdict.HOLDS, ""
    if not own:
        verdict, reason = Verdict.INCONCLUSIVE, "no-pod"
        what = "has no pod that could be looked at"
    elif len(variants) > 1:
        verdict = Verdict.VIOLATED
        what = f"has {len(variants)} kinds of pods that policies can tell apart"
        differing = _differing([dict(labels) for labels, _ in variants])
        if differing:
            what += f" by {', '.join(differing)}"
    else:
        what = f"has {len(own)} pods, all alike" if len(own) > 1 else "has one pod"
    return Result(
        control=control,
        subject=workload.key,
        verdict=verdict,
        reason=reason,
        headline=f"{control} {workload.name} {what}",
        observed=_shortened(
            tuple(
                f"{', '.join(sorted(p.name for p in group))}: labels {_labels(dict(labels))}"
                + (", in the node's network" if host else "")
                for (labels, host), group in sorted(variants.items(), key=lambda v: -len(v[1]))
            )
        ),
        objects=tuple(sorted({f"{_object(p)}" for p in own})),
        remedy=remedy if verdict is Verdict.VIOLATED else "",
        reproduce=f"kubectl -n {workload.namespace} get pods --show-labels -l "
        + ",".join(f"{k}={v}" for k, v in sorted(workload.labels.items())),
        evidence={"pods": len(own), "variants": len(variants)},
    )


def _object(pod: PodFacts) -> str:
    kind, _, name = pod.owner.partition(" ")
    return f"{kind} {pod.namespace}/{name}"


def _differing(looks: list[dict[str, str]]) -> list[str]:
    keys = sorted({key for look in looks for key in look})
    return [key for key in keys if len({look.get(key) for look in looks}) > 1]


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) or "none"


def _shortened(lines: tuple[str, ...]) -> tuple[str, ...]:
    if len(lines) <= _MOST_SHOWN:
        return lines
    return (*lines[:_MOST_SHOWN], f"and {len(lines) - _MOST_SHOWN} more")
