"""Proves at run time which zero-trust controls of a Kubernetes cluster really hold.

Public names are loaded when they are first used: a project that has the plugin installed and does
not use it pays nothing for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_zerotrust.admission.corpus.model import AdmissionCase
    from pytest_zerotrust.core.admission_diff import ABSENT
    from pytest_zerotrust.core.controls import CONTROLS, LEVELS, Control
    from pytest_zerotrust.core.verdict import Result, Verdict
    from pytest_zerotrust.errors import (
        ClusterProblem,
        Inconclusive,
        IntentProblem,
        PermissionProblem,
        UsageProblem,
        Violation,
        ZeroTrustError,
    )
    from pytest_zerotrust.facades import Admission, Mesh, Network

__all__ = [
    "ABSENT",
    "CONTROLS",
    "LEVELS",
    "Admission",
    "AdmissionCase",
    "ClusterProblem",
    "Control",
    "Inconclusive",
    "IntentProblem",
    "Mesh",
    "Network",
    "PermissionProblem",
    "Result",
    "UsageProblem",
    "Verdict",
    "Violation",
    "ZeroTrustError",
]

_HOMES = {
    "ABSENT": "core.admission_diff",
    "AdmissionCase": "admission.corpus.model",
    "CONTROLS": "core.controls",
    "LEVELS": "core.controls",
    "Control": "core.controls",
    "Result": "core.verdict",
    "Verdict": "core.verdict",
    "Admission": "facades",
    "Mesh": "facades",
    "Network": "facades",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    return getattr(home, name)
