"""Deletes what a run made while its last tests only read what was observed.

Thousands of tests may follow the last request to a probe pod, and Kubernetes takes seconds to
delete; both need not wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.ending import clean_up
from pytest_zerotrust.suite import check_of, suite_path

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession


_RERUNNERS = ("rerunfailures", "pytest-retry", "flaky")
"""Plugins that run a test again which failed."""


def may_end_early(config: pytest.Config, items: Iterable[pytest.Item]) -> bool:
    """True if the shipped suite alone runs, in this one process, and nobody wants to look at the
    pods. What a test of somebody's own will ask next, nobody knows."""
    alone = getattr(config.option, "dist", "no") == "no" and not hasattr(config, "workerinput")
    option = config.option
    debugs = getattr(option, "usepdb", False) or getattr(option, "trace", False)
    looks = config.getoption("zt_keep") != "never" or debugs
    again = any(config.pluginmanager.hasplugin(name) for name in _RERUNNERS)
    if not alone or looks or again:
        return False
    folder = suite_path()
    return all(check_of(item) is not None and item.path.is_relative_to(folder) for item in items)


class EarlyEnd:
    """The deletion of a run's objects, begun before the run's end."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._report: CleanupReport | None = None

    @property
    def begun(self) -> bool:
        """True if nothing more can be made by this run."""
        return self._thread is not None

    def begin(self, session: ZeroTrustSession) -> None:
        """Delete in the background. From now on the run makes nothing more."""

        def work() -> None:
            self._report = clean_up(session, status=int(pytest.ExitCode.OK))

        thread = threading.Thread(target=work, name="zerotrust-end", daemon=True)
        thread.start()
        self._thread = thread

    def report(self) -> CleanupReport | None:
        """What the deletion came to, if it was begun and all is gone; waits for it. Whatever else
        happened is for the end of the run to try again."""
        if self._thread is None:
            return None
        try:
            self._thread.join()
        except KeyboardInterrupt:
            return CleanupReport(errors=("deleting was interrupted",))
        return self._report if self._report is not None and self._report.clean else None
