"""What all fixtures give to a test: checks of the shipped suite, and names of workloads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_zerotrust.checks import Check, NothingToCheck
from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.core.waiving import waive
from pytest_zerotrust.errors import Inconclusive, ZeroTrustError
from pytest_zerotrust.outcome import OPEN_SENTENCES, conclude

if TYPE_CHECKING:
    import pytest

    from pytest_zerotrust.session import ZeroTrustSession


class Facade:
    """What all facades share: a session, and the test that the verdicts belong to."""

    def __init__(self, session: ZeroTrustSession, item: pytest.Item) -> None:
        self._session = session
        self._item = item

    def verify(self, check: Check) -> Result:
        """Verify one check of the shipped suite.

        Returns its result if the control holds. Raises Violation or Inconclusive otherwise,
        skips where the intent gives the control no subject, and ends the test as an expected
        failure where the intent has an exception for the violation.
        """
        __tracebackhide__ = True
        if isinstance(check, NothingToCheck):
            result = Result(
                control=check.control,
                subject="not-declared",
                verdict=Verdict.NOT_APPLICABLE,
                reason="not-declared",
                headline=f"{check.control}: {check.why}",
            )
        else:
            result = guarded(lambda: self._result(check), check)
            result = waive(result, self._session.intent.waiver_of(check.id))
        conclude(self._item, result)
        return result

    def workload(self, namespace: str, **labels: str) -> Workload:
        """Name a workload by its namespace and labels: ``workload("production", app="api")``.

        The namespace must be one in which probe pods may be placed (intent file or
        ``--zt-namespace``). Labels whose names are no Python names go in as ``**{"a/b": "c"}``.
        """
        if not labels:
            raise Inconclusive("workload() needs at least one label, like app='api'")
        for workload in self._session.intent.workloads.values():
            if workload.namespace == namespace and workload.labels == labels:
                return workload
        # With an equals sign, which no name in an intent file can have.
        words = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        return Workload(key=f"{namespace}/{words}", namespace=namespace, labels=labels)

    def _open(self, name: str) -> None:
        """A sentence was begun; a test that does not end it does not pass."""
        self._item.stash.setdefault(OPEN_SENTENCES, []).append(name)

    def _end(self, name: str) -> None:
        open_sentences = self._item.stash[OPEN_SENTENCES]
        if name in open_sentences:
            open_sentences.remove(name)

    def _result(self, check: Check) -> Result:
        raise NotImplementedError


def fail(error: Exception) -> Result:
    """Raise an error where an expression is wanted."""
    raise error


def guarded(work: Callable[[], Result], check: Check) -> Result:
    """Run ``work``; what goes wrong on the way is inconclusive, never a verdict."""
    try:
        return work()
    except (ZeroTrustError, OSError) as error:
        return Result(
            control=check.control,
            subject=check.id,
            verdict=Verdict.INCONCLUSIVE,
            reason="not-observed",
            headline=f"{check.id} not tested: {error}",
        )


def guarded_custom(work: Callable[[], Result], subject: str) -> Result:
    """The same for what a user's own test says."""
    try:
        return work()
    except (ZeroTrustError, OSError) as error:
        return Result(
            control="custom",
            subject=subject,
            verdict=Verdict.INCONCLUSIVE,
            reason="not-observed",
            headline=f"custom {subject} not tested: {error}",
        )
