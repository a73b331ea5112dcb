"""The RBAC manifests for a run: of all that an intent file implies, or of selected tests."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.fleet.manifests import own_pod_security
from pytest_zerotrust.fleet.rights import as_rbac, explaining_rights
from pytest_zerotrust.needs import Selection, needed_rights, probe_namespaces

SUBJECT = "zerotrust-verifier"
"""The service account that the rights are for."""


def manifests(intent: Intent, more: Iterable[str], selection: Selection) -> str:
    """YAML text: the own namespace, a service account, and its Roles, with exactly the rights that
    the selection needs. The explaining rights are left out where nothing is probed, and kept to
    the namespaces in which it is. ``more`` are the namespaces of ``--zt-namespace``."""
    more = tuple(more)
    explaining = explaining_rights(intent, more)
    if not selection.everything:
        probed = set(probe_namespaces(intent, more, selection))
        theirs = {*intent.namespaces, *more}
        explaining = [r for r in explaining if probed and r.namespace not in theirs - probed]
    return as_rbac(
        needed_rights(intent, more, selection),
        explaining,
        subject=SUBJECT,
        own_namespace=intent.probe.namespace,
        pod_security=own_pod_security(intent),
    )
