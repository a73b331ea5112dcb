"""One run: an id, a secret that never leaves it, names that no two different things share."""

from __future__ import annotations

import datetime
import itertools
import json
import re

import pytest

from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.core.observation import expected_answer
from pytest_zerotrust.facades import Network
from pytest_zerotrust.fleet.run import LIFETIME, Run, new_run

RUN = Run(id="abcdefgh", secret="s" * 64, owner="me@here", expires="2030-01-01T00:00:00Z")
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def test_a_new_run_has_an_id_that_fits_into_labels_and_a_secret_of_its_own():
    runs = [new_run("me") for _ in range(50)]
    assert len({run.id for run in runs}) == 50
    assert len({run.secret for run in runs}) == 50
    for run in runs:
        assert DNS_LABEL.fullmatch(run.id)
        assert len(run.secret) >= 64


def test_a_run_expires_after_its_lifetime_and_says_so_in_utc():
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    expires = datetime.datetime.strptime(new_run("me").expires, "%Y-%m-%dT%H:%M:%S%z")
    after = datetime.datetime.now(datetime.UTC)
    lifetime = datetime.timedelta(seconds=LIFETIME)
    assert before + lifetime <= expires <= after + lifetime


def test_a_run_survives_the_way_to_a_worker():
    assert Run.from_dict(json.loads(json.dumps(RUN.to_dict()))) == RUN


def test_the_selector_selects_this_run_alone():
    assert RUN.selector == "zerotrust.dev/run=abcdefgh"


def test_each_pod_has_a_key_of_its_own_that_does_not_show_the_secret():
    other = Run(id="abcdefgh", secret="t" * 64, owner="me", expires="")
    pods = [("a", "p"), ("a", "q"), ("b", "p"), ("a/p", ""), ("", "a/p")]
    keys = [run.pod_key(*pod) for run in (RUN, other) for pod in pods[:3]]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert key.isascii()
        assert RUN.secret.encode() not in key
        assert RUN.pod_key("a", "p") == RUN.pod_key("a", "p")


def test_the_proof_of_one_pod_is_not_the_proof_of_another():
    answers = {expected_answer(RUN.pod_key("ns", pod), "nonce") for pod in "abc"}
    assert len(answers) == 3


@pytest.mark.parametrize(
    "parts",
    [
        ("twin", "production", "api"),
        ("twin", "p" * 63, "w" * 63),
        ("canary", "node.example.com"),
        ("canary", "node." * 40),
        ("dry", "may-run-as-root", "initContainers"),
        ("twin", "x", "a/b.c"),
        ("seal",),
        ("twin", "-", "-"),
        ("twin", "x", "a" * 39 + "."),
    ],
)
def test_a_name_is_a_valid_name_of_a_pod_and_of_a_service(parts):
    name = RUN.name(*parts)
    assert DNS_LABEL.fullmatch(name), name
    assert name[0].isalpha()
    assert name == RUN.name(*parts)


def test_a_name_is_readable_and_carries_the_run():
    assert RUN.name("twin", "production", "api").startswith("zt-abcdefgh-twin-production-api-")


def test_different_long_things_have_different_names():
    names = {RUN.name("twin", "n" * 60, "w" * 50 + str(i)) for i in range(100)}
    assert len(names) == 100


SPLITS = [("twin", "a", "b-c"), ("twin", "a-b", "c"), ("twin-a", "b", "c")]


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(SPLITS, 2)))
def test_workloads_whose_names_run_together_have_different_pods(one, other):
    assert RUN.name(*one) != RUN.name(*other)


def test_things_that_differ_in_capitals_have_different_names():
    assert RUN.name("twin", "ns", "ns/app-API") != RUN.name("twin", "ns", "ns/app-api")


class Session:
    """As much of a session as naming a workload needs."""

    class intent:  # noqa: N801
        workloads: dict[str, Workload] = {}  # noqa: RUF012


def named(namespace: str, **labels: str) -> Workload:
    return Network(Session(), None).workload(namespace, **labels)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"app": "x", "tier": "y"}, {"app": "x-tier-y"}),
        ({"a": "b-c"}, {"a-b": "c"}),
    ],
)
def test_workloads_with_different_labels_have_different_keys(one, other):
    assert named("ns", **one).key != named("ns", **other).key


def test_a_workload_is_the_same_whatever_the_order_of_its_labels():
    assert named("ns", app="x", tier="y") == named("ns", tier="y", app="x")
