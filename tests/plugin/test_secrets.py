"""Tokens and keys are in no output, no report, no process argument and no URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin.conftest import HASTE, NETWORK, Project, text_of

TOKEN = "secret-token"
SPY = """
import glob, os, pathlib

def words():
    for name in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            yield pathlib.Path(name).read_bytes().decode("utf-8", "replace")
        except OSError:
            pass

def test_spy(zt_network):
    target = pathlib.Path(__file__).with_name(f"arguments-{os.getpid()}")
    target.write_text("\\n".join(words()))
    assert 0
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_no_secret_leaves_the_process(suite: Project, workers: str):
    """With violations and failures, so that as much as possible is told."""
    suite.api.cluster.world.enforced = False
    suite.write("test_spy.py", SPY)
    made = suite.path / "made"
    result = suite.verify(
        "test_spy.py", "--zt-conformance", "-vv", "--showlocals", "--log-level=DEBUG",
        "-n", workers, "-k", "spy or ZT-NET-00 or ZT-ADM-001",
        f"--zt-artifacts={made}", f"--junitxml={made}/junit.xml",
    )  # fmt: skip
    assert result.ret == 1
    keys = [key.decode() for key in suite.api.cluster.keys.values()]
    assert keys
    written = [file for file in made.iterdir() if file.is_file()]
    assert {file.name for file in written} >= {"junit.xml", "zerotrust.json"}
    spied = list(Path(suite.path).glob("arguments-*"))
    assert spied
    assert any("--zt-conformance" in file.read_text() for file in spied)
    texts = [text_of(result), *(file.read_text() for file in (*written, *spied))]
    texts += [path for _, path in suite.api.seen]
    assert TOKEN in suite.kubeconfig.read_text()
    for text in texts:
        assert TOKEN not in text
        assert not [key for key in keys if key in text]


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(NETWORK + "admission: {registries: [registry.company.com/]}\n")
    project.write("conftest.py", HASTE)
    return project
