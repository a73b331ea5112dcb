"""Process 1 of a lab machine: gives it its own view of the file system, then reaps the dead.

Runs by its path in fresh namespaces, so it uses nothing from the rest of the lab.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

# What a node's programs would alter for all of this machine.
NOT_OURS_TO_ALTER = ("/proc/sys/kernel", "/proc/sys/vm")
# The kubelet does not start before these are as it wants them, so it is shown what it wants.
SHOWN = {
    "/proc/sys/vm/overcommit_memory": 1,
    "/proc/sys/vm/panic_on_oom": 0,
    "/proc/sys/kernel/panic": 10,
    "/proc/sys/kernel/panic_on_oops": 1,
    "/proc/sys/kernel/keys/root_maxkeys": 1_000_000,
    "/proc/sys/kernel/keys/root_maxbytes": 25_000_000,
}


def main(specification: Path) -> None:
    """Set the machine up, say so, and stay."""
    spec: dict[str, Any] = json.loads(specification.read_text())
    # Before anything can die: a signal that is not blocked would be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    socket.sethostname(spec["hostname"])
    _mount("-t", "proc", "proc", "/proc")
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount_cgroups(spec["cgroups"])
    _mount("-t", "bpf", "bpf", "/sys/fs/bpf")
    for place, folder in spec["replaced"].items():
        _replace(place, Path(folder), [Path(path) for path in spec["kept"]])
    for name, value in spec["sysctls"].items():
        (Path("/proc/sys") / name).write_text(str(value))
    for place in NOT_OURS_TO_ALTER:
        _mount("--bind", place, place)
        _mount("-o", "remount,bind,ro", place)
    shown = specification.parent / "shown"
    shown.mkdir(exist_ok=True)
    for place, number in SHOWN.items():
        file = shown / place.rpartition("/")[2]
        file.write_text(f"{number}\n")
        _mount("--bind", str(file), place)
    # So that containers may ask for mounts that propagate; nothing leaves the machine.
    _mount("--make-rshared", "/")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ready = Path(spec["ready"])
    partial = ready.with_suffix(".partial")
    partial.write_text(os.readlink("/proc/self/ns/pid"))
    partial.rename(ready)
    _reap()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _mount_cgroups(mounts: list[dict[str, str]]) -> None:
    top = Path("/sys/fs/cgroup")
    if [mount["at"] for mount in mounts] != [str(top)]:
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(top))
    for mount in mounts:
        at = Path(mount["at"])
        at.mkdir(parents=True, exist_ok=True)
        options = ["-o", mount["options"]] if mount["options"] else []
        _mount("-t", mount["type"], *options, "cgroup", str(at))
        # Programs look for /sys/fs/cgroup/cpu also where it is mounted as cpu,cpuacct.
        for part in at.name.split(",") if "," in at.name else ():
            (at.parent / part).symlink_to(at.name)


def _replace(place: str, folder: Path, kept: list[Path]) -> None:
    """Put a folder of the lab in the place of one of this machine, except for what is kept."""
    for path in kept:
        if path.is_relative_to(place):
            inside = folder / path.relative_to(place)
            inside.mkdir(parents=True, exist_ok=True)
            _mount("--rbind", str(path), str(inside))
    _mount("--rbind", str(folder), place)


def _reap() -> None:
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass


if __name__ == "__main__":
    main(Path(sys.argv[1]))
