"""A project of its own for each test, and a pretended cluster for it to verify."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.apiserver import FakeApi, api_server
from tests.fakes.cluster import Cluster
from tests.fakes.world import World

ADMISSION = """
version: 1
namespaces: [web]
admission: {registries: [registry.company.com/], engine: gatekeeper}
probe: {image: "registry.company.com/probe:1"}
"""
NETWORK = """
version: 1
workloads:
  gateway: {namespace: web, labels: {app: gateway}, ports: [8080]}
  payments: {namespace: web, labels: {app: payments}, ports: [8080]}
  store: {namespace: data, labels: {app: store}, ports: [5432]}
flows: [gateway -> payments:8080, payments -> store:5432]
probe: {image: "registry.company.com/probe:1"}
"""
ALLOWED = frozenset({("gateway", "payments", 8080), ("payments", "store", 5432)})
# Nothing of the pretended cluster ever changes by itself, so nothing is waited for.
HASTE = """
import pytest_zerotrust.cluster.api
import pytest_zerotrust.fleet.cleanup
import pytest_zerotrust.fleet.waiting
import pytest_zerotrust.network.enforcement
import pytest_zerotrust.network.settle
pytest_zerotrust.cluster.api.RATE = 10_000.0
pytest_zerotrust.fleet.cleanup._POLL = 0.05
pytest_zerotrust.fleet.waiting.START_TIMEOUT = 1.0
pytest_zerotrust.network.settle.SETTLE = 0.0
pytest_zerotrust.network.enforcement.LEAD = 0.0
pytest_zerotrust.network.enforcement.BEFORE = 0.0
"""


class Project:
    """A folder with tests, and pytest as a process in it."""

    def __init__(self, pytester: pytest.Pytester, api: FakeApi) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.api = api
        self.kubeconfig = api.kubeconfig(self.path / "kube" / "config.yaml")

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def test(self, body: str, name: str = "test_it.py") -> None:
        """Write a test file."""
        self.write(name, f"import pytest\n\n{body}\n")

    def intent(self, text: str) -> None:
        self.write("zerotrust.yaml", text)

    def run(self, *words: str) -> pytest.RunResult:
        """Run pytest, and show what it said if the test fails."""
        return self.pytester.runpytest_subprocess("-p", "no:cacheprovider", *words)

    def verify(self, *words: str) -> pytest.RunResult:
        """Run pytest against the pretended cluster."""
        return self.run(f"--kubeconfig={self.kubeconfig}", *words)

    def made(self) -> list[str]:
        """The paths under which something was created, but for questions about ourselves."""
        return [
            path for method, path in self.api.seen if method == "POST" and "reviews" not in path
        ]


@pytest.fixture
def api() -> Iterator[FakeApi]:
    cluster = Cluster(world=World(allowed=ALLOWED))
    cluster.add_workload("web", "gateway", 8080)
    cluster.add_workload("web", "payments", 8080)
    cluster.add_workload("data", "store", 5432)
    with api_server(cluster) as started:
        yield started


@pytest.fixture
def project(pytester: pytest.Pytester, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "KUBECONFIG", "PYTEST_XDIST_AUTO_NUM_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\naddopts = -ra\n")
    return Project(pytester, api)


def text_of(result: pytest.RunResult) -> str:
    """Everything that a run said."""
    return f"{result.stdout.str()}\n{result.stderr.str()}"


def paragraph(result: pytest.RunResult) -> str:
    """The one paragraph that a usage error is told in; fails if there is more, or a traceback."""
    text = text_of(result)
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    told = re.findall(r"^ERROR: (.*(?:\n.+)*)", text, re.MULTILINE)
    assert len(told) == 1, text
    return str(told[0])
