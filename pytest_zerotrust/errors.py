"""The exceptions of the project.

::

    Exception
    ├── AssertionError
    │   └── Violation            a control is violated: the test fails
    └── ZeroTrustError
        ├── Inconclusive         nothing could be concluded: the test fails, never passes
        └── UsageProblem         bad input, told before anything is created: exit code 4
            ├── IntentProblem    the intent file
            ├── ClusterProblem   kubeconfig, context, server, credentials
            └── PermissionProblem  a right that the run needs is missing
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_zerotrust.core.printable import printable_lines

if TYPE_CHECKING:
    from pytest_zerotrust.core.verdict import Result


class ZeroTrustError(Exception):
    """Base of everything this project raises on purpose, except ``Violation``."""


class Violation(AssertionError):
    """A control is violated. ``result`` carries the evidence."""

    def __init__(self, text: str, result: Result | None = None) -> None:
        super().__init__(text)
        self.result = result


class Inconclusive(ZeroTrustError):
    """Nothing could be concluded, so the test must not pass. ``result`` carries the evidence."""

    def __init__(self, text: str, result: Result | None = None) -> None:
        super().__init__(text)
        self.result = result


class UsageProblem(ZeroTrustError):
    """Input that the run cannot start with. The text is one paragraph for people, and parts of it
    may be a server's words."""

    def __init__(self, text: str) -> None:
        super().__init__(printable_lines(text))


class IntentProblem(UsageProblem):
    """The intent file cannot be read, or says something that cannot be."""


class ClusterProblem(UsageProblem):
    """The cluster cannot be reached or does not know us."""


class PermissionProblem(UsageProblem):
    """The identity of the run lacks a right that the run needs."""
