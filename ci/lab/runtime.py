"""containerd on the nodes, and the images in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import archives, nodes, processes
from .images import PAUSE
from .processes import Component, Machine
from .settings import Lab, LabError, Node
from .shell import run

# As the node's own processes see it.
SOCKET = "/run/containerd/containerd.sock"


def component(lab: Lab, node: Node) -> Component:
    """The node's containerd."""
    settings = nodes.folder(lab, node.name) / "containerd.toml"
    return Component(
        f"containerd-{node.name}",
        node.name,
        ("containerd", f"--config={settings}"),
        files=((settings, _settings(lab, node)),),
    )


def network_folder(lab: Lab, node: Node) -> Path:
    """Where containerd looks for the node's network configuration."""
    return nodes.folder(lab, node.name) / "cni"


def plugin_folder(lab: Lab) -> Path:
    """Where containerd looks for CNI plug-ins."""
    return lab.state / "cni-plugins"


def start(lab: Lab, node: Node, machine: Machine) -> None:
    """Start containerd; returns before it is ready."""
    network_folder(lab, node).mkdir(parents=True, exist_ok=True)
    plugin_folder(lab).mkdir(parents=True, exist_ok=True)
    processes.ensure(lab, machine, component(lab, node))


def wait_ready(lab: Lab, node: Node, timeout: float = 30) -> None:
    """Return when containerd answers."""
    deadline = time.monotonic() + timeout
    command = ["ctr", f"--address={_socket(lab, node)}", "version"]
    while run(command, check=False).returncode != 0:
        if time.monotonic() > deadline:
            log = lab.logs / f"containerd-{node.name}.log"
            raise LabError(f"containerd on {node.name} is not ready; see {log}")
        time.sleep(0.1)


def import_images(
    lab: Lab, images: Sequence[Path], log: Callable[[str], None] = lambda _: None
) -> None:
    """Bring the archives' images into every node, except for those that are there."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: _import(lab, node, images, log), lab.nodes))


def store_folder(lab: Lab, node: Node) -> Path:
    """Where the node's containerd keeps its images and containers."""
    return nodes.folder(lab, node.name) / "containerd"


def _import(lab: Lab, node: Node, images: Sequence[Path], log: Callable[[str], None]) -> None:
    wait_ready(lab, node)
    socket = _socket(lab, node)
    store = store_folder(lab, node)
    present = archives.present(socket)
    for image in images:
        tags = archives.contents(image).tags
        if archives.remembered(store, image) and present.issuperset(tags):
            continue
        archives.import_into(socket, image)
        archives.remember(store, image)
        log(f"{node.name}: imported {', '.join(tags)}")


def _socket(lab: Lab, node: Node) -> Path:
    return lab.run / node.name / Path(SOCKET).relative_to("/run")


def _settings(lab: Lab, node: Node) -> str:
    return f"""version = 2
root = "{store_folder(lab, node)}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugin_folder(lab)}"
conf_dir = "{network_folder(lab, node)}"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""
