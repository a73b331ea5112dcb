"""What a lab is: its name, its addresses, its folders and what is switched on in it."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATE_ROOT = Path("/var/lib/zt-lab")
RUN_ROOT = Path("/run/zt-lab")
DEFAULT_NAME = "zt"
HIGHEST_INDEX = 9
POD_NETWORK = "10.244.0.0/16"
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
OUTSIDE_NETWORK = "203.0.113.0/24"
METADATA_ADDRESS = "169.254.169.254"
CNI_MODES = ("cilium", "ptp")


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


@dataclass(frozen=True)
class Node:
    """One machine of the cluster, which here is a set of Linux namespaces."""

    name: str
    position: int
    address: str
    pod_cidr: str


@dataclass(frozen=True)
class Lab:
    """One lab; every other module is given this and derives the rest from it."""

    name: str
    index: int
    state: Path
    run: Path
    cache: Path
    nodes: tuple[Node, ...]
    kubeconfig: Path
    with_mesh: bool
    with_admission: bool
    cni: str

    @property
    def control(self) -> Node:
        """The node that also runs the control plane."""
        return self.nodes[0]

    @property
    def server(self) -> str:
        """The API server's URL, reachable from the nodes, the pods and this machine."""
        return f"https://{self.control.address}:6443"

    @property
    def bridge(self) -> str:
        """The bridge that joins the nodes, the outside and this machine."""
        return f"ztbr{self.index}"

    @property
    def subnet(self) -> str:
        """The network of the bridge."""
        return f"172.30.{self.index}.0/24"

    @property
    def host_address(self) -> str:
        """This machine's address on the bridge."""
        return f"172.30.{self.index}.1"

    @property
    def outside_address(self) -> str:
        """The bridge address of the namespace that stands in for the internet."""
        return f"172.30.{self.index}.21"

    @property
    def logs(self) -> Path:
        """The folder with one log file for each component."""
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        """The folder with the certificates and keys."""
        return self.state / "pki"


def cache_folder() -> Path:
    """The folder for builds and images, which outlives every lab."""
    chosen = os.environ.get("ZT_LAB_CACHE")
    if chosen:
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "zt-lab"


@contextmanager
def locked(name: str, *, wait: bool = True, busy: str = "") -> Iterator[None]:
    """Hold a machine-wide lock; it falls by itself when its holder dies."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LabError(busy or f"{name} is in use by another process") from None
        yield


def existing() -> list[str]:
    """The names of the labs that have a state folder."""
    return sorted(path.parent.name for path in STATE_ROOT.glob("*/lab.json"))


def load(name: str) -> Lab:
    """The lab of this name as `up` made it."""
    _check_name(name)
    try:
        facts = json.loads((STATE_ROOT / name / "lab.json").read_text())
    except FileNotFoundError:
        raise LabError(f"there is no lab named {name!r}; make it with: ci/zt-lab up") from None
    return describe(
        name,
        int(facts["index"]),
        with_mesh=bool(facts["with_mesh"]),
        with_admission=bool(facts["with_admission"]),
        cni=str(facts["cni"]),
    )


def obtain(name: str, *, with_mesh: bool, with_admission: bool, cni: str) -> Lab:
    """The lab of this name, entered into the books if it is new."""
    _check_name(name)
    with locked("index"):
        if (STATE_ROOT / name / "lab.json").exists():
            lab = load(name)
            _check_same(lab, with_mesh=with_mesh, with_admission=with_admission, cni=cni)
            return lab
        lab = describe(
            name, _free_index(name), with_mesh=with_mesh, with_admission=with_admission, cni=cni
        )
        lab.state.mkdir(parents=True, exist_ok=True)
        lab.state.chmod(0o700)
        facts = {
            "index": lab.index,
            "with_mesh": with_mesh,
            "with_admission": with_admission,
            "cni": cni,
        }
        partial = lab.state / "lab.json.partial"
        partial.write_text(json.dumps(facts) + "\n")
        partial.replace(lab.state / "lab.json")
        return lab


def describe(name: str, index: int, *, with_mesh: bool, with_admission: bool, cni: str) -> Lab:
    """A lab from its few free choices; everything else follows."""
    if cni not in CNI_MODES:
        raise LabError(f"unknown --cni {cni!r}; one of: {', '.join(CNI_MODES)}")
    state = STATE_ROOT / name
    nodes = tuple(
        Node(
            name=f"{name}-node{position}",
            position=position,
            address=f"172.30.{index}.{10 + position}",
            pod_cidr=f"10.244.{position - 1}.0/24",
        )
        for position in (1, 2)
    )
    return Lab(
        name=name,
        index=index,
        state=state,
        run=RUN_ROOT / name,
        cache=cache_folder(),
        nodes=nodes,
        kubeconfig=state / "kubeconfig",
        with_mesh=with_mesh,
        with_admission=with_admission,
        cni=cni,
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
        raise LabError(f"--name {name!r}: use up to 20 of a-z, 0-9 and '-', a letter first")


def _check_same(lab: Lab, *, with_mesh: bool, with_admission: bool, cni: str) -> None:
    if (lab.with_mesh, lab.with_admission, lab.cni) == (with_mesh, with_admission, cni):
        return
    words = ["up", "--name", lab.name, "--cni", lab.cni]
    words += [] if lab.with_mesh else ["--without", "mesh"]
    words += [] if lab.with_admission else ["--without", "admission"]
    raise LabError(
        f"lab {lab.name!r} exists with other choices ({' '.join(words)}); "
        f"take it down first: ci/zt-lab down --name {lab.name}"
    )


def _free_index(name: str) -> int:
    taken = {load(other).index for other in existing()}
    # The default lab always has the addresses that the documentation shows.
    wanted = [0] if name == DEFAULT_NAME else range(1, HIGHEST_INDEX + 1)
    for index in wanted:
        if index not in taken:
            return index
    raise LabError(f"all places are taken by the labs {', '.join(existing())}; take one down")
