"""An API server that is slow, throttles, fails, is cut off or goes away."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy, Rule
from tests.faults.support import (
    NETWORK,
    finish,
    green,
    process_of,
    run,
    running,
    start,
    unearned,
    wait_for,
)
from tests.live.support import HOLDS, INCONCLUSIVE, Cluster, run_suite

pytestmark = pytest.mark.faults


def through(proxy: Proxy, tmp_path: Path) -> str:
    return proxy.kubeconfig(tmp_path / "proxy.yaml")


def test_slow(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule(".*", "/pods", delay=0.7))
    green(run(tmp_path, through(proxy, tmp_path), *NETWORK))


def test_throttling_is_waited_out(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule(".*", "/pods", status=429, retry_after="1", times=6))
    green(run(tmp_path, through(proxy, tmp_path), *NETWORK))
    assert proxy.rules[0].hits == 6


def test_throttling_for_good(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("POST", "/pods$", status=429, retry_after="0.1"))
    found = run(tmp_path, through(proxy, tmp_path), *NETWORK)
    unearned(found)
    assert "429" in found.output


def test_500_on_creating_pods(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("POST", "/pods$", status=500))
    found = run(tmp_path, through(proxy, tmp_path), *NETWORK)
    unearned(found)
    assert set(found.verdicts.values()) == {INCONCLUSIVE}


def test_500_on_some_creations(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("POST", "/namespaces/legacy/pods$", status=500))
    found = run(tmp_path, through(proxy, tmp_path), *NETWORK)
    unearned(found)
    assert {v for n, v in found.verdicts.items() if "web" in n} == {INCONCLUSIVE}


def test_every_exec_is_cut_in_mid_reply(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("GET", "/exec", cut_after=600))
    found = run(tmp_path, through(proxy, tmp_path), *NETWORK)
    unearned(found)
    assert set(found.verdicts.values()) == {INCONCLUSIVE}, found.output


def test_every_exec_is_refused(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("GET", "/exec", status=500))
    found = run(tmp_path, through(proxy, tmp_path), *NETWORK)
    assert set(found.verdicts.values()) == {INCONCLUSIVE}, found.output


def test_cut_off_between_create_and_watch(proxy: Proxy, tmp_path: Path):
    outage = Rule(".*", ".*", cut=True, times=0)
    proxy.rules.append(outage)

    def on_request(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/legacy/pods") and outage.times == 0:
            outage.times = None
            threading.Timer(6.0, proxy.rules.clear).start()

    proxy.on_request = on_request
    found = run(tmp_path, through(proxy, tmp_path), *NETWORK)
    assert outage.hits > 0
    assert found.status in (0, 6), found.output
    assert set(found.verdicts.values()) <= {HOLDS, INCONCLUSIVE}, found.output


def test_away_for_good_is_told_with_the_way_to_delete(proxy: Proxy, lab: Cluster, tmp_path: Path):
    process = start(tmp_path, through(proxy, tmp_path), *NETWORK)
    wait_for(running(lab), process)
    proxy.rules.append(Rule(".*", ".*", cut=True))
    found = finish(process, tmp_path)
    unearned(found)
    assert "left behind" in found.output
    assert "delete with: kubectl -n legacy delete pods" in found.output
    proxy.rules.clear()
    for namespace in ("staging", "legacy", "zerotrust-probes"):
        lab.kubectl("delete", "pods,services,networkpolicies", "-n", namespace,
                    "-l", "zerotrust.dev/run", "--now")  # fmt: skip
    lab.kubectl("delete", "namespace", "zerotrust-probes")


def test_credentials_that_expire_in_the_run(proxy: Proxy, lab: Cluster, tmp_path: Path):
    process = start(tmp_path, through(proxy, tmp_path), *NETWORK)
    wait_for(running(lab), process)
    proxy.rules.append(Rule(".*", ".*", status=401))
    found = finish(process, tmp_path)
    unearned(found)
    assert "401" in found.output
    proxy.rules.clear()
    for namespace in ("staging", "legacy", "zerotrust-probes"):
        lab.kubectl("delete", "pods,services,networkpolicies", "-n", namespace,
                    "-l", "zerotrust.dev/run", "--now")  # fmt: skip
    lab.kubectl("delete", "namespace", "zerotrust-probes")


def test_the_server_itself_is_restarted(lab: Cluster, mended: None, tmp_path: Path):
    from tests.faults.conftest import LAB
    from tests.live.support import zt_lab

    process = start(tmp_path, lab.config, *NETWORK)
    wait_for(running(lab), process)
    os.kill(process_of("kube-apiserver"), signal.SIGKILL)
    zt_lab("up", "--name", LAB, timeout=300)
    found = finish(process, tmp_path)
    assert found.status in (0, 6), found.output
    assert set(found.verdicts.values()) <= {HOLDS, INCONCLUSIVE}, found.output


def test_a_server_that_fails_during_the_deletion_is_asked_again(proxy: Proxy, tmp_path: Path):
    proxy.rules.append(Rule("DELETE", ".*", status=503, times=4))
    green(run(tmp_path, through(proxy, tmp_path), *NETWORK))
    assert proxy.rules[0].hits == 4


def test_without_a_fault_the_selection_is_green(proxy: Proxy, lab: Cluster, tmp_path: Path):
    """The control of all the others."""
    green(run(tmp_path / "1", through(proxy, tmp_path), *NETWORK))
    green(run_suite(tmp_path / "2", *NETWORK, config=lab.config))
