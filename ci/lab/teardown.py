"""Taking a lab away so that nothing of it is left, in whatever state it was."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from . import cgroups, network, nodes
from .settings import STATE_ROOT, Lab, LabError, existing, load
from .shell import run


def down(name: str, log: Callable[[str], None]) -> None:
    """Take the lab of this name away; what is built and the images stay in the cache."""
    if name not in existing():
        log(f"there is no lab named {name!r}")
        return
    lab = load(name)
    nodes.end(lab)
    network.remove(lab)
    _unmount(lab)
    stuck = cgroups.remove(lab.name)
    if stuck:
        raise LabError(f"cgroup folders that cannot be removed: {', '.join(stuck)}")
    shutil.rmtree(lab.run, ignore_errors=True)
    _remove_state(lab)
    for parent in (lab.run.parent, STATE_ROOT):
        with contextlib.suppress(OSError):
            # Goes only when no other lab is in it.
            parent.rmdir()
    log(f"lab {name!r} is gone")


def _unmount(lab: Lab) -> None:
    places = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = Path(line.split()[4])
        if place.is_relative_to(lab.state) or place.is_relative_to(lab.run):
            places.append(str(place))
    for at in sorted(places, reverse=True):
        run(["umount", "--lazy", at], check=False)


def _remove_state(lab: Lab) -> None:
    # The lab's entry in the books goes last, so that an interrupted `down` can be repeated.
    for path in lab.state.iterdir():
        if path.name == "lab.json":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    shutil.rmtree(lab.state)
