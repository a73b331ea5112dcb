"""What is asked before the first object is made: who we are, our rights, the workloads."""

from __future__ import annotations

from pytest_zerotrust.cluster.access import Identity, Right, missing_rights, who_am_i
from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.cluster.connection import open_connection
from pytest_zerotrust.cluster.discovery import LiveWorkload, discover
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.errors import ClusterProblem, PermissionProblem, UsageProblem
from pytest_zerotrust.fleet.rights import own_namespace_rights
from pytest_zerotrust.fleet.run import Run
from pytest_zerotrust.needs import Selection, discovery_rights, needed_rights, probe_namespaces
from pytest_zerotrust.settings import Settings


def preflight(
    settings: Settings, intent: Intent, run: Run
) -> tuple[Identity, dict[str, LiveWorkload]]:
    """Connect and ask. Nothing is created.

    Raises ClusterProblem, PermissionProblem, IntentProblem or UsageProblem.
    """
    assert settings.cluster is not None
    api = Api(open_connection(settings.cluster), user_agent=f"pytest-zerotrust/{run.id}")
    identity = who_am_i(api)
    try:
        _refuse(identity, missing_rights(api, discovery_rights(intent)))
        live = discover(api, intent)
    except ApiUnreachable as error:
        raise ClusterProblem(f"{error}. The server was there a moment ago; try again.") from error
    if (intent.workloads or intent.baseline) and image_of(settings, intent) is None:
        raise UsageProblem(
            f"no image for the probe pods. Name one with python3 3.9 or later that this cluster "
            f"may pull: --zt-probe-image REF, or probe.image in {intent.source}."
        )
    return identity, live


def image_of(settings: Settings, intent: Intent) -> str | None:
    """The image of the probe pods: the option wins over the intent file."""
    return settings.probe_image or intent.probe.image


def require_rights(
    settings: Settings, intent: Intent, identity: Identity, selection: Selection
) -> None:
    """Ask for every right that the selected tests need. Nothing is created.

    Raises PermissionProblem, which names what is missing, or ClusterProblem.
    """
    assert settings.cluster is not None
    api = Api(open_connection(settings.cluster))
    try:
        missing = missing_rights(api, needed_rights(intent, settings.namespaces, selection))
        if not missing:
            places = probe_namespaces(intent, settings.namespaces, selection)
            ours = (intent.probe.namespace, *intent.baseline_namespaces)
            for own in (name for name in ours if name in places):
                response = api.request("GET", f"/api/v1/namespaces/{own}")
                if response.status == 404:
                    missing = missing_rights(api, own_namespace_rights())
                    break
    except ApiUnreachable as error:
        raise ClusterProblem(f"{error}. The server was there a moment ago; try again.") from error
    _refuse(identity, missing)


def _refuse(identity: Identity, missing: list[Right]) -> None:
    if missing:
        shown = "; ".join(map(str, missing[:6]))
        more = f"; and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise PermissionProblem(
            f"user {identity.username} lacks rights that this run needs: {shown}{more}. "
            f"'pytest --zt-rbac' prints the RBAC to apply; --zt-rbac-file FILE writes that of the "
            f"tests you select. Nothing was created."
        )
