"""From verdicts to pytest's outcomes, and the guard against a test that proved nothing."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.printable import printable
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.core.waiving import waiver_of
from pytest_zerotrust.errors import Inconclusive, UsageProblem, Violation
from pytest_zerotrust.suite import check_of
from pytest_zerotrust.usage import uses_zerotrust

RESULTS: pytest.StashKey[list[Result]] = pytest.StashKey()
OPEN_SENTENCES: pytest.StashKey[list[str]] = pytest.StashKey()
"""Sentences that a test began with ``expect`` and has not ended yet."""


def record(item: pytest.Item, result: Result) -> None:
    """Keep a result with its test; it travels with the test's report, and into JUnit files."""
    item.stash.setdefault(RESULTS, []).append(result)
    properties = [
        ("zt.control", result.control),
        ("zt.verdict", result.verdict.value),
        ("zt.headline", printable(result.headline)),
    ]
    control = CONTROLS.get(result.control)
    if control is not None:
        properties += [("zt.level", str(control.level)), ("zt.severity", control.severity)]
    if result.verdict is Verdict.WAIVED:
        properties.append(("zt.waiver", printable(waiver_of(result))))
    item.user_properties.extend(properties)


def conclude(item: pytest.Item, result: Result) -> None:
    """Record a result and end the test as its verdict demands; returns only if it holds."""
    __tracebackhide__ = True
    record(item, result)
    if result.verdict is not Verdict.HOLDS:
        _stop(result)


def _stop(result: Result) -> NoReturn:
    __tracebackhide__ = True
    text = render(result)
    if result.verdict is Verdict.WAIVED:
        pytest.xfail(_waived(result))
    # With --runxfail the line above does nothing, and the violation is shown as what it is.
    if result.verdict in (Verdict.VIOLATED, Verdict.WAIVED):
        raise Violation(text, result)
    if result.verdict is Verdict.NOT_APPLICABLE:
        pytest.skip(printable(f"zerotrust: not applicable: {result.reason}: {result.headline}"))
    raise Inconclusive(text, result)


def _waived(result: Result) -> str:
    return printable(f"zerotrust: waived by {waiver_of(result)}: {result.headline}")


def render(result: Result) -> str:
    """The failure text: headline, what was observed, the controls, what decides, what to do."""
    lines = [printable(result.headline)]
    if result.verdict is Verdict.INCONCLUSIVE:
        lines.append(f"inconclusive ({result.reason}): this is neither a pass nor a violation")
    for title, entries in (
        ("observed", result.observed),
        ("control", result.controls),
        ("object", result.objects),
    ):
        lines += [f"  {title:<10} {printable(entry)}" for entry in entries]
    if result.remedy:
        lines.append(f"  {'remedy':<10} {result.remedy}")
    if result.reproduce:
        lines.append(f"  {'reproduce':<10} {printable(result.reproduce)}")
    return "\n".join(lines)


def complete_report(
    item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> None:
    """Attach the results to a report (they cross process borders with it), shorten its headline,
    and fail a test that used our fixtures and passed without a single verdict."""
    results = item.stash.get(RESULTS, [])
    if report.when == "call" and report.passed and uses_zerotrust(item):
        _refuse_vacuous(item, report, results)
    error = call.excinfo.value if call.excinfo is not None else None
    data: dict[str, Any] = {
        "results": [result.to_dict() for result in results] if report.when == "call" else [],
        "inconclusive": isinstance(error, Inconclusive)
        or bool(getattr(report, "zt_vacuous", False)),
        "control": _control(item),
        "uses": uses_zerotrust(item),
        "unusable": str(error) if isinstance(error, UsageProblem) else "",
    }
    report.zt = data  # type: ignore[attr-defined]
    if isinstance(error, UsageProblem):
        report.longrepr = str(error)
    if isinstance(error, (Violation, Inconclusive)):
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:
            name = type(error).__name__
            crash.message = f"{name}: {printable(str(error).partition(chr(10))[0])}"


def _control(item: pytest.Item) -> str:
    check = check_of(item)
    if check is not None:
        return check.control
    marker = item.get_closest_marker("zt_control")
    return str(marker.args[0]) if marker is not None and marker.args else ""


def _refuse_vacuous(item: pytest.Item, report: pytest.TestReport, results: list[Result]) -> None:
    swallowed = [r for r in results if r.verdict in (Verdict.VIOLATED, Verdict.INCONCLUSIVE)]
    if swallowed:
        report.outcome = "failed"
        report.longrepr = f"The test went on after this verdict:\n{render(swallowed[0])}"
        return
    waived = [r for r in results if r.verdict is Verdict.WAIVED]
    if waived:
        report.outcome = "skipped"
        report.wasxfail = f"reason: {_waived(waived[0])}"
        return
    dangling = item.stash.get(OPEN_SENTENCES, [])
    if results and not dangling:
        return
    why = (
        f"the sentence 'expect({dangling[0]})' was begun and never ended: say what it reaches"
        if dangling
        else "the test used a zerotrust fixture but verified nothing"
    )
    report.outcome = "failed"
    report.longrepr = f"Inconclusive: {why}. A test that proves nothing does not pass."
    report.zt_vacuous = True  # type: ignore[attr-defined]
