"""Istio's control plane, from its own charts."""

from __future__ import annotations

from pathlib import Path

from .. import kube
from ..build import module_dir
from ..settings import Lab
from . import charts

NAMESPACE = "istio-system"
VALUES = Path(__file__).with_name("istio-values.yaml")
DEPLOYMENT = "istiod"


def install(lab: Lab) -> None:
    """Start it, and wait until it answers."""
    folder = module_dir("istio") / "manifests/charts"
    base = charts.render(lab, "istio-base", folder / "base", NAMESPACE, VALUES)
    discovery = folder / "istio-control/istio-discovery"
    istiod = charts.render(lab, "istiod", discovery, NAMESPACE, VALUES)
    # Made only if it is missing: while Gatekeeper is down, its guard refuses changes of namespaces,
    # and this repair must not wait for that one.
    query = ("get", "namespace", NAMESPACE, "--ignore-not-found", "--output=name")
    if not kube.kubectl(lab, *query).stdout:
        kube.kubectl(lab, "create", "namespace", NAMESPACE)
    kube.apply(lab, f"{base}\n---\n{istiod}")
    kube.wait_available(lab, NAMESPACE, DEPLOYMENT, 180)
