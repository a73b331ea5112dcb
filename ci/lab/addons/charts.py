"""Helm, as the way from a module's chart to plain manifests."""

from __future__ import annotations

import os
from pathlib import Path

from ..build import component, program
from ..settings import Lab
from ..shell import run


def render(lab: Lab, release: str, chart: Path, namespace: str, values: Path) -> str:
    """The manifests of a chart with these values.

    They are applied like all others here: so an install and a repair are the same thing, and
    nothing is left half done that helm would refuse to go on with.
    """
    command = [str(program(lab.cache, "helm", "helm")), "template", release, str(chart)]
    command += ["--namespace", namespace, "--values", str(values), "--include-crds", "--no-hooks"]
    command += ["--kube-version", component("kubernetes").version]
    home = str(lab.state / "helm")
    places = {f"HELM_{kind}_HOME": f"{home}/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
    return run(command, env={**os.environ, **places}, timeout=120).stdout
