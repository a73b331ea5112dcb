"""Single flows of a user's own tests, between workloads that the intent file need not name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_zerotrust.cluster.discovery import LiveWorkload, pods_of
from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.core.verdict import Result
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.network.checks import FlowCheck
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.judge import Judge


def with_workloads(engine: NetworkEngine, ends: Iterable[Workload], check: FlowCheck) -> Result:
    """Observe and judge one flow in a batch of its own.

    Raises Inconclusive if a workload has no running pod to take labels and account from.
    """
    workloads, live = dict(engine.workloads), dict(engine.live)
    for end in ends:
        workload, port = end, check.flow.port
        if workload.key == check.flow.target and port not in workload.ports:
            workload = Workload(
                key=f"{workload.key}-{port.number}-{port.protocol.lower()}",
                namespace=workload.namespace,
                labels=workload.labels,
                ports=(port,),
            )
            check = FlowCheck(
                control=check.control,
                flow=type(check.flow)(check.flow.source, workload.key, port),
                via=check.via,
                expected=check.expected,
            )
        if workload.key not in workloads:
            workloads[workload.key] = workload
            live[workload.key] = _look_up(engine, workload)
    single = engine.about(workloads, live)
    return Judge(single, single.snapshot(check, ())).flow(check)


def all_with_workloads(
    engine: NetworkEngine, asked: Sequence[tuple[Workload, Workload, FlowCheck]]
) -> list[Result]:
    """Observe many flows (source, target, check) in one batch, and judge each.

    Raises Inconclusive if a workload has no running pod to take labels and account from.
    """
    workloads, live = dict(engine.workloads), dict(engine.live)
    checks = []
    for source, asked_target, asked_check in asked:
        target, check, flow = asked_target, asked_check, asked_check.flow
        if flow.port not in target.ports:
            key = f"{target.key}-{flow.port.number}-{flow.port.protocol.lower()}"
            target = replace(target, key=key, ports=(flow.port,))
            check = replace(check, flow=replace(flow, target=key))
        for end in (source, target):
            if end.key not in workloads:
                workloads[end.key] = end
                live[end.key] = _look_up(engine, end)
        checks.append(check)
    if not checks:
        return []
    single = engine.about(workloads, live)
    judge = Judge(single, single.snapshot(checks[0], checks))
    return [judge.flow(check) for check in checks]


def _look_up(engine: NetworkEngine, workload: Workload) -> LiveWorkload:
    pods = pods_of(engine.fleet.api, workload)
    if not pods:
        labels = ",".join(f"{k}={v}" for k, v in workload.labels.items())
        raise Inconclusive(
            f"no running pod in namespace {workload.namespace} has the labels {labels}, so "
            f"there is nothing to stand for"
        )
    return LiveWorkload(
        key=workload.key,
        labels=dict(pods[0].labels),
        service_account=pods[0].service_account,
        annotations=dict(pods[0].annotations),
        nodes=tuple(sorted({pod.node for pod in pods})),
        port_names=dict(pods[0].ports),
        adopter=pods[0].adopter,
        service=None,
    )
