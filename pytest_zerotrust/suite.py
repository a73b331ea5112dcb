"""How checks become tests: the place of the shipped suite, and the ``zt_each`` marker."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_zerotrust.checks import KINDS, Check, NothingToCheck, checks_of
from pytest_zerotrust.core.controls import CONTROLS, LEVELS
from pytest_zerotrust.core.intent import Intent, Waiver
from pytest_zerotrust.errors import IntentProblem

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession

ARGUMENT = "check"


def suite_path() -> Path:
    """The folder of the shipped suite."""
    spec = importlib.util.find_spec("pytest_zerotrust.conformance")
    if spec is None or not spec.submodule_search_locations:
        raise pytest.UsageError("zerotrust: the shipped suite is missing; install the package anew")
    return Path(next(iter(spec.submodule_search_locations)))


def parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark, session: ZeroTrustSession) -> None:
    """Give the argument ``check`` of a marked test its values, or note that it is misused."""
    kinds = marker.args
    if ARGUMENT not in metafunc.fixturenames:
        session.misused(
            f"{metafunc.definition.nodeid}: a test marked zt_each needs an argument named "
            f"'{ARGUMENT}'."
        )
        return
    if len(kinds) != 1 or kinds[0] not in KINDS:
        session.misused(
            f"{metafunc.definition.nodeid}: zt_each takes one kind of check, not "
            f"{', '.join(map(repr, kinds)) or 'nothing'}. Known: {', '.join(KINDS)}."
        )
        metafunc.parametrize(ARGUMENT, [None], ids=["misused"])
        return
    checks = checks_of(kinds[0], session.intent)
    metafunc.parametrize(ARGUMENT, checks, ids=[check.id for check in checks])


def check_of(item: pytest.Item) -> Check | None:
    """The check that a test was made of, if any."""
    callspec = getattr(item, "callspec", None)
    check = callspec.params.get(ARGUMENT) if callspec is not None else None
    return check if hasattr(check, "control") and hasattr(check, "id") else None


def implied_checks(intent: Intent) -> Mapping[int, frozenset[str]]:
    """The ids of all checks that an intent implies, by level, whatever a run selects of them."""
    found: dict[int, set[str]] = {level: set() for level in LEVELS}
    for kind in KINDS:
        for check in checks_of(kind, intent):
            if not isinstance(check, NothingToCheck):
                found[CONTROLS[check.control].level].add(check.id)
    return {level: frozenset(ids) for level, ids in found.items()}


def waived_checks(intent: Intent) -> dict[Waiver, frozenset[str]]:
    """The ids of the checks that each waiver of the intent is for.

    Raises IntentProblem for a waiver that is for none: a slip of the pen, or a workload that went.
    """
    if not intent.waivers:
        return {}
    ids = [id_ for ids in implied_checks(intent).values() for id_ in ids]
    found = {w: frozenset(i for i in ids if w.matches(i)) for w in intent.waivers}
    for waiver, matched in found.items():
        if not matched:
            raise IntentProblem(
                f"{waiver.where}: the exception for '{waiver.check}' matches no check of this "
                f"intent. '--zt-conformance --collect-only -q' lists their ids."
            )
    return found
