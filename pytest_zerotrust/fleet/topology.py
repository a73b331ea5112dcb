"""What each probe pod is like: a twin for a workload, canaries for a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.core.intent import Port, Workload
from pytest_zerotrust.fleet.plan import CANARY_PORT, PodSpec, Role, twin_labels
from pytest_zerotrust.fleet.run import Run


def twin(run: Run, workload: Workload, live: LiveWorkload) -> PodSpec:
    """The plain twin of a workload (outside the mesh)."""
    return PodSpec(
        name=run.name("twin", workload.namespace, workload.key),
        namespace=workload.namespace,
        role=Role.TWIN,
        subject=workload.key,
        labels=twin_labels(live.labels),
        service_account=live.service_account,
        ports=workload.ports,
        side_ports=workload.side_ports,
        port_names=live.port_names,
        near=live.nodes[0] if live.nodes else None,
        refusal=refusal(live),
    )


def newborn(
    run: Run, workload: Workload, live: LiveWorkload, birth: tuple[Mapping[str, object], ...]
) -> PodSpec:
    """A twin of a workload that tries these attempts as soon as it runs."""
    return PodSpec(
        name=run.name("newborn", workload.namespace, workload.key),
        namespace=workload.namespace,
        role=Role.NEWBORN,
        subject=f"newborn {workload.key}",
        labels=twin_labels(live.labels),
        service_account=live.service_account,
        ports=workload.ports,
        port_names=live.port_names,
        near=live.nodes[0] if live.nodes else None,
        birth=birth,
        refusal=refusal(live),
    )


def refusal(live: LiveWorkload) -> str:
    """Why no probe pod may carry this workload's labels, if so."""
    if not live.adopter:
        return ""
    return (
        f"{live.adopter} would adopt a probe pod with the labels of this workload, and delete it "
        f"or one of its own"
    )


def canary(run: Run, own_namespace: str, node: str) -> PodSpec:
    """The open canary of a node."""
    return PodSpec(
        name=run.name("canary", node),
        namespace=own_namespace,
        role=Role.CANARY,
        subject=f"canary on {node}",
        ports=(CANARY_PORT,),
        node=node,
    )


def sealed(run: Run, own_namespace: str, node: str) -> PodSpec:
    """The sealed canary of a node."""
    return PodSpec(
        name=run.name("sealed", node),
        namespace=own_namespace,
        role=Role.SEALED,
        subject=f"sealed canary on {node}",
        ports=(CANARY_PORT,),
        node=node,
    )


def node_probe(run: Run, own_namespace: str, node: str) -> PodSpec:
    """The probe in a node's own network."""
    return PodSpec(
        name=run.name("node", node),
        namespace=own_namespace,
        role=Role.NODE,
        subject=node,
        node=node,
    )


def capture(run: Run, own_namespace: str, node: str) -> PodSpec:
    """The pod that sees what leaves a node."""
    return PodSpec(
        name=run.name("capture", node),
        namespace=own_namespace,
        role=Role.CAPTURE,
        subject=node,
        node=node,
    )


def talker(run: Run, own_namespace: str, node: str) -> PodSpec:
    """The pod that says on a node what captures look for, over TCP and UDP."""
    return PodSpec(
        name=run.name("talker", node),
        namespace=own_namespace,
        role=Role.TALKER,
        subject=f"talker on {node}",
        ports=(CANARY_PORT, Port(CANARY_PORT.number, "UDP")),
        node=node,
    )


def canaries(run: Run, own_namespace: str, nodes: Iterable[str]) -> list[PodSpec]:
    """Open and sealed canaries of all these nodes."""
    return [
        make(run, own_namespace, node) for node in sorted(set(nodes)) for make in (canary, sealed)
    ]
