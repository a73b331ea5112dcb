"""What an option makes the run do instead of testing: plan, rights, draft, sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_zerotrust.core.printable import printable, printable_lines
from pytest_zerotrust.errors import UsageProblem
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.needs import UNKNOWN
from pytest_zerotrust.session import NO_CLUSTER, ZeroTrustSession
from pytest_zerotrust.settings import resolve

if TYPE_CHECKING:
    from pytest_zerotrust.fleet.sweep import SweepReport

LEFT = 6
"""Exit status of a sweep that could not remove or see everything that has expired."""


def run_sweep(config: pytest.Config) -> int:
    """Remove what has expired, and say what was removed and what was not.

    Returns 0 if nothing that has expired is left, else 6. Raises pytest.UsageError without a
    cluster, or if it cannot be reached.
    """
    from pytest_zerotrust.cluster.access import who_am_i
    from pytest_zerotrust.cluster.api import Api, ApiUnreachable
    from pytest_zerotrust.cluster.connection import open_connection
    from pytest_zerotrust.fleet.sweep import sweep

    session = ZeroTrustSession.from_config(config)
    settings, intent = session.settings, session.intent
    if settings.cluster is None:
        raise pytest.UsageError(f"zerotrust: --zt-sweep deletes objects, but {NO_CLUSTER}")
    try:
        api = Api(open_connection(settings.cluster), user_agent="pytest-zerotrust/sweep")
        identity = who_am_i(api)
        where = (
            f"zerotrust: sweep of {identity.server}, context {identity.context} "
            f"({settings.cluster_source}), user {identity.username}"
        )
        print(printable(where))
        ours = (*intent.baseline_namespaces, intent.probe.namespace)
        report = sweep(api, (*intent.namespaces, *settings.namespaces, *ours))
    except UsageProblem as error:
        raise pytest.UsageError(f"zerotrust: {error}") from error
    except ApiUnreachable as error:
        raise pytest.UsageError(f"zerotrust: --zt-sweep: {printable_lines(str(error))}") from error
    _tell(report)
    return 0 if report.clean else LEFT


def print_plan(session: ZeroTrustSession) -> None:
    """Print what the collected tests would make and do. Raises pytest.UsageError without a
    cluster, since only it tells where the workloads run."""
    from pytest_zerotrust.dryplan import plan_lines

    session.start_late()
    if session.run is None:
        raise pytest.UsageError(f"zerotrust: --zt-plan reads the workloads, but {NO_CLUSTER}")
    for line in plan_lines(session, session.selection):
        print(printable(line))


def write_rbac(session: ZeroTrustSession, folder: Path, word: str) -> None:
    """Write the RBAC manifests that the collected tests need into a file that must not be there
    yet. No cluster is contacted. Raises pytest.UsageError."""
    from pytest_zerotrust.rbac import manifests

    file = Path(folder, word).expanduser()
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(manifests(session.intent, session.settings.namespaces, session.selection))
    except OSError as error:
        raise pytest.UsageError(f"zerotrust: --zt-rbac-file {word}: {error}") from error
    count = len(session.selection.checks)
    print(f"zerotrust: the rights that {count} selected checks need are in {word}")


def print_rbac(config: pytest.Config) -> int:
    """Print the RBAC manifests for the intent file of this run."""
    from pytest_zerotrust.rbac import manifests

    session = ZeroTrustSession.from_config(config)
    text = manifests(session.intent, session.settings.namespaces, UNKNOWN)
    print(text, end="")
    return 0


def write_draft(config: pytest.Config) -> int:
    """Write a first intent file from what runs in the cluster. Raises pytest.UsageError."""
    from pytest_zerotrust.cluster.access import who_am_i
    from pytest_zerotrust.cluster.api import Api
    from pytest_zerotrust.cluster.connection import open_connection
    from pytest_zerotrust.draft import collect, render

    word = str(config.getoption("zt_draft"))
    file = None if word == "-" else Path(config.invocation_params.dir, word).expanduser()
    try:
        settings = resolve(config)
        if settings.cluster is None:
            raise UsageProblem(f"--zt-draft reads a cluster, but {NO_CLUSTER}")
        if file is not None and file.exists():
            raise UsageProblem(f"--zt-draft {word}: the file is there already. Give another name.")
        api = Api(open_connection(settings.cluster), user_agent="pytest-zerotrust/draft")
        who_am_i(api)
        text = render(collect(api, settings.namespaces))
        intent_from_text(text, "the draft")
        if file is None:
            print(text, end="")
            return 0
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except (UsageProblem, OSError) as error:
        raise pytest.UsageError(f"zerotrust: {error}") from error
    print(f"zerotrust: the draft is in {word}. Read it, correct it, and commit it.")
    return 0


def _tell(report: SweepReport) -> None:
    if report.namespaces:
        print(
            f"zerotrust: the whole cluster may not be listed; looked only in "
            f"{', '.join(report.namespaces)}"
        )
    for word, texts in (
        ("removed", report.removed),
        ("not expired, not removed", report.kept),
        ("expired, but still there", report.left),
        ("error", report.errors),
    ):
        for text in texts:
            print(f"{word}: {printable(text)}")
    print(
        f"zerotrust: {len(report.removed)} removed, {len(report.kept)} not due, "
        f"{len(report.left)} could not be removed"
    )
