"""The machines of a lab: sets of namespaces that end with their first process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import cgroups, network, processes
from .processes import Component, Machine
from .settings import Lab, LabError

INIT = Path(__file__).with_name("node_init.py")
OUTSIDE_SERVERS = Path(__file__).with_name("outside.py")
# Starting a program takes no time, but this machine may have far too much else to do.
PATIENCE = 60.0
SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    # Replies of pods may come another way than the route to them; Cilium needs that too.
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
}


def names(lab: Lab) -> list[str]:
    """The nodes and the outside."""
    return [*(node.name for node in lab.nodes), network.OUTSIDE]


def running(lab: Lab) -> dict[str, Machine]:
    """The machines that are alive."""
    return {name: found for name in names(lab) if (found := _find(lab, name))}


def ensure(lab: Lab) -> dict[str, Machine]:
    """Start the machines that are not alive and connect them."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda name: _find(lab, name) or _start(lab, name), names(lab)))
    machines = {machine.name: machine for machine in found}
    network.ensure(lab, machines)
    processes.ensure(lab, machines[network.OUTSIDE], outside(lab))
    return machines


def end(lab: Lab, name: str = "", patience: float = 20) -> None:
    """End every process of one machine, or of the whole lab."""
    deadline = time.monotonic() + patience
    # The end of a machine's first process ends every process, mount and link in it; by the
    # cgroups also a machine is found that was never finished.
    while victims := {pid for pid in cgroups.members(lab.name, name) if processes.describe(pid)}:
        if time.monotonic() > deadline:
            raise LabError(f"processes that cannot be ended: {sorted(victims)}")
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def outside(lab: Lab) -> Component:
    """The servers that stand in for the internet and a cloud's metadata service."""
    return Component(
        network.OUTSIDE,
        network.OUTSIDE,
        (sys.executable, str(OUTSIDE_SERVERS)),
        environment=(("PYTHONUNBUFFERED", "1"),),
    )


def folder(lab: Lab, name: str) -> Path:
    """Where a machine's files are kept while the lab exists."""
    return lab.state / name


def _find(lab: Lab, name: str) -> Machine | None:
    try:
        facts = json.loads((folder(lab, name) / "machine.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    alive = processes.describe(int(facts["pid"]))
    if facts["boot"] != processes.boot_id() or alive is None or alive.started != facts["started"]:
        return None
    return Machine(name, alive.pid, alive.namespace)


def _start(lab: Lab, name: str) -> Machine:
    place = folder(lab, name)
    place.mkdir(parents=True, exist_ok=True)
    run_folder = lab.run / name
    # Sockets and states of processes that died with the machine.
    shutil.rmtree(run_folder, ignore_errors=True)
    (run_folder / "tmp").mkdir(parents=True)
    (run_folder / "lock").mkdir()
    replaced = {"/run": run_folder, "/var/lib": place / "var-lib", "/var/log": place / "var-log"}
    for path in replaced.values():
        path.mkdir(exist_ok=True)
    # What an interrupted start left.
    end(lab, name)
    # The kubelet would spend seconds on each folder of a container that died with the machine.
    cgroups.remove(lab.name, name)
    cgroups.make(lab.name, name)
    ready = place / "ready"
    ready.unlink(missing_ok=True)
    specification = place / "init.json"
    specification.write_text(
        json.dumps(
            {
                "hostname": name,
                "ready": str(ready),
                "replaced": {at: str(path) for at, path in replaced.items()},
                "kept": [str(path) for path in (lab.state, lab.cache, INIT.parents[2])],
                "sysctls": SYSCTLS if name != network.OUTSIDE else {},
                "cgroups": [
                    {
                        "at": str(hierarchy.mount),
                        "type": "cgroup2" if hierarchy.version == 2 else "cgroup",
                        "options": "" if hierarchy.version == 2 else hierarchy.options,
                    }
                    for hierarchy in cgroups.hierarchies()
                ],
            }
        )
    )
    _unshare(lab, name, specification)
    return _wait(lab, name, ready)


def _unshare(lab: Lab, name: str, specification: Path) -> None:
    lab.logs.mkdir(parents=True, exist_ok=True)
    join = 'for f in $ENTRANCES; do echo 0 > "$f" || exit 9; done; unset ENTRANCES; exec "$@"'
    unshare = ["setsid", "--fork", "unshare", "--cgroup", "--pid", "--fork", "--mount", "--net"]
    unshare += ["--uts", "--ipc", "--propagation", "private", "--"]
    with (lab.logs / f"{name}.log").open("a") as stream:
        subprocess.run(
            ["/bin/sh", "-c", join, name, *unshare, sys.executable, str(INIT), str(specification)],
            env={
                "PATH": processes.SEARCH_PATH,
                "ENTRANCES": " ".join(cgroups.entrances(lab.name, name)),
            },
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            timeout=PATIENCE,
            check=True,
        )


def _wait(lab: Lab, name: str, ready: Path) -> Machine:
    deadline = time.monotonic() + PATIENCE
    while not ready.exists():
        if time.monotonic() > deadline:
            raise LabError(f"machine {name} did not start; see {lab.logs / (name + '.log')}")
        time.sleep(0.02)
    first = processes.table().get((ready.read_text(), 1))
    if first is None:
        raise LabError(f"machine {name} died at once; see {lab.logs / (name + '.log')}")
    cgroups.settle(lab.name, name)
    facts = {"boot": processes.boot_id(), "pid": first.pid, "started": first.started}
    note = folder(lab, name) / "machine.json"
    note.with_suffix(".partial").write_text(json.dumps(facts))
    note.with_suffix(".partial").rename(note)
    return Machine(name, first.pid, first.namespace)
