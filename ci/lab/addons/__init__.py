"""What runs in the cluster before any application: names, admission, the mesh."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .. import kube
from ..settings import Lab
from . import coredns, gatekeeper, istio

__all__ = ["install"]

CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"


def install(lab: Lab, log: Callable[[str], None] = lambda _: None) -> None:
    """Install what the lab has, or put it back as it was; returns when all of it is ready."""
    parts = {"CoreDNS": coredns.install}
    if lab.with_admission:
        parts["Gatekeeper"] = gatekeeper.install
    if lab.with_mesh:
        parts["Istio"] = istio.install
    # The applications say by this label where they would rather be.
    kube.kubectl(lab, "label", "--overwrite", "node", lab.control.name, f"{CONTROL_PLANE_LABEL}=")

    def one(name: str) -> None:
        parts[name](lab)
        log(f"{name} is ready")

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, parts))
