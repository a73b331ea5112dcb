"""Gatekeeper, from its own chart; its webhook configuration belongs to the scenarios."""

from __future__ import annotations

import json
from pathlib import Path

from .. import kube
from ..build import module_dir
from ..settings import Lab
from . import certificates, charts

NAMESPACE = "gatekeeper-system"
VALUES = Path(__file__).with_name("gatekeeper-values.yaml")
SECRET = "gatekeeper-webhook-server-cert"
SERVICE = f"gatekeeper-webhook-service.{NAMESPACE}.svc"
DEPLOYMENTS = ("gatekeeper-controller-manager", "gatekeeper-audit")


def install(lab: Lab) -> None:
    """Start it, and wait until its webhook is ready to answer."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": NAMESPACE,
            # Its webhook leaves out namespaces with this label, and lets no other one have it.
            "labels": {"admission.gatekeeper.sh/ignore": "no-self-managing"},
        },
    }
    secret = certificates.serving(lab, "gatekeeper", SERVICE).secret(SECRET, NAMESPACE)
    chart = module_dir("gatekeeper") / "charts/gatekeeper"
    rendered = charts.render(lab, "gatekeeper", chart, NAMESPACE, VALUES)
    kube.apply(lab, "\n---\n".join([json.dumps(namespace), json.dumps(secret), rendered]))
    for deployment in DEPLOYMENTS:
        kube.wait_available(lab, NAMESPACE, deployment, 180)
