"""An API server that is slow, throttles, fails, is cut off or goes away."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.faults.conftest import LAB
from tests.faults.proxy import Proxy, Rule
from tests.faults.support import (
    about,
    delete_all,
    exactly,
    green,
    nothing_shown,
    process_of,
    through,
)
from tests.live.support import Cluster, zt_lab

pytestmark = pytest.mark.faults


def test_without_a_fault_the_selection_is_green(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """The control of all the others."""
    green(through(proxy, tmp_path))


def test_slow(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule(".*", "/pods", delay=0.7))
    green(through(proxy, tmp_path))


def test_throttling_is_waited_out(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule(".*", "/pods", status=429, retry_after="1", times=4))
    green(through(proxy, tmp_path))
    assert proxy.rules[0].hits == 4


def test_throttling_for_good(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("POST", "/pods$", status=429, retry_after="0.1"))
    found = through(proxy, tmp_path)
    nothing_shown(found)
    assert "429" in found.output


def test_500_on_creating_pods(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("POST", "/pods$", status=500))
    found = through(proxy, tmp_path)
    nothing_shown(found)
    assert "500 made up by the test" in found.output


def test_500_on_some_creations(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("POST", "/namespaces/legacy/pods$", status=500))
    exactly(through(proxy, tmp_path), about("web"))


def test_500_on_making_the_policy(proxy: Proxy, tmp_path: Path):
    """Without it nothing tells whether a refusal is a policy's."""
    proxy.rules.append(Rule("POST", "/networkpolicies$", status=500))
    nothing_shown(through(proxy, tmp_path))


def test_the_answer_to_a_creation_is_lost(proxy: Proxy, tmp_path: Path):
    """The pod is there, but the run cannot know; it is deleted all the same."""
    proxy.rules.append(Rule("POST", "/namespaces/legacy/pods$", cut_after=0))
    exactly(through(proxy, tmp_path), about("web"))


def test_every_exec_is_cut_in_mid_reply(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("GET", "/exec", cut_after=600))
    nothing_shown(through(proxy, tmp_path))


def test_every_exec_is_refused(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("GET", "/exec", status=500))
    nothing_shown(through(proxy, tmp_path))


def test_every_exec_of_one_pod_is_cut_in_mid_reply(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("GET", "/namespaces/legacy/pods/[^/]*/exec", cut_after=600))
    # Nothing but its own exec shows that it lives, so that it is not reached shows nothing.
    exactly(through(proxy, tmp_path), about("web"))


def test_one_exec_that_is_cut_is_made_again(proxy: Proxy, tmp_path: Path):
    def cut_the_next() -> None:
        proxy.rules.append(Rule("GET", "/namespaces/staging/pods/.*/exec", cut=True, times=1))

    proxy.in_the_batch(cut_the_next)
    green(through(proxy, tmp_path))
    assert proxy.rules[0].hits == 1


def test_cut_off_between_create_and_watch(proxy: Proxy, tmp_path: Path):
    """For six seconds nothing answers, from the first look at the pods that were made."""

    def outage() -> None:
        proxy.rules.append(Rule(".*", ".*", cut=True))
        threading.Timer(6.0, proxy.rules.clear).start()

    proxy.once("GET", "/pods[?]", outage, after=("POST", "/pods"))
    green(through(proxy, tmp_path))


def test_away_for_good_is_told_with_the_way_to_delete(proxy: Proxy, lab: Cluster, tmp_path: Path):
    proxy.in_the_batch(lambda: proxy.rules.append(Rule(".*", ".*", cut=True)))
    found = through(proxy, tmp_path)
    nothing_shown(found)
    assert "left behind" in found.output
    assert "delete with: kubectl -n legacy delete pods" in found.output
    delete_all(lab)


def test_credentials_that_expire_in_the_run(proxy: Proxy, lab: Cluster, tmp_path: Path):
    proxy.in_the_batch(lambda: proxy.rules.append(Rule(".*", ".*", status=401)))
    found = through(proxy, tmp_path)
    nothing_shown(found)
    assert "401" in found.output
    assert "delete with: kubectl -n legacy delete pods" in found.output
    delete_all(lab)


def test_the_server_itself_is_restarted(proxy: Proxy, mended: None, tmp_path: Path):
    mending = threading.Thread(target=zt_lab, args=("up", "--name", LAB))

    def kill() -> None:
        os.kill(process_of("kube-apiserver"), signal.SIGKILL)
        mending.start()

    proxy.once("GET", "/pods[?]", kill, after=("POST", "/pods"))
    found = through(proxy, tmp_path)
    mending.join()
    green(found)


def test_a_server_that_fails_during_the_deletion_is_asked_again(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("DELETE", ".*", status=503, times=4))
    green(through(proxy, tmp_path))
    assert proxy.rules[0].hits == 4
