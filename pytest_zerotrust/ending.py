"""The end of a run in the controller: delete, decide the exit status, write evidence."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.core.verdict import Verdict
from pytest_zerotrust.fleet.cleanup import delete_run
from pytest_zerotrust.needs import UNKNOWN, probe_namespaces
from pytest_zerotrust.report.waivers import as_data

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession

INCONCLUSIVE = 6
"""Exit status: nothing violated, but something could not be concluded or was left behind."""


INTERRUPTED_QUIET = 2.0
"""Seconds for which nothing may appear any more after processes of a run were killed."""

_KINDS = "pods,services,networkpolicies"


def clean_up(session: ZeroTrustSession, *, status: int) -> CleanupReport:
    """Delete what the run made, unless it is to be kept. ``status`` is pytest's exit status."""
    assert session.run is not None
    if session.made is not None:
        # A thread that an interrupt left behind must not create anything after the deletion.
        session.made.end_changes()
    # Where nothing can have been made, the run need not have the right to delete.
    everywhere = _touched(session)
    if not everywhere:
        return CleanupReport()
    if _keeps(session):
        return CleanupReport(kept=tuple(_kept(session, everywhere)))
    collector = session.collector
    killed = status == pytest.ExitCode.INTERRUPTED or collector.crashed
    report = _delete(session, everywhere, quiet=INTERRUPTED_QUIET if killed else 0.0)
    if report.clean:
        return report
    return replace(report, commands=tuple(_commands(session, everywhere, "delete")))


def _touched(session: ZeroTrustSession) -> tuple[str, ...]:
    """The namespaces in which something of the run may be.

    With workers, all that it might have used. Else those that the selected tests need; and should
    something have been made elsewhere all the same, there as well.
    """
    named = session.settings.namespaces
    all_of_them = probe_namespaces(session.intent, named, UNKNOWN)
    needed = set(probe_namespaces(session.intent, named, session.selection))
    made = session.made.made_in if session.made is not None else frozenset()
    return tuple(name for name in all_of_them if name in needed | made)


def _keeps(session: ZeroTrustSession) -> bool:
    if session.settings.keep == "failed":
        return session.collector.failed
    return session.settings.keep == "always"


def _kept(session: ZeroTrustSession, namespaces: tuple[str, ...]) -> Iterator[str]:
    assert session.run is not None
    yield (
        f"kept for you (--zt-keep {session.settings.keep}): the objects of run {session.run.id}. "
        f"Its pods end by themselves at {session.run.expires} or before; then --zt-sweep removes "
        f"what is left."
    )
    for command in _commands(session, namespaces, "get"):
        yield f"inspect with: {command}"
    for command in _commands(session, namespaces, "delete"):
        yield f"delete with: {command}"


def _commands(session: ZeroTrustSession, namespaces: tuple[str, ...], verb: str) -> Iterator[str]:
    assert session.run is not None
    cluster = session.settings.cluster
    where = ""
    if cluster is not None and cluster.kubeconfig is not None:
        where = f" --kubeconfig {shlex.quote(cluster.kubeconfig)}"
        where += f" --context {shlex.quote(cluster.context)}" if cluster.context else ""
    for namespace in namespaces:
        yield f"kubectl -n {namespace} {verb} {_KINDS} -l {session.run.selector}{where}"


def _delete(
    session: ZeroTrustSession,
    everywhere: tuple[str, ...],
    *,
    quiet: float,
) -> CleanupReport:
    from pytest_zerotrust.cluster.api import Api
    from pytest_zerotrust.cluster.connection import open_connection

    assert session.settings.cluster is not None
    assert session.run is not None
    ours = (*session.intent.baseline_namespaces, session.intent.probe.namespace)
    try:
        return delete_run(
            Api(open_connection(session.settings.cluster)),
            session.run,
            namespaces=[name for name in everywhere if name not in ours],
            own_namespaces=[name for name in ours if name in everywhere],
            quiet=quiet,
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
    if collector.unusable:
        return int(pytest.ExitCode.USAGE_ERROR)
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


def write_artifacts(folder: Path, session: ZeroTrustSession) -> bool:
    """Write every result as JSON into ``folder``, whole or not at all.

    Returns False if that was not possible: a full disk is told, not raised.
    """
    assert session.run is not None
    data = {
        "schema": "zerotrust.report/v1",
        "run": session.run.id,
        "level_reached": session.collector.level_reached,
        "waivers": as_data(session.collector.states_of(session.waived)),
    }
    part = folder / f"zerotrust.json.{session.run.id}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            # One result a line: thousands of them, indented, would take seconds to write.
            file.write(json.dumps(data, indent=2, sort_keys=True).removesuffix("\n}"))
            file.write(',\n  "results": [')
            for number, result in enumerate(session.collector.results):
                file.write(",\n" if number else "\n")
                file.write(json.dumps(result, sort_keys=True))
            file.write("\n  ]\n}\n")
        part.replace(folder / "zerotrust.json")
        return True
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        print(f"zerotrust: the evidence could not be written to {folder}: {error}", file=sys.stderr)
        return False
