"""What the pages promise about a cluster, tried on the lab."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Snippet, snippets
from tests.docs.shape import missing
from tests.docs.shell import commands
from tests.live.support import Cluster

pytestmark = pytest.mark.live

PROBE_IMAGE = "registry.company.com/zerotrust/probe:1"
TUTORIAL = "docs/tutorial.md"


@dataclass(frozen=True)
class Run:
    """A finished pytest."""

    status: int
    output: str


def verify(lab: Cluster, *arguments: str | Path, cwd: Path = ROOT) -> Run:
    """Run pytest as the pages do, on a terminal as wide as they are."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--kubeconfig", lab.config,
         *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    return Run(done.returncode, done.stdout + done.stderr)


def output(argument: str) -> Snippet:
    """The one output of this name that a page shows (the first, if several do)."""
    return next(s for s in snippets("text output") if s.argument == argument)


def typed(page: str, containing: str) -> Sequence[str]:
    """The arguments after the cluster of a pytest command that stands in a page."""
    for snippet in snippets("shell"):
        for words in commands(snippet.text):
            if snippet.page == page and words[0] == "pytest" and containing in " ".join(words):
                return words[words.index("--kubeconfig") + 2 :]
    raise AssertionError(f"{page} has no pytest command with {containing}")


def write_modules(folder: Path, found: Sequence[Snippet]) -> None:
    """Put test modules beside the intent file of the checkout."""
    (folder / "zerotrust.yaml").write_text((ROOT / "zerotrust.yaml").read_text("utf-8"))
    (folder / "pytest.ini").write_text("[pytest]\nstrict_markers = true\n")
    for snippet in found:
        name = re.sub(r"\W+", "_", f"{snippet.page}_{snippet.line}")
        (folder / f"test_{name}.py").write_text(snippet.text, "utf-8")


def test_every_output_is_compared():
    assert {s.argument for s in snippets("text output")} == {"hardened", "open", "masked"}


def test_the_suite_on_hardened_prints_what_the_readme_shows(scenario, lab: Cluster):
    scenario("hardened")
    run = verify(lab)
    assert run.status == 0, run.output
    assert missing(output("hardened").text, run.output) == [], run.output


def test_modules_of_the_pages_pass_on_hardened(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    found = snippets("python test")
    write_modules(tmp_path, found)
    run = verify(lab, tmp_path, cwd=tmp_path)
    assert run.status == 0, run.output
    assert len(re.findall(r"^test_\w+\.py \.+", run.output, re.MULTILINE)) == len(found)


def test_a_test_of_ones_own_needs_no_intent_file(scenario, lab: Cluster, tmp_path: Path):
    scenario("hardened")
    page = "docs/how-to/write-your-own-tests.md"
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    first = next(s for s in snippets("python test") if s.page == page)
    (tmp_path / "test_database.py").write_text(first.text, "utf-8")
    arguments = [PROBE_IMAGE if word == "IMAGE" else word for word in typed(page, "--zt-namespace")]
    assert "test_database.py" in arguments
    run = verify(lab, *arguments, cwd=tmp_path)
    assert run.status == 0, run.output


def test_the_tutorial(scenario, lab: Cluster, tmp_path: Path):
    (own,) = snippets("python test open")
    assert own.page == TUTORIAL
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "zerotrust.yaml").write_text((ROOT / "zerotrust.yaml").read_text("utf-8"))
    (tmp_path / "test_payments.py").write_text(own.text, "utf-8")
    arguments = typed(TUTORIAL, "test_payments.py")

    scenario("open")
    broken = verify(lab, *typed(TUTORIAL, "-k"))
    assert broken.status == 1, broken.output
    for snippet in snippets("text output"):
        if snippet.argument == "open":
            assert missing(snippet.text, broken.output) == [], broken.output
    failing = verify(lab, *arguments, cwd=tmp_path)
    assert failing.status == 1, failing.output
    assert (
        "production/batch -> production/payment-service:8080/tcp by pod IP REACHED, expected DENIED"
    ) in failing.output

    scenario("hardened")
    passing = verify(lab, *arguments, cwd=tmp_path)
    assert passing.status == 0, passing.output


def test_a_port_that_nobody_may_reach_is_masked_without_the_node(
    scenario, lab: Cluster, tmp_path: Path
):
    scenario("hardened")
    text = (ROOT / "zerotrust.yaml").read_text("utf-8")
    assert "nodeVantage: true" in text
    file = tmp_path / "zerotrust.yaml"
    file.write_text(text.replace("nodeVantage: true", "nodeVantage: false"))
    run = verify(lab, "-k", "ZT-MSH-001-batch", f"--zt-intent={file}")
    assert run.status == 6, run.output
    assert output("masked").text.strip() in run.output


def test_kubectl_knows_the_verbs_and_flags_of_the_pages(lab: Cluster):
    found = [w for s in snippets("shell") for w in commands(s.text) if w[0] == "kubectl"]
    assert len(found) >= 4
    for words in found:
        verb = [word for word in words[1:3] if re.fullmatch(r"[a-z-]+", word)]
        nested = verb[0] in ("create", "config")
        said = lab.kubectl(*verb[: 2 if nested else 1], "--help") + lab.kubectl("options")
        for word in words:
            if word.startswith("-"):
                assert f"{word.partition('=')[0]}" in re.findall(r"(?<![\w-])--?[a-z-]+", said), (
                    words
                )


def test_nothing_of_a_run_is_left(lab: Cluster):
    assert lab.left_behind() == []
