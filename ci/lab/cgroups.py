"""The lab's folders in the cgroup hierarchies of this machine, version 1 and 2.

Each machine of a lab has one folder in each hierarchy and takes it for the root of the
hierarchy, so that whatever containerd, the kubelet or Cilium make lies below it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from .settings import LabError

TOP = "zt-lab"
# Below the root of a version 2 hierarchy that shares out controllers no process may live.
LEAF = "init"


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy."""

    mount: Path
    version: int
    options: str


def hierarchies() -> list[Hierarchy]:
    """All hierarchies of this machine, once each."""
    found: dict[Path, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        mount = Path(left.split()[4])
        kind, _source, options = right.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            kept = ",".join(o for o in options.split(",") if o not in ("rw", "ro"))
            found[mount] = Hierarchy(mount, 2 if kind == "cgroup2" else 1, kept)
    if not found:
        raise LabError("no cgroup hierarchy is mounted under /sys/fs/cgroup")
    return list(found.values())


def make(lab_name: str, machine: str) -> None:
    """Make the machine's folder in every hierarchy."""
    for hierarchy in hierarchies():
        place = hierarchy.mount
        for part in (TOP, lab_name, machine):
            if hierarchy.version == 2:
                _share_controllers(place)
            place = place / part
            place.mkdir(exist_ok=True)
            if hierarchy.version == 1:
                _fill_cpuset(place)


def entrances(lab_name: str, machine: str) -> list[str]:
    """The files to write a process id to, so that the process belongs to the machine."""
    files = []
    for hierarchy in hierarchies():
        place = hierarchy.mount / TOP / lab_name / machine
        leaf = place / LEAF
        files.append(str((leaf if leaf.is_dir() else place) / "cgroup.procs"))
    return files


def settle(lab_name: str, machine: str) -> None:
    """Move the machine's first processes out of the way of its containers (version 2)."""
    for hierarchy in hierarchies():
        if hierarchy.version != 2:
            continue
        place = hierarchy.mount / TOP / lab_name / machine
        (place / LEAF).mkdir(exist_ok=True)
        for pid in (place / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (place / LEAF / "cgroup.procs").write_text(pid)
        _share_controllers(place)


def members(lab_name: str, machine: str = "") -> set[int]:
    """Every process that belongs to the lab, or to one machine of it."""
    pids: set[int] = set()
    for hierarchy in hierarchies():
        for file in (hierarchy.mount / TOP / lab_name / machine).glob("**/cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(int(word) for word in file.read_text().split())
    return pids - {0}


def remove(lab_name: str, machine: str = "", timeout: float = 10) -> list[str]:
    """Remove the folders of one machine or of the whole lab; returns those that would not go."""
    deadline = time.monotonic() + timeout
    while True:
        stuck = []
        for hierarchy in hierarchies():
            top = hierarchy.mount / TOP
            stuck += _remove_tree(top / lab_name / machine)
            if not machine:
                with contextlib.suppress(OSError):
                    # Goes only when no other lab is in it.
                    top.rmdir()
        # The kernel lets go of a dead process's folder a moment after its death.
        if not stuck or time.monotonic() > deadline:
            return stuck
        time.sleep(0.1)


def _remove_tree(top: Path) -> list[str]:
    stuck = []
    folders = [path for path in top.glob("**/*") if path.is_dir()]
    for folder in [*sorted(folders, reverse=True), top]:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            stuck.append(str(folder))
    return stuck


def _share_controllers(place: Path) -> None:
    controllers = place / "cgroup.controllers"
    for name in controllers.read_text().split():
        with contextlib.suppress(OSError):
            (place / "cgroup.subtree_control").write_text(f"+{name}")


def _fill_cpuset(place: Path) -> None:
    # A new version 1 cpuset is empty, and no process may enter an empty one.
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = place / name
        if file.exists() and not file.read_text().strip():
            file.write_text((place.parent / name).read_text())
