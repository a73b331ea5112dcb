"""The end of a run in the controller: delete, decide the exit status, write evidence."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.fleet.cleanup import delete_run
from pytest_zerotrust.report.waivers import as_data
from pytest_zerotrust.signals import Unhurried

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession

INCONCLUSIVE = 6
"""Exit status: nothing violated, but something could not be concluded or was left behind."""


def clean_up(session: ZeroTrustSession) -> CleanupReport:
    """Delete what the run made; an interrupt does not stop it, a second one does."""
    assert session.run is not None
    own = session.intent.probe.namespace
    namespaces = (*session.intent.namespaces, *session.settings.namespaces)
    report = _delete(session, namespaces, own)
    if report.clean:
        return report
    kinds = "pods,services,networkpolicies"
    commands = [
        f"kubectl -n {namespace} delete {kinds} -l {session.run.selector}"
        for namespace in dict.fromkeys((*namespaces, own))
    ]
    return replace(report, commands=tuple(commands))


def _delete(
    session: ZeroTrustSession, namespaces: tuple[str, ...], own_namespace: str
) -> CleanupReport:
    from pytest_zerotrust.cluster.api import Api
    from pytest_zerotrust.cluster.connection import open_connection

    assert session.settings.cluster is not None
    assert session.run is not None
    with Unhurried(lambda text: print(f"\nzerotrust: {text}", file=sys.stderr)):
        try:
            return delete_run(
                Api(open_connection(session.settings.cluster)),
                session.run,
                namespaces=namespaces,
                own_namespace=own_namespace,
            )
        except KeyboardInterrupt:
            return CleanupReport(errors=("deleting was interrupted",))
        except Exception as error:  # whatever it was, it must be told and must not be green
            return CleanupReport(errors=(f"deleting failed: {error}",))


def exit_status(status: int, session: ZeroTrustSession) -> int:
    """Return the exit status of the run from pytest's own and the verdicts.

    Interrupted, internal error and usage error stay. Then violations and ordinary failures (1)
    win over whatever else keeps the run from being green (6).
    """
    kept = (
        pytest.ExitCode.INTERRUPTED,
        pytest.ExitCode.INTERNAL_ERROR,
        pytest.ExitCode.USAGE_ERROR,
    )
    collector = session.collector
    if status in kept:
        return status
    if collector.count(Verdict.VIOLATED) or collector.other_failures:
        return int(pytest.ExitCode.TESTS_FAILED)
    dirty = collector.cleanup is not None and not collector.cleanup.clean
    unclear = collector.count(Verdict.INCONCLUSIVE) or collector.inconclusive_tests
    # All skipped is not green.
    ours = collector.used or collector.results
    nothing_shown = bool(ours) and not collector.count(Verdict.HOLDS)
    demanded = session.settings.level
    too_low = demanded is not None and collector.level_reached < demanded
    if dirty or unclear or nothing_shown or (too_low and status == pytest.ExitCode.OK):
        return INCONCLUSIVE
    return status


def write_artifacts(folder: Path, session: ZeroTrustSession) -> None:
    """Write every result as JSON into ``folder``; a full disk is told, not raised."""
    assert session.run is not None
    data = {
        "schema": "zerotrust.report/v1",
        "run": session.run.id,
        "level_reached": session.collector.level_reached,
        "waivers": as_data(session.collector.states_of(session.waived)),
        "results": session.collector.results,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(data, indent=2, sort_keys=True) + "\n"
        (folder / "zerotrust.json").write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"zerotrust: the evidence could not be written to {folder}: {error}", file=sys.stderr)
