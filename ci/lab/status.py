"""What `status` shows and where `logs` looks."""

from __future__ import annotations

from pathlib import Path

from . import controlplane, goal, inventory, nodes, processes, readiness
from .settings import Lab, LabError


def report(lab: Lab) -> tuple[str, bool]:
    """The lab's state as text, and whether all of it is well."""
    lines = [_title(lab), ""]
    healthy = _machines(lab, lines)
    healthy &= _components(lab, lines)
    if controlplane.ready(lab):
        healthy &= _cluster(lab, lines)
    else:
        healthy = False
        lines += ["", "the API server is not ready"]
    lines += ["", "healthy" if healthy else "not healthy; bring it back with: ci/zt-lab up"]
    return "\n".join(lines), healthy


def log_file(lab: Lab, name: str) -> Path:
    """Where a component, a machine or the API server's audit writes."""
    logs = {path.stem: path for path in lab.logs.glob("*.log")}
    logs["audit"] = lab.state / "audit.log"
    if name not in logs or not logs[name].exists():
        raise LabError(f"no log {name!r}; there are: {', '.join(sorted(logs))}")
    return logs[name]


def _title(lab: Lab) -> str:
    aim = goal.remembered(lab)
    parts = [f"network {lab.cni}"]
    parts += ["mesh" if lab.with_mesh else "no mesh"]
    parts += ["admission" if lab.with_admission else "no admission"]
    parts += [f"scenario {aim.scenario} ({aim.engine})", f"API server {lab.server}"]
    return f"lab {lab.name}: {', '.join(parts)}"


def _machines(lab: Lab, lines: list[str]) -> bool:
    alive = nodes.running(lab)
    for name in nodes.names(lab):
        state = f"process {alive[name].pid}" if name in alive else "DEAD"
        lines.append(f"machine   {name:30} {state}")
    return len(alive) == len(nodes.names(lab))


def _components(lab: Lab, lines: list[str]) -> bool:
    live = processes.table()
    healthy = True
    for component in inventory.components(lab):
        running = processes.find(lab, component.name, live)
        healthy &= running is not None
        if running:
            state = f"process {running.pid}, up for {processes.age(running):.0f} s"
        else:
            state = "DEAD"
        lines.append(f"component {component.name:30} {state}")
    return healthy


def _cluster(lab: Lab, lines: list[str]) -> bool:
    states = readiness.node_states(lab)
    for node in lab.nodes:
        ready = "ready" if states.get(node.name) == "True" else "NOT READY"
        lines.append(f"node      {node.name:30} {ready}, {node.address}, pods {node.pod_cidr}")
    unready = readiness.unready_pods(lab)
    lines += [f"pod       {pod:30} NOT READY" for pod in unready]
    return not unready and all(states.get(node.name) == "True" for node in lab.nodes)
