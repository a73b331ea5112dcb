"""Several clusters in one run: a pytest process of its own for each context, one after another.

Nothing is shared between them, so what breaks one cluster's run spoils no other.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from pytest_zerotrust.core.printable import printable
from pytest_zerotrust.report.clusters import ClusterRun, joint_status, read_run, table
from pytest_zerotrust.signals import untaken

INTERRUPTED = int(pytest.ExitCode.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    context: str
    name: str
    """The context as a part of file names."""
    artifacts: Path


def several_contexts(config: pytest.Config) -> tuple[str, ...]:
    """The contexts, if more than one is asked for and this process is not the run of one of them.

    Raises pytest.UsageError if one stands there twice.
    """
    contexts = tuple(config.getoption("kube_context"))
    if len(contexts) < 2 or config.getoption("zt_this_context"):
        return ()
    twice = next((c for c in contexts if contexts.count(c) > 1), None)
    if twice is not None:
        raise pytest.UsageError(
            f"zerotrust: --kube-context {twice} is given more than once. Name each context once."
        )
    if config.invocation_params.plugins:
        raise pytest.UsageError(
            "zerotrust: each of several contexts is tested by a pytest process of its own, which "
            "the plugins given to pytest.main(plugins=...) would not reach. Name them with "
            "-p MODULE or in a conftest.py, or give one --kube-context."
        )
    if config.getoption("zt_draft"):
        raise pytest.UsageError(
            "zerotrust: --zt-draft writes the draft of one cluster: give one --kube-context."
        )
    if config.getoption("zt_hubble"):
        raise pytest.UsageError(
            "zerotrust: --zt-hubble names the Hubble of one cluster: give one --kube-context."
        )
    return contexts


def run_each(config: pytest.Config, contexts: Sequence[str]) -> int:
    """Run pytest once for each context, show a table of all, and return the joint exit status.

    Evidence goes to a folder for each context below that of ``--zt-artifacts``, JUnit files get the
    name of the context. An interrupt ends the present run, which deletes what it made, and all.
    """
    with tempfile.TemporaryDirectory(prefix="zerotrust-") as folder:
        given = config.getoption("zt_artifacts")
        top = Path(config.invocation_params.dir, given) if given else Path(folder)
        parts = list(_parts(contexts, top))
        runs: list[ClusterRun] = []
        for part in parts:
            # What an earlier run left there must not be taken for this one's.
            (part.artifacts / "zerotrust.json").unlink(missing_ok=True)
        for part in parts:
            status: int | None = None
            if INTERRUPTED not in [run.status for run in runs]:
                print(f"{' cluster ' + printable(part.context) + ' ':=^80}", flush=True)
                status = _run(config, part)
            runs.append(read_run(part.context, status, part.artifacts / "zerotrust.json"))
    print(f"{' zero trust: clusters ':=^80}")
    for line in table(runs):
        print(printable(line))
    return joint_status(runs)


def _parts(contexts: Sequence[str], top: Path) -> Iterator[_Part]:
    taken: set[str] = set()
    for context in contexts:
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", context).strip(".") or "context"
        number = 2
        while name in taken:
            name, number = f"{name.rstrip('0123456789-')}-{number}", number + 1
        taken.add(name)
        yield _Part(context=context, name=name, artifacts=top / name)


def _run(config: pytest.Config, part: _Part) -> int:
    given = [os.fspath(argument) for argument in config.invocation_params.args]
    ours = [
        f"--zt-this-context={part.context}",
        f"--zt-artifacts={part.artifacts}",
        *_cache(config, part),
        *_junit(config, part),
    ]
    # What follows two dashes are no options.
    end = given.index("--") if "--" in given else len(given)
    command = [sys.executable, "-m", "pytest", *given[:end], *ours, *given[end:]]
    return _Child(command, config.invocation_params.dir).run()


class _Child:
    """The process of one cluster, in a session of its own: what a terminal, a shell or a service
    manager sends to the group of ours reaches it once, through us, and never twice at once."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command, self._folder = command, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._told: list[int] = []

    def run(self) -> int:
        """Run it to its end, and return its exit status: that of an interrupt if we or it were
        interrupted."""
        before = {number: signal.signal(number, self._forward) for number in untaken()}
        try:
            status = self._status()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return INTERRUPTED if self._told or status < 0 else status

    def _status(self) -> int:
        if not self._told:
            process = subprocess.Popen(  # noqa: S603 - our own words
                self._command, cwd=self._folder, start_new_session=True
            )
            self._process = process
            for number in self._told:
                # It came while the process was being started.
                process.send_signal(number)
            while True:
                try:
                    return process.wait()
                except KeyboardInterrupt:
                    # Somebody else's handler of Ctrl-C raised it.
                    self._forward(signal.SIGINT, None)
        return INTERRUPTED

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self._told.append(number)
        if self._process is not None:
            self._process.send_signal(number)


def _cache(config: pytest.Config, part: _Part) -> list[str]:
    """What failed last is another thing in each cluster. Without that plugin of pytest's its
    setting is not known, and strict_config refuses it."""
    if not config.pluginmanager.hasplugin("cacheprovider"):
        return []
    return ["--override-ini", f"cache_dir=.pytest_cache/{part.name}"]


def _junit(config: pytest.Config, part: _Part) -> list[str]:
    file = config.getoption("xmlpath", None)
    if not file:
        return []
    path = Path(file)
    return [
        f"--junitxml={path.with_name(f'{path.stem}-{part.name}{path.suffix}')}",
        "--override-ini",
        f"junit_suite_name={part.name}",
    ]
