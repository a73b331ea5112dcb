"""The cluster's name server."""

from __future__ import annotations

from pathlib import Path

from .. import kube
from ..settings import Lab

MANIFEST = Path(__file__).with_name("coredns.yaml")


def install(lab: Lab) -> None:
    """Start it, and wait until it answers."""
    kube.apply(lab, MANIFEST)
    kube.wait_available(lab, "kube-system", "coredns", 120)
