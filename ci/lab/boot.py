"""Bringing a lab up: the order of the steps, with the slow ones side by side.

Every step does nothing where there is nothing to do, so the same order heals a lab of which
some or all processes are gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from . import (
    addons,
    build,
    cni,
    controlplane,
    goal,
    images,
    kubelet,
    nodes,
    packages,
    pki,
    readiness,
    runtime,
    store,
)
from .processes import Machine
from .settings import Lab
from .stopwatch import Stopwatch


def up(lab: Lab, wanted: str | None, log: Callable[[str], None]) -> None:
    """Bring the lab to health and to a scenario: the wanted one, else the one it had."""
    watch = Stopwatch(log)
    with watch.step("packages"):
        packages.ensure(log)
    with watch.step("programs"):
        build.ensure(lab.cache, log, names=_programs(lab))
    with watch.step("image archives"):
        archives = images.ensure(lab.cache, log, mesh=lab.with_mesh, admission=lab.with_admission)
        seed = store.ensure(lab.cache, archives, log)
    with ThreadPoolExecutor() as pool:
        before = nodes.running(lab)
        with watch.step("machines and certificates"):
            certificates = pool.submit(pki.ensure, lab)
            machines = nodes.ensure(lab)
            certificates.result()
        renewed = {name for name in machines if before.get(name) != machines[name]}
        begun = time.time()
        imports = pool.submit(_import, lab, machines, seed, archives, watch)
        network = pool.submit(cni.prepare, lab)
        with watch.step("API server ready"):
            controlplane.start_store(lab, machines[lab.control.name])
            controlplane.wait_ready(lab)
        restarted = _start_workers(lab, machines, network, pool)
        with watch.step("pod network ready"):
            cni.wait_ready(lab)
        with watch.step("nodes ready"):
            readiness.wait_nodes(lab, restarted, begun, nudge=lambda: cni.nudge(lab))
            readiness.wait_renewed(lab, renewed, begun)
        imports.result()
    with watch.step("cluster add-ons"):
        addons.install(lab, log)
    aim = goal.remembered(lab)
    if wanted:
        aim = replace(aim, scenario=wanted)
    with watch.step(f"scenario {aim.scenario}"):
        goal.reach(lab, aim)
    print(watch.table(), flush=True)


def _programs(lab: Lab) -> list[str]:
    names = ["kubernetes", "cilium", "coredns"]
    names += ["istio"] if lab.with_mesh else []
    names += ["gatekeeper", "opa"] if lab.with_admission else []
    names += ["helm"] if lab.with_mesh or lab.with_admission else []
    return names


def _import(
    lab: Lab, machines: dict[str, Machine], seed: Path, archives: list[Path], watch: Stopwatch
) -> None:
    with watch.step("images imported"):
        for node in lab.nodes:
            store.plant(seed, runtime.store_folder(lab, node))
            runtime.start(lab, node, machines[node.name])
        runtime.import_images(lab, archives)


def _start_workers(
    lab: Lab, machines: dict[str, Machine], network: Future[None], pool: ThreadPoolExecutor
) -> set[str]:
    """Start what needs the API server; returns the nodes whose kubelet was started."""
    controlplane.register_nodes(lab)
    network.result()
    control = pool.submit(controlplane.start_controllers, lab, machines[lab.control.name])
    installing = pool.submit(cni.install, lab)
    cni.start(lab, machines)
    # The kubelets last: with them come the pods, which need all of the rest and leave it no time.
    for node in lab.nodes:
        kubelet.start_proxy(lab, node, machines[node.name])
    control.result()
    restarted = set()
    for node in lab.nodes:
        runtime.wait_ready(lab, node)
        if kubelet.start(lab, node, machines[node.name]):
            restarted.add(node.name)
    installing.result()
    return restarted
