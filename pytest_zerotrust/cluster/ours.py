"""Which pods of a namespace are probe pods of a run, and which only say so.

Anybody who may create pods can set a label. A pod that is left out of the inventory because of its
label alone would be a hiding place, so every mark of a probe pod is demanded, and above all those
that keep it from being of use to anybody: it ends within the hour, and is never ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LABEL_RUN = "zerotrust.dev/run"
ANNOTATION_OWNER = "zerotrust.dev/owner"
ANNOTATION_EXPIRES = "zerotrust.dev/expires"

LIFETIME = 3600
"""Seconds after which the pods of a run end by themselves and its objects count as expired."""

READINESS_GATE = "zerotrust.dev/never-ready"
"""Nobody ever sets this condition, so no Service takes the pod for an endpoint."""


def is_probe_pod(item: Mapping[str, Any]) -> bool:
    """True for a probe pod of any run, and for a gated pod, which never starts."""
    meta, spec = item["metadata"], item.get("spec") or {}
    run = (meta.get("labels") or {}).get(LABEL_RUN)
    notes = meta.get("annotations") or {}
    if not run or not str(meta["name"]).startswith(f"zt-{run}-") or meta.get("ownerReferences"):
        return False
    if not notes.get(ANNOTATION_OWNER) or not notes.get(ANNOTATION_EXPIRES):
        return False
    return bool(spec.get("schedulingGates")) or _short_lived(spec)


def _short_lived(spec: Mapping[str, Any]) -> bool:
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates") or ()]
    limit = spec.get("activeDeadlineSeconds")
    return READINESS_GATE in gates and isinstance(limit, int) and 0 < limit <= LIFETIME
