"""The lab for live tests: brought up once if it is not there, changed only by ``scenario``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.live.support import LAB, ROOT, Cluster, zt_lab

PROBES = "zerotrust-probes"


@pytest.fixture(scope="session")
def lab() -> Cluster:
    """The running lab (``ZT_LAB`` names another one, ``ZT_LAB_FLAGS`` are its choices)."""
    zt_lab("up", "--name", LAB, *os.environ.get("ZT_LAB_FLAGS", "").split(), timeout=3000)
    return Cluster()


@pytest.fixture
def scenario(lab: Cluster) -> Iterator[Callable[[str], None]]:
    """Bring the lab to a scenario; nothing of a run may be left in it afterwards."""

    def apply(name: str) -> None:
        zt_lab("scenario", name, "--name", LAB)

    yield apply
    assert lab.left_behind() == []


@pytest.fixture(scope="package")
def _probes_namespace_goes(lab: Cluster) -> Iterator[None]:
    yield
    lab.kubectl("delete", "namespace", PROBES, "--ignore-not-found", "--wait=true")


@pytest.fixture(autouse=True)
def probes_namespace(lab: Cluster, _probes_namespace_goes: None) -> None:
    """The verifier's namespace as an administrator makes it, which no run deletes: Kubernetes
    takes five seconds at least to delete one. The tests of the pages leave it to the runs."""
    shipped = (ROOT / "ci" / "rbac" / "zerotrust-verifier.yaml").read_text()
    namespace, _, _ = shipped.partition("\n---\n")
    wait_until_not_ending(lab)
    lab.kubectl("apply", "-f", "-", stdin=namespace)


def wait_until_not_ending(lab: Cluster) -> None:
    """Until the verifier's namespace is not about to vanish with what is put into it."""
    for item in lab.items("namespaces"):
        if item["metadata"]["name"] == PROBES and "deletionTimestamp" in item["metadata"]:
            lab.kubectl("wait", "--for=delete", f"namespace/{PROBES}", "--timeout=90s")
