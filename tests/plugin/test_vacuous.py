"""A test that proves nothing does not pass, however it was written."""

from __future__ import annotations

import re

import pytest

from tests.plugin.conftest import ADMISSION, Project, text_of

PAIR = """
from pytest_zerotrust.admission.pairs import PairCheck

PRIVILEGED = PairCheck(control="ZT-ADM-001", namespace="web", list_name="containers")
"""
# Each of these alone must end a run with 6, and none may be shown as passed.
NOTHING_SHOWN = {
    "unused": "def test_it(zt_network): pass",
    "unused_mesh": "def test_it(zt_mesh): pass",
    "unused_admission": "def test_it(zt_admission): pass",
    "by_marker": "@pytest.mark.usefixtures('zt_network')\ndef test_it(): pass",
    "wrapped": "@pytest.fixture\ndef net(zt_network): return zt_network\ndef test_it(net): pass",
    "in_class": "class TestIt:\n    def test_it(self, zt_network): pass",
    "named_only": "def test_it(zt_network): zt_network.workload('web', app='gateway')",
    "dangling": (
        "def test_it(zt_network): zt_network.expect(zt_network.workload('web', app='gateway'))"
    ),
    "dangling_mesh": (
        "def test_it(zt_mesh): zt_mesh.expect(zt_mesh.workload('web', app='gateway'), 8080)"
    ),
    "dangling_beside_a_verdict": (
        "def test_it(zt_network, zt_admission):\n"
        "    zt_admission.verify(PRIVILEGED)\n"
        "    zt_network.expect(zt_network.workload('web', app='gateway'))"
    ),
    "expects_to_fail": "@pytest.mark.xfail(strict=False)\ndef test_it(zt_network): pass",
    "no_labels": "def test_it(zt_network): zt_network.workload('web')",
    "by_request": "def test_it(request): request.getfixturevalue('zt_network')",
    "dangling_by_request": (
        "def test_it(request):\n"
        "    net = request.getfixturevalue('zt_network')\n"
        "    net.expect(net.workload('web', app='gateway'))"
    ),
}
# These are shown as what they are, but a run of nothing else is not green.
SKIPPED = {
    "skips_itself": "def test_it(zt_network): pytest.skip('later')",
    "is_skipped": "@pytest.mark.skip(reason='r')\ndef test_it(zt_network): pass",
    "is_not_run": "@pytest.mark.xfail(run=False)\ndef test_it(zt_network): pass",
}


@pytest.fixture
def asking(project: Project) -> Project:
    project.intent(ADMISSION)
    return project


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    """The outcome of each test by the name of its file."""
    lines = re.findall(r"^(PASSED|FAILED|SKIPPED|XFAIL|XPASS) (\S+?)\.py", text_of(result), re.M)
    return {name.removeprefix("test_"): word for word, name in lines}


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])
def test_a_test_that_shows_nothing_fails_as_inconclusive(asking: Project, words):
    for name, body in NOTHING_SHOWN.items():
        asking.test(PAIR + body, f"test_{name}.py")
    result = asking.verify("-rA", *words)
    assert outcomes(result) == dict.fromkeys(NOTHING_SHOWN, "FAILED")
    assert result.ret == 6
    text = text_of(result)
    assert "used a zerotrust fixture but verified nothing" in text
    assert "'expect(web/app=gateway)' was begun and never ended" in text


@pytest.mark.parametrize("name", ["unused", "dangling", "by_request"])
def test_one_such_test_alone_ends_the_run_with_6(asking: Project, name):
    asking.test(PAIR + NOTHING_SHOWN[name])
    assert asking.verify().ret == 6


@pytest.mark.parametrize("name", SKIPPED)
def test_a_run_whose_tests_of_ours_are_all_skipped_is_not_green(asking: Project, name):
    asking.test(PAIR + SKIPPED[name] + "\ndef test_ordinary(): pass")
    assert asking.verify().ret == 6


SWALLOWED = """
def test_it(zt_admission):
    try:
        zt_admission.verify(PRIVILEGED)
    except Exception:
        pass
"""


@pytest.mark.parametrize(("status", "code"), [(201, 1), (500, 6)])
def test_a_verdict_that_a_test_swallows_still_decides_the_exit_code(asking: Project, status, code):
    asking.test(PAIR + SWALLOWED)
    asking.api.cluster.admission = swallowed_by(status)
    assert asking.verify().ret == code


@pytest.mark.parametrize("status", [201, 500])
def test_a_test_that_swallows_its_verdict_is_not_shown_as_passed(asking: Project, status):
    asking.test(PAIR + SWALLOWED)
    asking.api.cluster.admission = swallowed_by(status)
    asking.verify().assert_outcomes(failed=1)


def swallowed_by(status: int):
    """An admission that admits the privileged pod, or breaks down over it."""

    def rule(pod):
        bad = any(c["securityContext"].get("privileged") for c in pod["spec"]["containers"])
        return (status, "no such luck") if bad and status >= 400 else None

    return rule


def test_a_result_used_as_a_truth_value_is_no_pass(asking: Project):
    asking.test(PAIR + "def test_it(zt_admission): assert zt_admission.verify(PRIVILEGED)")
    result = asking.verify()
    result.assert_outcomes(failed=1)
    assert "no truth value" in text_of(result)
    assert result.ret == 1


def test_ordinary_tests_beside_ours_keep_their_meaning(asking: Project):
    asking.test(
        PAIR + "def test_ours(zt_admission): zt_admission.verify(PRIVILEGED)\n"
        "def test_theirs(): pass\n"
        "@pytest.mark.skip\ndef test_skipped(): pass\n"
        "@pytest.mark.xfail\ndef test_known(): assert 0\n"
    )
    result = asking.verify()
    result.assert_outcomes(passed=2, skipped=1, xfailed=1)
    assert result.ret == 0
