"""The benchmark behind ``ci/bench-safety``: what an assertion costs, and how a fleet starts."""

from __future__ import annotations

import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.lab.settings import Lab, LabError, load
from pytest_zerotrust.cluster.api import Api, Response
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.core.intent import Port, ProbeIntent
from pytest_zerotrust.fleet.cleanup import delete_run
from pytest_zerotrust.fleet.fleet import Fleet
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.run import new_run

from .field import PROBE

ROOT = Path(__file__).resolve().parents[2]
PODS = 60
SPACES = ("zt-bench-cold-1", "zt-bench-cold-2", "zt-bench-cold-3")
LAYERS = ("ZT-NET-001 or ZT-NET-002 or ZT-NET-003", "ZT-ADM-001 or ZT-ADM-002 or ZT-ADM-003")
"""Shipped tests that read what one batch saw, or one series of dry runs."""

_STOPWATCH = """
import json, os, time

times = []

def pytest_runtest_logstart(nodeid, location):
    times.append((nodeid, time.perf_counter()))

def pytest_sessionfinish(session):
    times.append(("", time.perf_counter()))
    with open(os.environ["ZT_TIMES"], "w") as file:
        json.dump(times, file)
"""
_ANSWERS = """
import time

def test_answers(zt_network):
    answers = zt_network.matrix().answers
    began = time.perf_counter()
    for answer in answers:
        assert answer.reached == (answer.expected.name == "ALLOWED"), answer
    took = time.perf_counter() - began
    print(f"answers {len(answers)} {took}")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What each further assertion took, in milliseconds, the first one left out."""

    first: float
    further: Sequence[float]

    def __str__(self) -> str:
        ordered = sorted(self.further)
        last = ordered[int(len(ordered) * 0.95)]
        return (
            f"{len(ordered)} further assertions: {statistics.fmean(ordered):.2f} ms each "
            f"(median {statistics.median(ordered):.2f}, 95 of 100 within {last:.2f}, "
            f"at most {ordered[-1]:.2f}); the first, which asks: {self.first / 1000:.1f} s"
        )


def main(name: str) -> int:
    """Measure and print."""
    lab = load(name)
    for words in LAYERS:
        print(f"shipped tests, {words}: {_shipped(lab, words)}", flush=True)
    print(f"answers of one matrix: {_answers(lab)}", flush=True)
    print(_cold_start(lab))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


def _shipped(lab: Lab, words: str) -> Costs:
    """From the start of each test to the start of the next: all that pytest and we do for it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "zt_stopwatch.py").write_text(_STOPWATCH)
        times = Path(folder, "times.json")
        _pytest(lab, "-p", "zt_stopwatch", "-k", words, str(ROOT / "conformance"),
                PYTHONPATH=folder, ZT_TIMES=str(times))  # fmt: skip
        starts = [at for _, at in json.loads(times.read_text())]
    # The end of the session deletes what the run made; that is no part of the last test.
    spans = [(b - a) * 1000 for a, b in itertools.pairwise(starts[:-1])]
    asked = max(spans)
    spans.remove(asked)
    return Costs(first=asked, further=spans)


def _answers(lab: Lab) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "test_answers.py")
        file.write_text(_ANSWERS)
        output = _pytest(lab, "-s", str(file))
    found = re.search(r"answers (\d+) ([0-9.e-]+)", output)
    if found is None:
        raise LabError(f"the test of answers did not come to its end:\n{output}")
    count, took = int(found[1]), float(found[2])
    return f"{count} assertions, {took / count * 1000:.3f} ms each"


def _pytest(lab: Lab, *words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         f"--rootdir={ROOT}", f"--zt-intent={ROOT / 'zerotrust.yaml'}",
         f"--kubeconfig={lab.kubeconfig}", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise LabError(f"the run ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class CountingApi(Api):
    """Counts its list calls by namespace."""

    counts: Counter[str]

    def request(self, method: str, path: str, **words: Any) -> Response:
        """Ask as an API client does, and count."""
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods", path)
        if method == "GET" and found:
            self.counts[found[1]] += 1
        return super().request(method, path, **words)


@contextmanager
def _fleet(lab: Lab) -> Iterator[tuple[Fleet, CountingApi]]:
    api = CountingApi(open_connection(ClusterOptions(kubeconfig=str(lab.kubeconfig))))
    api.counts = Counter()
    run = new_run("bench")
    fleet = Fleet(
        api,
        run,
        ProbeIntent(namespace=SPACES[0], max_pods=PODS),
        PROBE,
        allowed_namespaces=(),
        also_own=SPACES[1:],
        pod_security="restricted",
    )
    try:
        yield fleet, api
    finally:
        report = delete_run(api, run, namespaces=(), own_namespaces=SPACES)
        if not report.clean:
            print(f"left behind: {report.left} {report.errors}")


def _cold_start(lab: Lab) -> str:
    with _fleet(lab) as (fleet, api):
        specs = [
            PodSpec(
                name=fleet.run.name("cold", str(number)),
                namespace=SPACES[number % len(SPACES)],
                role=Role.CANARY,
                subject=f"pod {number}",
                ports=(Port(8080),),
            )
            for number in range(PODS)
        ]
        began = time.monotonic()
        fleet.begin(specs)
        made = time.monotonic() - began
        members = fleet.members(specs)
        seconds = time.monotonic() - began
        usable = sum(member.usable for member in members.values())
        polls = max(api.counts.values())
        return (
            f"cold start of {PODS} pods in {len(SPACES)} namespaces: {seconds:.1f} s until all "
            f"answer ({made:.1f} s to create them), {usable} usable; {polls} looks, "
            f"{sum(api.counts.values()) / polls / len(SPACES):.1f} list calls a look and namespace"
        )


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except LabError as error:
        sys.exit(f"ci/bench-safety: {error}")
