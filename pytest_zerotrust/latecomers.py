"""Runs in which nothing but a test asks for a cluster, with workers of pytest-xdist.

The controller collects no tests, so it cannot know beforehand. It prepares a run and hands it to
the workers; the first test that uses one of our fixtures connects with it, and the first report of
such a test tells the controller that there is something to show and to delete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_zerotrust import options

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession

HANDED = "zerotrust_late"
"""The key under which a worker finds what was prepared for it."""


class Latecomers:
    """A plugin of a controller in which nothing asked for us. ``make`` makes a session that is not
    started, ``adopt`` makes it the session of this run."""

    def __init__(
        self,
        config: pytest.Config,
        make: Callable[[pytest.Config], ZeroTrustSession],
        adopt: Callable[[ZeroTrustSession], None],
    ) -> None:
        self._config = config
        self._make = make
        self._adopt = adopt
        self._prepared: ZeroTrustSession | None = None
        self._adopted = False

    def hand_over(self, node: Any) -> None:
        """Prepare a run for a worker, if the command line names a cluster with a foreign option."""
        if not options.names_kubeconfig(self._config):
            return
        try:
            if self._prepared is None:
                self._prepared = self._make(self._config)
                self._prepared.prepare_run()
        except pytest.UsageError:
            # A project that does not use us must not hear of our intent file. One that does is
            # told by the worker that collects its tests.
            return
        node.workerinput[HANDED] = self._prepared.for_worker()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adopt the session when the first result of ours comes in."""
        if self._adopted or not getattr(report, "zt", None):
            return
        session = self._prepared or self._make(self._config)
        self._adopt(session)
        self._adopted = True
        if self._prepared is None:
            # Its collector was registered in the middle of this call, and sees the next one first.
            session.collector.pytest_runtest_logreport(report)

    def end(self, status: int) -> None:
        """Adopt the session of a run that was broken off: its workers may have made something
        and said nothing."""
        prepared = self._prepared
        if prepared is None or self._adopted:
            return
        if status == pytest.ExitCode.INTERRUPTED or prepared.collector.crashed:
            self._adopt(prepared)
