"""A known violation is shown as waived, counted, and never taken for a control that holds."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from tests.fakes.cluster import gatekeeper
from tests.plugin.conftest import ADMISSION, HASTE, NETWORK, Project, paragraph, text_of

# Each rule broken in each of the two lists of containers, and nothing else of the corpus.
SIX = " or ".join(
    f"{case}-in-{where}-web"
    for case in ("001-privileged", "002-may-run-as-root", "003-image-from-elsewhere")
    for where in ("containers", "initContainers")
)
workers = pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])


def waiver(check: str, expires: str = "2099-12-31") -> str:
    return (
        f"  - {{check: '{check}', reason: moves in June, owner: payments-team, "
        f"expires: {expires}}}\n"
    )


def waivers(*checks: str) -> str:
    return "exceptions:\n" + "".join(map(waiver, checks))


def lets_in_privileged(pod):
    """Rejects all that the rules forbid, but not what is privileged."""
    bad = any(
        container.get("securityContext", {}).get("privileged")
        for name in ("containers", "initContainers")
        for container in pod["spec"].get(name, ())
    )
    return None if bad else gatekeeper(pod)


def lets_in_privileged_init(pod):
    """Reads only spec.containers where it looks for privileged ones, as many rules do."""
    init = pod["spec"].get("initContainers", ())
    bad = any(c.get("securityContext", {}).get("privileged") for c in init)
    return None if bad else gatekeeper(pod)


@pytest.fixture
def holed(project: Project) -> Project:
    """A cluster that lets in privileged init containers; all else holds."""
    project.api.cluster.admission = lets_in_privileged_init
    project.intent(ADMISSION + waivers("ZT-ADM-001-privileged-in-init*"))
    return project


@workers
def test_a_waived_violation_is_an_expected_failure_and_the_run_is_green(holed: Project, words):
    result = holed.verify("--zt-conformance", "-k", SIX, *words)
    result.assert_outcomes(passed=5, xfailed=1)
    assert result.ret == 0
    text = text_of(result)
    assert "XFAIL" in text
    assert "waived by payments-team until 2099-12-31: moves in June: ZT-ADM-001" in text
    assert "waived: ZT-ADM-001-privileged-in-init* (payments-team, until 2099-12-31)" in text
    assert "no longer needed" not in text


@workers
def test_waived_checks_are_counted_and_written(holed: Project, words):
    file = holed.path / "junit.xml"
    result = holed.verify(
        "--zt-conformance", "-k", SIX, f"--junitxml={file}", "--zt-artifacts=out", *words
    )  # fmt: skip
    text = text_of(result)
    assert re.search(r"^level .*not applicable +waived +status$", text, re.M)
    assert re.search(r"^3  .* 5 +0 +0 +0 +1 +not judged$", text, re.M)
    data = json.loads((holed.path / "out" / "zerotrust.json").read_text())
    (waived,) = [r for r in data["results"] if r["verdict"] == "waived"]
    assert waived["reason"] == "waived"
    assert waived["evidence"]["waiver"]["owner"] == "payments-team"
    assert "ADMITTED, expected REJECTED" in waived["headline"]
    assert [(w["check"], w["state"]) for w in data["waivers"]] == [
        ("ZT-ADM-001-privileged-in-init*", "used")
    ]
    cases = {
        p.get("value"): case
        for case in ElementTree.parse(file).iter("testcase")
        for p in case.iter("property")
        if p.get("name") == "zt.verdict"
    }
    case = cases["waived"]
    assert case.find("failure") is None
    assert case.find("skipped").get("type") == "pytest.xfail"
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties["zt.waiver"] == "payments-team until 2099-12-31: moves in June"


def test_a_control_that_is_waived_throughout_was_never_shown_to_hold(holed: Project):
    holed.api.cluster.admission = lets_in_privileged
    holed.intent(ADMISSION + waivers("ZT-ADM-001*"))
    text = text_of(holed.verify("--zt-conformance", "-k", "ZT-ADM"))
    # Nothing rejects a privileged pod, so nothing can be asked whether it fails closed.
    assert re.search(r"^3  .* \d+ +0 +1 +2 +18 +inconclusive$", text, re.M)
    assert "no level holds" in text


def test_a_run_in_which_everything_is_waived_is_not_green(holed: Project):
    result = holed.verify("--zt-conformance", "-k", "privileged-in-init")
    result.assert_outcomes(xfailed=1)
    assert result.ret == 6


def test_an_exception_excuses_only_its_own_checks(holed: Project):
    holed.api.cluster.admission = lets_in_privileged
    result = holed.verify("--zt-conformance", "-k", SIX)
    result.assert_outcomes(passed=4, xfailed=1, failed=1)
    assert result.ret == 1


@workers
def test_what_is_inconclusive_is_not_waived(holed: Project, words):
    holed.api.cluster.admission = lambda pod: (
        (500, "no such luck") if "initContainers" in pod["spec"] else gatekeeper(pod)
    )
    holed.intent(ADMISSION + waivers("ZT-ADM-001-*"))
    result = holed.verify("--zt-conformance", "-k", "privileged-in-init", *words)
    result.assert_outcomes(failed=1)
    assert result.ret == 6
    assert "XFAIL" not in text_of(result)
    assert "waived by" not in text_of(result)


def test_with_runxfail_a_waived_violation_is_shown_as_what_it_is(holed: Project):
    result = holed.verify("--zt-conformance", "-k", SIX, "--runxfail")
    result.assert_outcomes(passed=5, failed=1)
    assert result.ret == 1
    assert "ADMITTED, expected REJECTED" in text_of(result)


SWALLOWED = """
@pytest.mark.zt_each("privileged")
def test_it(zt_admission, check):
    try:
        zt_admission.verify(check)
    except BaseException:
        pass
"""


def test_a_test_that_swallows_a_waived_verdict_does_not_pass(holed: Project):
    holed.test(SWALLOWED)
    result = holed.verify("-k", "privileged-in-init")
    result.assert_outcomes(xfailed=1)
    assert result.ret == 6


def test_an_exception_whose_checks_all_hold_is_no_longer_needed(holed: Project):
    holed.api.cluster.admission = gatekeeper
    result = holed.verify("--zt-conformance", "-k", SIX)
    assert result.ret == 0
    text = text_of(result)
    assert "no longer needed: the exception for ZT-ADM-001-privileged-in-init*" in text
    assert "zerotrust.yaml:7" in text
    assert "waived:" not in text


def test_an_exception_of_which_not_all_checks_ran_may_still_be_needed(holed: Project):
    holed.api.cluster.admission = gatekeeper
    holed.intent(ADMISSION + waivers("ZT-ADM-001-*"))
    text = text_of(holed.verify("--zt-conformance", "-k", "privileged-in-init"))
    assert "no longer needed" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (waiver("ZT-ADM-001-*", "2020-01-31"), ("ZT-ADM-001-*", "payments-team", "expired")),
        (waiver("ZT-ADM-001-privileged-in-jobs-*"), ("privileged-in-jobs", "matches no check")),
        (waiver("ZT-NET-001-*"), ("ZT-NET-001-*", "matches no check")),
        (waiver("ZT-NET-001-not-declared"), ("not-declared", "matches no check")),
    ],
)
def test_an_exception_that_is_over_or_for_nothing_is_told_before_anything_is_made(
    holed: Project, text, said
):
    holed.intent(f"{ADMISSION}exceptions:\n{text}")
    result = holed.verify("--zt-conformance")
    assert result.ret == 4
    told = paragraph(result)
    for word in ("zerotrust.yaml:7", *said):
        assert word in told
    assert holed.api.seen == []


def test_a_leak_between_workloads_can_be_waived(project: Project):
    project.write("conftest.py", HASTE)
    project.intent(NETWORK + waivers("ZT-NET-001-gateway->store:*"))
    project.api.cluster.world.allowed |= {("gateway", "store", 5432)}
    result = project.verify("--zt-conformance", "-k", "ZT-NET and gateway and store and 001")
    result.assert_outcomes(passed=2, xfailed=2)
    assert "REACHED, expected DENIED" in text_of(result)
