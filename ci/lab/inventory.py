"""All that must run for a lab to be whole."""

from __future__ import annotations

from . import cni, controlplane, kubelet, nodes, runtime
from .processes import Component
from .settings import Lab


def components(lab: Lab) -> list[Component]:
    """Every program of the lab, in the order in which `status` shows them."""
    found = [nodes.outside(lab), *controlplane.components(lab)]
    for node in lab.nodes:
        found += [runtime.component(lab, node), *kubelet.components(lab, node)]
    return found + cni.components(lab)
