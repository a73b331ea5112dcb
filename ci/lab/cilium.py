"""Cilium's agents and operator, which run as ordinary programs of the nodes."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
from pathlib import Path
from typing import Any

from . import cgroups, nodes, pki, processes
from .build import module_dir, program
from .kube import kubectl
from .packages import llvm_programs
from .processes import SEARCH_PATH, Component, Machine
from .settings import POD_NETWORK, Lab, LabError, Node

# By which several operators would agree on the one that works.
LEASE = "cilium-operator-resource-lock"


def prepare(lab: Lab) -> None:
    """Lay out the compiler and the sources that the agents compile; needs no cluster."""
    tools = lab.state / "tools"
    tools.mkdir(exist_ok=True)
    for name, path in llvm_programs().items():
        link = tools / name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    for node in lab.nodes:
        place = _library(lab, node) / "bpf"
        if not place.exists():
            source = module_dir("cilium") / "bpf"
            partial = place.with_name("partial")
            shutil.rmtree(partial, ignore_errors=True)
            # Modules are read-only, and the agent writes beside the sources.
            unneeded = shutil.ignore_patterns("tests", "complexity-tests")
            shutil.copytree(source, partial, copy_function=shutil.copyfile, ignore=unneeded)
            for folder in (partial, *(p for p in partial.rglob("*") if p.is_dir())):
                folder.chmod(0o755)
            partial.rename(place)


# By default the agent makes four endpoints at once and from then on one in two seconds, faster or
# slower as it thinks fit, so a node with many new pods is idle while they wait.
_PACE = {
    "endpoint-create": "rate-limit:50/s,rate-burst:50,parallel-requests:8,auto-adjust:false",
}


def _library(lab: Lab, node: Node) -> Path:
    return nodes.folder(lab, node.name) / "cilium"


def agent(lab: Lab, node: Node, configuration: Path, chain: str) -> Component:
    """The node's agent, which puts the CNI chain into place when it is ready for pods."""
    template = nodes.folder(lab, node.name) / "chain.json"
    command = [
        str(program(lab.cache, "cilium", "daemon")),
        f"--k8s-kubeconfig-path={pki.kubeconfig(lab, 'cilium')}",
        f"--lib-dir={_library(lab, node)}",
        "--state-dir=/run/cilium",
        "--bpf-root=/sys/fs/bpf",
        f"--cgroup-root={_cgroup_root()}",
        f"--read-cni-conf={template}",
        f"--write-cni-conf-when-ready={configuration}",
        "--cni-exclusive=false",
        "--identity-allocation-mode=crd",
        "--ipam=kubernetes",
        "--k8s-require-ipv4-pod-cidr=true",
        "--enable-ipv6=false",
        "--routing-mode=native",
        f"--ipv4-native-routing-cidr={POD_NETWORK}",
        "--auto-direct-node-routes=true",
        "--enable-ipv4-masquerade=false",
        "--devices=eth0",
        # kube-proxy does the Services; the socket level would reach beyond the lab.
        "--kube-proxy-replacement=false",
        "--bpf-lb-sock=false",
        # There is no build of Cilium's own Envoy.
        "--enable-l7-proxy=false",
        "--enable-envoy-config=false",
        "--enable-health-checking=false",
        "--enable-endpoint-health-checking=false",
        "--enable-gops=false",
        "--enable-hubble=true",
        # As its Helm chart has it: an event for each connection, not for each packet.
        "--monitor-aggregation=medium",
        "--monitor-aggregation-interval=5s",
        "--monitor-aggregation-flags=all",
        "--hubble-socket-path=/run/cilium/hubble.sock",
        "--hubble-event-buffer-capacity=16383",
        "--k8s-client-qps=100",
        "--k8s-client-burst=200",
        "--identity-max-jitter=0s",
        f"--api-rate-limit={json.dumps(_PACE)}",
        "--preallocate-bpf-maps=false",
    ]
    return Component(
        f"cilium-agent-{node.name}",
        node.name,
        tuple(command),
        environment=(
            ("K8S_NODE_NAME", node.name),
            ("CILIUM_K8S_NAMESPACE", "kube-system"),
            ("PATH", f"{lab.state / 'tools'}:{SEARCH_PATH}"),
        ),
        files=((template, chain),),
    )


def start_operator(lab: Lab, machine: Machine) -> None:
    """Start the operator unless it runs, without the wait for a dead one's lease to run out."""
    component = operator(lab)
    if processes.find(lab, component.name, processes.table()) is None:
        gone = ("delete", "--ignore-not-found", "--namespace=kube-system", "lease", LEASE)
        kubectl(lab, *gone, check=False)
    processes.ensure(lab, machine, component)


def operator(lab: Lab) -> Component:
    """The operator, on the first node."""
    return Component(
        "cilium-operator",
        lab.control.name,
        (
            str(program(lab.cache, "cilium", "operator")),
            f"--k8s-kubeconfig-path={pki.kubeconfig(lab, 'cilium')}",
            "--identity-allocation-mode=crd",
            "--ipam=kubernetes",
            "--enable-k8s-endpoint-slice=true",
            "--enable-ipv6=false",
            "--enable-gops=false",
            "--set-cilium-node-taints=false",
            "--set-cilium-is-up-condition=false",
            "--remove-cilium-node-taints=false",
            # It would end pods that it does not know, which are ours to start.
            "--unmanaged-pod-watcher-interval=0",
            # There is no other operator to hand over to, and it would end itself when a busy
            # machine keeps it from renewing its lease in time.
            "--leader-election-lease-duration=120s",
            "--leader-election-renew-deadline=100s",
            "--leader-election-retry-period=2s",
        ),
        environment=(
            ("K8S_NODE_NAME", lab.control.name),
            ("CILIUM_K8S_NAMESPACE", "kube-system"),
        ),
    )


def _cgroup_root() -> Path:
    for hierarchy in cgroups.hierarchies():
        if hierarchy.version == 2:
            return hierarchy.mount
    raise LabError("Cilium needs a version 2 cgroup hierarchy, and none is mounted")


def agent_get(lab: Lab, node: Node, path: str) -> Any:
    """What the node's agent answers to a GET of its own API, such as /v1/endpoint."""
    connection = _UnixConnection(lab.run / node.name / "cilium" / "cilium.sock")
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        return json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise LabError(f"Cilium's agent on {node.name} does not answer: {problem}") from None
    finally:
        connection.close()


def well(lab: Lab, node: Node) -> bool:
    """Whether the node's agent says that it does its work."""
    try:
        return bool(agent_get(lab, node, "/v1/healthz")["cilium"]["state"] == "Ok")
    except (LabError, KeyError, TypeError):
        return False


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the agent's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
