"""OPA as an admission webhook; it runs only while a scenario asks for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from .. import kube
from ..settings import Lab
from . import certificates

NAMESPACE = "opa"
MANIFEST = Path(__file__).with_name("opa.yaml")
MAIN = Path(__file__).with_name("opa-main.rego")
SERVICE = f"opa.{NAMESPACE}.svc"


def install(lab: Lab, policy: Path, *, old_syntax: bool) -> None:
    """Serve this policy, and wait until it is served by all of OPA's pods."""
    files = {"main.rego": MAIN.read_text(), "restricted.rego": policy.read_text()}
    # A new name for a new policy makes the Deployment roll out, which is faster and more certain
    # than waiting for a changed file to reach a running pod.
    name = f"policy-{hashlib.sha256(json.dumps(files).encode()).hexdigest()[:10]}"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": files,
    }
    secret = certificates.serving(lab, "opa", SERVICE).secret("opa-server", NAMESPACE)
    manifest = MANIFEST.read_text().replace("POLICY", name)
    manifest = manifest.replace("FLAGS", f"--v0-compatible={str(old_syntax).lower()}")
    # The comment at the top names the placeholders too, which does no harm.
    kube.apply(lab, "\n---\n".join([manifest, json.dumps(secret), json.dumps(config)]))
    kube.wait_available(lab, NAMESPACE, "opa", 120)


def remove(lab: Lab) -> None:
    """Stop it; the namespace stays, since its deletion would take longer than all the rest."""
    where = ("--namespace", NAMESPACE)
    kube.kubectl(lab, *where, "delete", "deployment", "opa", "--ignore-not-found", "--wait=false")
