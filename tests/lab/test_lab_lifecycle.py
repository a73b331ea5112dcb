"""A lab comes up, heals, and goes without a trace; on machines of its own, beside other labs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ci.lab import cgroups, inventory, nodes, processes
from ci.lab.settings import Lab, load

ROOT = Path(__file__).parents[2]
SMALL = ("--without", "mesh", "--without", "admission", "--scenario", "open")
# Settings of the whole machine that a kubelet, kube-proxy or Cilium would alter.
SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "net/ipv4/ip_forward",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
)

pytestmark = [
    pytest.mark.lab_lifecycle,
    pytest.mark.skipif(os.geteuid() != 0, reason="a lab needs root"),
]


def zt_lab(*arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "ci/zt-lab"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    print(f"$ zt-lab {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done


@contextmanager
def a_lab(name: str) -> Iterator[None]:
    """Whatever happens inside, the lab goes in the end."""
    try:
        yield
    finally:
        assert zt_lab("down", "--name", name).returncode == 0


def traces(name: str) -> dict[str, object]:
    """What this machine shows of its state, but for what the other labs do meanwhile."""
    return {
        "links": sorted(link for link in os.listdir("/sys/class/net") if not other_link(link)),
        "named namespaces": listing("/run/netns"),
        "mounts": sorted(
            line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
        ),
        "BPF pins": sorted(str(path) for path in Path("/sys/fs/bpf").glob("**/*")),
        "cgroups": sorted(lab_cgroups(name)),
        "iptables": rules(),
        "folders": {
            place: listing(place)
            for place in ("/run", "/var/lib", "/etc/cni", "/opt", "/var/log", "/etc/kubernetes")
            # Other labs come and go in these; ours are looked at below.
            if place not in ("/run", "/var/lib") or not others(name)
        },
        "the lab's folders": [
            p for p in (f"/run/zt-lab/{name}", f"/var/lib/zt-lab/{name}") if Path(p).exists()
        ],
        "processes": sorted(lab_processes(name)),
        "sysctls": {
            name: path.read_text()
            for name in SYSCTLS
            if (path := Path("/proc/sys") / name).exists()
        },
    }


def others(name: str) -> list[str]:
    return [entry for entry in listing("/var/lib/zt-lab") if entry != name]


def other_link(link: str) -> bool:
    taken = [load(other).index for other in others("")]
    return any(link == f"ztbr{index}" or link.startswith(f"ztv{index}-") for index in taken)


def listing(place: str) -> list[str]:
    return sorted(os.listdir(place)) if Path(place).is_dir() else []


def rules() -> list[str]:
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return [line for line in saved.splitlines() if line.startswith("-A")]


def lab_cgroups(name: str) -> Iterator[str]:
    for hierarchy in cgroups.hierarchies():
        for path in hierarchy.mount.glob("**/"):
            parts = path.relative_to(hierarchy.mount).parts
            if parts[:1] == (cgroups.TOP,) and parts[1:2] not in ((), (name,)):
                continue
            if any(word in part for part in parts for word in ("k8s.io", "kubepods", name)):
                yield str(path)


def lab_processes(name: str) -> Iterator[str]:
    """Every process that sees, or was started with, anything of the lab's."""
    marks = (f"/zt-lab/{name}/", f"{name}-node")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            seen = (entry / "mountinfo").read_text() + (entry / "cgroup").read_text()
            seen += (entry / "cmdline").read_text(errors="replace")
        except OSError:
            continue
        if any(mark in seen for mark in marks):
            yield f"{entry.name} {(entry / 'comm').read_text().strip()}"


def bpf_objects(lab: Lab) -> dict[str, set[str]]:
    """The ids of the BPF maps and programs that the lab's agents hold."""
    held: dict[str, set[str]] = {"map": set(), "prog": set()}
    for pid in component_pids(lab).values():
        for file in Path(f"/proc/{pid}/fdinfo").iterdir():
            for line in file.read_text().splitlines():
                key, _, value = line.partition(":")
                if key in ("map_id", "prog_id"):
                    held[key.removesuffix("_id")].add(value.strip())
    return held


def surviving(held: dict[str, set[str]]) -> list[str]:
    found = []
    for kind, ids in held.items():
        shown = subprocess.run(
            ["bpftool", "--json", kind, "show"], capture_output=True, text=True, check=True
        )
        alive = {str(item["id"]) for item in json.loads(shown.stdout)}
        found += [f"{kind} {number}" for number in ids & alive]
    return found


def component_pids(lab: Lab) -> dict[str, int]:
    live = processes.table()
    found = {c.name: processes.find(lab, c.name, live) for c in inventory.components(lab)}
    return {name: running.pid for name, running in found.items() if running}


def kill_everything(lab: Lab) -> None:
    victims = cgroups.members(lab.name)
    assert len(victims) > len(component_pids(lab))
    for pid in victims:
        # A machine's first process takes the others with it.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while nodes.running(lab):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_lab_comes_heals_and_goes() -> None:
    name = "ztlife"
    zt_lab("down", "--name", name)
    before = traces(name)
    with a_lab(name):
        assert zt_lab("up", "--name", name, *SMALL).returncode == 0
        lab = load(name)
        assert zt_lab("status", "--name", name).returncode == 0
        kubeconfig = zt_lab("kubeconfig", "--name", name).stdout.strip()
        assert Path(kubeconfig).is_file()

        first = component_pids(lab)
        assert set(first) == {component.name for component in inventory.components(lab)}
        assert zt_lab("up", "--name", name, *SMALL).returncode == 0
        assert component_pids(lab) == first, "a second `up` must start nothing"

        for victim in ("etcd", "kubelet-ztlife-node2", "cilium-agent-ztlife-node1"):
            os.kill(component_pids(lab)[victim], signal.SIGKILL)
        assert zt_lab("status", "--name", name).returncode == 1
        assert zt_lab("up", "--name", name, *SMALL).returncode == 0
        assert zt_lab("status", "--name", name).returncode == 0

        kill_everything(lab)
        assert zt_lab("status", "--name", name).returncode == 1
        assert Path(zt_lab("kubeconfig", "--name", name).stdout.strip()).is_file()
        assert zt_lab("up", "--name", name, *SMALL).returncode == 0
        assert zt_lab("status", "--name", name).returncode == 0

        held = bpf_objects(lab)
        assert held["map"]
    after = traces(name)
    assert after == before
    if shutil.which("bpftool"):
        assert surviving(held) == []


def up_until(name: str, reached: str) -> None:
    """Start a lab and kill the command as soon as it says how far it is."""
    with subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "ci/zt-lab"), "up", "--name", name, *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as started:
        assert started.stdout is not None
        said = []
        for line in started.stdout:
            said.append(line)
            if reached in line:
                break
        started.kill()
    assert reached in said[-1], said


def test_an_interrupted_start_is_finished_or_taken_away() -> None:
    name = "zthalf"
    zt_lab("down", "--name", name)
    before = traces(name)
    with a_lab(name):
        for reached in ("programs", "images imported", "API server ready"):
            up_until(name, reached)
        assert zt_lab("status", "--name", name).returncode == 1
        assert zt_lab("up", "--name", name, *SMALL).returncode == 0
        assert zt_lab("status", "--name", name).returncode == 0
    assert traces(name) == before


def test_labs_of_one_name_do_not_change_at_once() -> None:
    name = "ztboth"
    with a_lab(name):
        command = [sys.executable, str(ROOT / "ci/zt-lab"), "up", "--name", name, *SMALL]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as first:
            assert first.stdout is not None
            first.stdout.readline()
            second = zt_lab("up", "--name", name, *SMALL, timeout=30)
            first.kill()
        assert second.returncode == 1
        assert "another zt-lab command" in second.stderr


def test_the_mode_without_enforcement_has_the_policies_kinds() -> None:
    name = "ztopen"
    with a_lab(name):
        assert zt_lab("up", "--name", name, *SMALL, "--cni", "ptp").returncode == 0
        lab = load(name)
        assert not [component for component in component_pids(lab) if "cilium" in component]
        refused = zt_lab("up", "--name", name, *SMALL)
        assert refused.returncode == 1
        assert "down --name ztopen" in refused.stderr
