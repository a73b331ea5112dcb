"""The wires between the machines of a lab: a bridge, its links, addresses and routes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .processes import Machine
from .settings import METADATA_ADDRESS, OUTSIDE_NETWORK, POD_NETWORK, SERVICE_NETWORK, Lab
from .shell import run

OUTSIDE = "outside"
OUTSIDE_POSITION = 3
OUTSIDE_WEB = "203.0.113.10"
OUTSIDE_SINK = "203.0.113.20"
# There where the kernel can filter what one port of a bridge sends to another.
FILTERS_BRIDGES = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def ensure(lab: Lab, machines: Mapping[str, Machine]) -> None:
    """Connect the machines; mends what is missing and leaves the rest alone."""
    _bridge(lab)
    _pass_host_filter(lab)
    for node in lab.nodes:
        _link(lab, machines[node.name], node.position)
        _configure(machines[node.name], _node_commands(lab, node.address))
    _link(lab, machines[OUTSIDE], OUTSIDE_POSITION)
    _configure(machines[OUTSIDE], _outside_commands(lab))


def remove(lab: Lab) -> None:
    """Remove the lab's links from this machine."""
    names = [_host_end(lab, position) for position in (1, 2, OUTSIDE_POSITION)]
    for name in [*names, lab.bridge]:
        if Path(f"/sys/class/net/{name}").exists():
            run(["ip", "link", "del", name], check=False)
    rule = _host_filter_rule(lab)
    rules = run(["iptables", "-S", "FORWARD"], check=False).stdout.splitlines()
    if f"-A {' '.join(rule)}" in rules:
        run(["iptables", "-D", *rule])


def _bridge(lab: Lab) -> None:
    if not Path(f"/sys/class/net/{lab.bridge}").exists():
        run(["ip", "link", "add", lab.bridge, "type", "bridge", "forward_delay", "0"])
    run(["ip", "addr", "replace", f"{lab.host_address}/24", "dev", lab.bridge])
    run(["ip", "link", "set", lab.bridge, "up"])
    # Whatever this machine does for others: it neither forwards for the lab nor answers pods,
    # to which it has no route.
    for name, value in (("forwarding", "0"), ("rp_filter", "1")):
        Path(f"/proc/sys/net/ipv4/conf/{lab.bridge}/{name}").write_text(value)


def _host_filter_rule(lab: Lab) -> list[str]:
    return ["FORWARD", "-i", lab.bridge, "-o", lab.bridge, "-j", "ACCEPT"]


def _pass_host_filter(lab: Lab) -> None:
    # Where Docker runs, what one port of a bridge sends to another is filtered too.
    if not FILTERS_BRIDGES.exists() or FILTERS_BRIDGES.read_text().strip() == "0":
        return
    rules = run(["iptables", "-S", "FORWARD"], check=False).stdout.splitlines()
    rule = _host_filter_rule(lab)
    if rules not in ([], ["-P FORWARD ACCEPT"]) and f"-A {' '.join(rule)}" not in rules:
        run(["iptables", "-I", *rule])


def _host_end(lab: Lab, position: int) -> str:
    return f"ztv{lab.index}-{position}"


def _linked(lab: Lab, machine: Machine, position: int) -> bool:
    attached = Path(f"/sys/class/net/{lab.bridge}/brif/{_host_end(lab, position)}").exists()
    return attached and " eth0:" in Path(f"/proc/{machine.pid}/net/dev").read_text()


def _link(lab: Lab, machine: Machine, position: int) -> None:
    if _linked(lab, machine, position):
        return
    end = _host_end(lab, position)
    # A dead machine's link goes a moment after it; do not wait for that.
    run(["ip", "link", "del", end], check=False)
    # The address stays the same over a restart, so that no neighbour remembers a wrong one.
    hardware = f"02:7a:74:{lab.index:02x}:00:{position:02x}"
    peer = ["peer", "name", "eth0", "address", hardware, "netns", str(machine.pid)]
    run(["ip", "link", "add", end, "type", "veth", *peer])
    run(["ip", "link", "set", end, "master", lab.bridge, "up"])


def _configure(machine: Machine, commands: list[str]) -> None:
    text = "\n".join(commands) + "\n"
    enter = ["nsenter", f"--target={machine.pid}", "--net", "--"]
    run([*enter, "ip", "-batch", "-"], stdin=text)


def _node_commands(lab: Lab, address: str) -> list[str]:
    outside = lab.outside_address
    commands = [
        f"addr replace {address}/24 dev eth0",
        "link set eth0 up",
        f"route replace {OUTSIDE_NETWORK} via {outside}",
        f"route replace {METADATA_ADDRESS}/32 via {outside}",
        # There is no default route, and without any route a node's own process could not
        # even begin to connect to a Service; kube-proxy then rewrites the destination.
        f"route replace {SERVICE_NETWORK} dev eth0 src {address}",
    ]
    if lab.cni == "ptp":
        # With Cilium these are the agents' work.
        commands += [
            f"route replace {other.pod_cidr} via {other.address}"
            for other in lab.nodes
            if other.address != address
        ]
    return commands


def _outside_commands(lab: Lab) -> list[str]:
    return [
        f"addr replace {lab.outside_address}/24 dev eth0",
        "link set eth0 up",
        *(f"addr replace {a}/32 dev lo" for a in (OUTSIDE_WEB, OUTSIDE_SINK, METADATA_ADDRESS)),
        # Pods are answered without any translation of addresses.
        f"route replace unreachable {POD_NETWORK}",
        *(f"route replace {node.pod_cidr} via {node.address}" for node in lab.nodes),
    ]
