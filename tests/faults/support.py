"""Runs a small selection of the suite, breaks something while it runs, and expects exact verdicts.

The selection is eight checks of three controls between three workloads. Without a fault all hold.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.faults.conftest import LAB
from tests.faults.proxy import Proxy
from tests.live.support import (
    HOLDS,
    INCONCLUSIVE,
    ROOT,
    Cluster,
    SuiteRun,
    read_run,
    suite_command,
)

NETWORK = ("-k", "canaries or (ZT-NET-001 and reports and web) or (ZT-NET-003 and frontend)")
CANARIES = "ZT-NET-000-canaries"
CHECKS = frozenset(
    {
        CANARIES,
        *(
            f"ZT-NET-001-{flow}:8080/tcp-{via}"
            for flow in ("reports->web", "web->reports")
            for via in ("pod-ip", "service-ip")
        ),
        *(
            f"ZT-NET-003-frontend->reports:8080/tcp-{via}"
            for via in ("pod-ip", "service-ip", "dns-name")
        ),
    }
)
WORKLOADS = ("frontend", "reports", "web")


def start(folder: Path, config: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a run in the background."""
    folder.mkdir(exist_ok=True)
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            suite_command(folder, *arguments, config=config),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def finish(process: subprocess.Popen[str], folder: Path) -> SuiteRun:
    process.wait(timeout=500)
    output = (folder / "output").read_text()
    assert "Traceback" not in output, output
    assert "INTERNALERROR" not in output, output
    return read_run(process.returncode, output, folder)


def run(folder: Path, config: str, *arguments: str, **environment: str) -> SuiteRun:
    return finish(start(folder, config, *arguments, **environment), folder)


def through(proxy: Proxy, folder: Path) -> SuiteRun:
    """Run the selection through the proxy."""
    return run(folder, proxy.kubeconfig(folder / "proxy.yaml"), *NETWORK)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before the moment for the fault"
        assert time.monotonic() < deadline, "the moment for the fault never came"
        time.sleep(0.1)


def twins(lab: Cluster) -> dict[str, tuple[str, str, str]]:
    """Namespace, pod and node of the running twin of each workload."""
    return {
        item["metadata"]["labels"]["app"]: (
            item["metadata"]["namespace"],
            item["metadata"]["name"],
            item["spec"]["nodeName"],
        )
        for item in lab.items("pods", "-A", "-l", "zerotrust.dev/role=twin")
        if item.get("status", {}).get("phase") == "Running"
    }


def running(lab: Cluster) -> Callable[[], bool]:
    return lambda: len(twins(lab)) == len(WORKLOADS)


def exactly(found: SuiteRun, inconclusive: Iterable[str]) -> None:
    """These checks are inconclusive, all others of the selection hold, and the exit status fits."""
    lost = set(inconclusive)
    expected: Mapping[str, str] = {c: INCONCLUSIVE if c in lost else HOLDS for c in CHECKS}
    assert found.verdicts == expected, found.output
    assert found.status == (6 if lost else 0), found.output


def about(*words: str) -> set[str]:
    """The checks of the selection whose id has one of these words."""
    found = {check for check in CHECKS if any(word in check for word in words)}
    assert found
    return found


def touching(where: dict[str, tuple[str, str, str]], node: str) -> set[str]:
    """The checks that need a pod on this node, the canaries among them."""
    return {CANARIES, *about(*(app for app, twin in where.items() if twin[2] == node))}


def nothing_shown(found: SuiteRun) -> None:
    exactly(found, CHECKS)


def green(found: SuiteRun) -> None:
    exactly(found, ())


@contextmanager
def _lab_code() -> Iterator[None]:
    """The lab's own modules can be imported."""
    sys.path.insert(0, str(ROOT))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT))


def process_of(name: str) -> int:
    """The process id of a component of the lab."""
    with _lab_code():
        from ci.lab import processes, settings
    found = processes.find(settings.load(LAB), name, processes.table())
    assert found is not None, f"{name} does not run"
    return int(found.pid)


def machine(name: str) -> int:
    """The process id of the first process of a node, or of what is outside."""
    with _lab_code():
        from ci.lab import nodes, settings
    return int(nodes.running(settings.load(LAB))[name].pid)


def agents(pod: str) -> list[int]:
    """The process ids of the agent of a probe pod."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"ZT_POD={pod}\0".encode() in environment:
                found.append(int(entry.name))
    return found


def memory_group(pid: int) -> Path:
    """The folder of a process's memory control group (cgroup v1)."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            return Path("/sys/fs/cgroup/memory", path.lstrip("/"))
    raise AssertionError("no control group for memory")


def out_of_memory() -> int:
    """How many processes this machine's kernel has killed for want of memory."""
    lines = Path("/proc/vmstat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def host_link(node: str) -> str:
    """The machine's end of the link to a node."""
    pid = process_of(f"kubelet-{node}")
    inside = ["nsenter", f"--target={pid}", "--net", "--", "ip", "-json", "link", "show", "eth0"]
    shown = json.loads(subprocess.run(inside, capture_output=True, text=True, check=True).stdout)
    index = shown[0]["link_index"]
    ours = subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True)
    (name,) = [link["ifname"] for link in json.loads(ours.stdout) if link["ifindex"] == index]
    return str(name)


@contextmanager
def scaled_down(lab: Cluster, namespace: str, name: str) -> Iterator[None]:
    """A Deployment without pods."""
    lab.kubectl("scale", "-n", namespace, f"deployment/{name}", "--replicas=0")
    lab.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=60s")
    try:
        deadline = time.monotonic() + 60
        while lab.items("pods", "-n", namespace, "-l", _selector(lab, namespace, name)):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        yield
    finally:
        lab.kubectl("scale", "-n", namespace, f"deployment/{name}", "--replicas=1")
        lab.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=100s")


def _selector(lab: Cluster, namespace: str, name: str) -> str:
    text = lab.kubectl("get", "deployment", "-n", namespace, name, "-o", "json")
    labels = json.loads(text)["spec"]["selector"]["matchLabels"]
    return ",".join(f"{k}={v}" for k, v in labels.items())


def delete_all(lab: Cluster) -> None:
    """What a run that could not reach the server told us to do by hand."""
    for namespace in ("staging", "legacy", "zerotrust-probes"):
        lab.kubectl("delete", "pods,services,networkpolicies", "-n", namespace,
                    "-l", "zerotrust.dev/run", "--now")  # fmt: skip
    lab.kubectl("delete", "namespace", "zerotrust-probes")
