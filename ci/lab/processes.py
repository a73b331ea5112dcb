"""Starting, finding and ending the lab's processes, which outlive the command that starts them.

A process is known by its process namespace, its number in there and its start time; the
three together never mean another process, not even after a restart of this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import cgroups
from .settings import Lab, LabError

LARGEST_LOG = 64 * 1024 * 1024
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Starting a program takes no time, but this machine may have far too much else to do.
PATIENCE = 60.0

# Run in this machine's namespaces: joins the cgroups, then the namespaces.
_ENTER = 'for f in $ENTRANCES; do echo 0 > "$f" || exit 9; done; unset ENTRANCES; exec "$@"'
# Run in the machine's namespaces: notes who it is, then becomes the program.
_BECOME = (
    'f=$1; shift; IFS= read -r s < /proc/$$/stat; set -- $s -- "$@"; b=${22}; '
    'while [ "$1" != -- ]; do shift; done; shift; '
    'echo "$$ $b" > "$f.partial"; mv "$f.partial" "$f"; exec "$@"'
)


@dataclass(frozen=True)
class Component:
    """A program that must run for the lab to be whole."""

    name: str
    machine: str
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    # Files that the program reads when it starts, with what must be in them.
    files: tuple[tuple[Path, str], ...] = ()

    def digest(self) -> str:
        """Changes when the program must be started anew to be as described."""
        texts = [text for _, text in self.files]
        whole = json.dumps([self.command, self.environment, texts])
        return hashlib.sha256(whole.encode()).hexdigest()


@dataclass(frozen=True)
class Machine:
    """A node, or the outside, while it runs."""

    name: str
    pid: int
    namespace: str


@dataclass(frozen=True)
class Running:
    """A live process as this machine sees it."""

    pid: int
    inner: int
    started: int
    namespace: str


def table() -> dict[tuple[str, int], Running]:
    """All live processes by process namespace and number in it."""
    found = {}
    for running in _live():
        found[running.namespace, running.inner] = running
    return found


def boot_id() -> str:
    """Distinguishes this start of the machine from the ones before."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start(lab: Lab, machine: Machine, component: Component) -> None:
    """Start the program in its machine."""
    note = _note(lab, component.name)
    note.parent.mkdir(parents=True, exist_ok=True)
    identity = note.with_suffix(".identity")
    identity.unlink(missing_ok=True)
    facts = {"boot": boot_id(), "namespace": machine.namespace, "digest": component.digest()}
    # Before the start, so that the program is found even if this command is killed meanwhile;
    # the program itself notes its number and start time.
    note.with_suffix(".partial").write_text(json.dumps(facts))
    note.with_suffix(".partial").rename(note)
    for path, text in component.files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    log = lab.logs / f"{component.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    fresh = "w" if log.exists() and log.stat().st_size > LARGEST_LOG else "a"
    entrances = cgroups.entrances(lab.name, machine.name)
    enter = ["nsenter", f"--target={machine.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
    enter += ["--cgroup", "--wd=/", "--", "setsid", "--fork"]
    become = ["/bin/sh", "-c", _BECOME, component.name, str(identity), *component.command]
    environment = {
        "PATH": SEARCH_PATH,
        "HOME": "/root",
        "TMPDIR": "/run/tmp",
        "ENTRANCES": " ".join(entrances),
        **dict(component.environment),
    }
    with log.open(fresh) as stream:
        subprocess.run(
            ["/bin/sh", "-c", _ENTER, component.name, *enter, *become],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            timeout=PATIENCE,
            check=True,
        )
    deadline = time.monotonic() + PATIENCE
    while not identity.exists():
        if time.monotonic() > deadline:
            raise LabError(f"{component.name} did not start; see {log}")
        time.sleep(0.01)


def find(lab: Lab, name: str, live: dict[tuple[str, int], Running]) -> Running | None:
    """The live process of a component, if there is one."""
    facts = _facts(lab, name)
    if facts is None or facts["boot"] != boot_id():
        return None
    try:
        inner, started = _note(lab, name).with_suffix(".identity").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    running = live.get((str(facts["namespace"]), int(inner)))
    return running if running and running.started == int(started) else None


def ensure(lab: Lab, machine: Machine, component: Component) -> bool:
    """Start the component unless it runs as described; says whether it was started."""
    running = find(lab, component.name, table())
    if running:
        facts = _facts(lab, component.name)
        if facts is not None and facts["digest"] == component.digest():
            return False
        end(running)
    start(lab, machine, component)
    return True


def end(running: Running, patience: float = 5) -> None:
    """End a process, by force when it does not listen."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            now = describe(running.pid)
            if now is None or now.started != running.started:
                return
            time.sleep(0.02)
    raise LabError(f"process {running.pid} survives SIGKILL")


def age(running: Running) -> float:
    """For how many seconds the process has lived."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - running.started / os.sysconf("SC_CLK_TCK")


def describe(pid: int) -> Running | None:
    """A process by this machine's number; none when it is gone, or dead and not reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        namespace = os.readlink(f"/proc/{pid}/ns/pid")
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    numbers = next((line for line in status.splitlines() if line.startswith("NSpid:")), "")
    if fields[0] in ("Z", "X") or not numbers:
        return None
    return Running(pid, int(numbers.split()[-1]), int(fields[19]), namespace)


def _live() -> Iterator[Running]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            running = describe(int(entry))
            if running:
                yield running


def _note(lab: Lab, name: str) -> Path:
    return lab.state / "processes" / f"{name}.json"


def _facts(lab: Lab, name: str) -> dict[str, object] | None:
    try:
        facts = json.loads(_note(lab, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None
