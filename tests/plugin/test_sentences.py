"""A user's own test reads like a sentence, and is judged like any check of the shipped suite."""

from __future__ import annotations

import pytest

from tests.fakes.world import DROPPED, Place
from tests.plugin.conftest import HASTE, NETWORK, Project, text_of

NO_FILE = "version: 1\nnamespaces: [web, data]\nprobe: {image: 'registry.company.com/probe:1'}\n"
SENTENCES = """
def test_who_reaches_payments(zt_network):
    gateway = zt_network.workload("web", app="gateway")
    store = zt_network.workload("data", app="store")
    payments = zt_network.workload("web", app="payments")
    zt_network.expect(gateway).reaches(payments, 8080)
    zt_network.expect(store).cannot_reach(payments, 8080)
    zt_network.expect(gateway).cannot_reach(store, 5432)
"""


def beginning(sentence: str) -> str:
    """A test that names the three workloads and then says one sentence."""
    return "\n".join([*SENTENCES.splitlines()[:5], f"    {sentence}"])


@pytest.fixture
def own(project: Project) -> Project:
    project.write("conftest.py", HASTE)
    project.intent(NO_FILE)
    return project


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])
@pytest.mark.parametrize("intent", [NO_FILE, NETWORK], ids=["undeclared", "declared"])
def test_true_sentences_pass_and_leave_nothing(own: Project, intent, words):
    own.intent(intent)
    own.test(SENTENCES)
    result = own.verify(*words)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert own.api.cluster.made_by_runs() == []


def test_a_sentence_needs_no_intent_file_if_an_option_names_the_namespaces(own: Project):
    (own.path / "zerotrust.yaml").unlink()
    own.test(SENTENCES)
    result = own.verify(
        "--zt-namespace=web", "--zt-namespace=data",
        "--zt-probe-image=registry.company.com/probe:1",
    )  # fmt: skip
    result.assert_outcomes(passed=1)
    assert own.api.cluster.made_by_runs() == []


def test_a_namespace_that_nobody_named_gets_no_pod(own: Project):
    own.intent(NO_FILE.replace("[web, data]", "[web]"))
    own.test(SENTENCES)
    result = own.verify()
    assert result.ret == 6
    assert "namespace data is not one in which probe pods may be placed" in text_of(result)
    assert not [path for path in own.made() if "/data/" in path]


FALSE = {
    "zt_network.expect(gateway).cannot_reach(payments, 8080)": "REACHED, expected DENIED",
    "zt_network.expect(store).reaches(payments, 8080)": "expected to be ALLOWED",
}


@pytest.mark.parametrize("sentence", FALSE)
def test_a_false_sentence_fails_with_who_whom_and_what(own: Project, sentence):
    own.test(beginning(sentence))
    result = own.verify()
    result.assert_outcomes(failed=1)
    assert result.ret == 1
    assert FALSE[sentence] in text_of(result)
    assert "Traceback" not in text_of(result)


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("expect(gateway).cannot_reach(zt_network.workload('web', app='gone'), 80)", "app=gone"),
        ("expect(zt_network.workload('web', app='gone')).reaches(payments, 80)", "app=gone"),
        ("expect(zt_network.workload('nowhere', a='b')).reaches(payments, 80)", "nowhere"),
    ],
)
def test_a_sentence_about_nobody_is_inconclusive(own: Project, sentence, said):
    own.test(beginning(f"zt_network.{sentence}"))
    result = own.verify()
    assert result.ret == 6
    assert said in text_of(result)
    assert "Traceback" not in text_of(result)


def test_a_denial_without_its_controls_does_not_pass(own: Project):
    def dead(source: Place, target: Place, port: int):
        return None if source.name == target.name else DROPPED

    own.api.cluster.world.rules.append(dead)
    own.api.cluster.world.resolves = lambda place, protocol: False
    own.test(beginning("zt_network.expect(store).cannot_reach(payments, 8080)"))
    result = own.verify()
    assert result.ret == 6
    assert "inconclusive" in text_of(result)


def test_workloads_that_differ_in_one_label_have_pods_of_their_own(own: Project):
    cluster = own.api.cluster
    cluster.add_workload("web", "gateway-v2", 8080)
    cluster.world.allowed |= {("gateway-v2", "payments", 8080)}
    own.test(
        "def test_it(zt_network):\n"
        "    payments = zt_network.workload('web', app='payments')\n"
        "    for app in ('gateway', 'gateway-v2'):\n"
        "        zt_network.expect(zt_network.workload('web', app=app)).reaches(payments, 8080)\n"
        "    other = zt_network.workload('web', app='gateway-v2')\n"
        "    zt_network.expect(payments).cannot_reach(other, 8080)\n"
    )
    own.verify().assert_outcomes(passed=1)


@pytest.mark.parametrize("port", ["0", "65536", "'8080'", "8080.5", "None"])
def test_a_port_that_is_none_is_told_and_never_passes(own: Project, port):
    own.test(beginning(f"zt_network.expect(store).cannot_reach(payments, {port})"))
    result = own.verify()
    assert result.ret in (1, 6)
    result.assert_outcomes(failed=1)
