"""Questions in plain Python: answers that cannot be misread, and tests that cannot only ask."""

from __future__ import annotations

import pytest

from tests.fakes.world import DROPPED, Place
from tests.plugin.conftest import HASTE, NETWORK, Project, text_of

NAMES = """
def ends(net):
    return (net.workload("web", app="gateway"), net.workload("web", app="payments"),
            net.workload("data", app="store"))
"""
TRUE = {
    "ask": (
        "gateway, payments, store = ends(net)\n"
        "    assert net.ask(gateway, payments, 8080).reached\n"
        "    assert not net.ask(gateway, store, 5432).reached"
    ),
    "whole": "net.matrix().expect('gateway -> payments:8080', 'payments -> store:5432')",
    "some": "net.matrix(ends(net)[:2]).expect('gateway -> payments:8080')",
    "port": "net.matrix(ends(net), port=9999).expect()",
    "flow": "assert net.matrix().flow('gateway', 'payments', 8080).reached",
    "counted": "assert sum(a.reached for a in net.matrix()) == 2",
}
FALSE = {
    "net.matrix().expect('gateway -> payments:8080')": "payments -> store:5432/tcp REACHED",
    "net.matrix().expect('gateway -> payments:8080', 'payments -> store:5432', "
    "'gateway -> store:5432')": "gateway -> store:5432/tcp DENIED, expected to be ALLOWED",
    "assert net.matrix().flow('gateway', 'store', 5432).reached": "assert False",
}
NOTHING_SHOWN = {
    "asks": "net.ask(*ends(net)[:2], 8080)",
    "prints": "print(net.ask(*ends(net)[:2], 8080), net.matrix())",
    "looks": "assert net.ask(*ends(net)[:2], 8080).reach",
}


def body(line: str) -> str:
    return f"{NAMES}\ndef test_it(zt_network):\n    net = zt_network\n    {line}\n"


@pytest.fixture
def own(project: Project) -> Project:
    project.write("conftest.py", HASTE)
    project.intent(NETWORK)
    return project


def test_what_is_so_passes(own: Project):
    for name, line in TRUE.items():
        own.test(body(line), f"test_{name}.py")
    result = own.verify()
    result.assert_outcomes(passed=len(TRUE))
    assert result.ret == 0
    assert own.api.cluster.made_by_runs() == []


@pytest.mark.parametrize("line", FALSE)
def test_what_is_not_so_fails_and_is_named(own: Project, line):
    own.test(body(line))
    result = own.verify()
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    assert FALSE[line] in text_of(result)


def test_a_test_that_only_asks_does_not_pass(own: Project):
    for name, line in NOTHING_SHOWN.items():
        own.test(body(line), f"test_{name}.py")
    result = own.verify()
    result.assert_outcomes(failed=len(NOTHING_SHOWN))
    assert result.ret == 6
    assert "verified nothing" in text_of(result)


def test_an_unclear_answer_is_no_denial(own: Project):
    def dead(source: Place, target: Place, port: int):
        return None if source.name == target.name else DROPPED

    own.api.cluster.world.rules.append(dead)
    own.api.cluster.world.resolves = lambda place, protocol: False
    for number, line in enumerate(
        (
            "assert not net.ask(*ends(net)[:2], 8080).reached",
            "net.matrix().expect()",
            "assert not any(a.reached for a in net.matrix())",
        )
    ):
        own.test(body(line), f"test_{number}.py")
    result = own.verify()
    result.assert_outcomes(failed=3)
    assert result.ret == 6


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("assert not net.ask(*ends(net)[:2], 8080)", "no truth value"),
        ("assert net.matrix()", "no truth value"),
        ("assert net.matrix() != {}", "compared with expect"),
        ("net.matrix().expect('gateway -> nobody:1')", "not in this matrix"),
        ("net.matrix().expect('gateway > payments')", "is no flow"),
        ("net.matrix([]).expect()", "the matrix is empty"),
        ("net.ask(net.workload('web', app='gone'), ends(net)[0], 80).reached", "app=gone"),
    ],
)
def test_what_cannot_be_meant_is_told_and_never_passes(own: Project, line, said):
    own.test(body(line))
    result = own.verify()
    result.assert_outcomes(failed=1)
    assert said in text_of(result)


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])
def test_the_picture_shows_each_pair_with_its_worst_sign(own: Project, words):
    own.api.cluster.world.allowed |= {("gateway", "store", 5432)}
    result = own.verify("--zt-conformance", "-k", "pod-ip", "--zt-matrix", *words)
    picture = text_of(result).partition("who reaches whom")[2]
    assert "1 gateway   - o X" in picture
    assert "2 payments  . - o" in picture
    assert "3 store     . . -" in picture
    assert "\x1b[" not in picture


def test_without_the_option_no_picture_is_drawn(own: Project):
    result = own.verify("--zt-conformance", "-k", "ZT-NET-003 and pod-ip")
    assert "who reaches whom" not in text_of(result)
    assert "who reaches whom" in text_of(
        own.verify("--zt-conformance", "-k", "ZT-NET-003 and pod-ip", "-v")
    )
