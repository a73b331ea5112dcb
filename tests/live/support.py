"""Runs the shipped suite against the lab as a user would, and gives its verdicts by check id."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LAB = os.environ.get("ZT_LAB", "zt")

HOLDS, VIOLATED, INCONCLUSIVE = "holds", "violated", "inconclusive"
NOT_APPLICABLE = "not applicable"
DENY_NETWORK = ("ZT-NET-001", "ZT-NET-002", "ZT-NET-006", "ZT-NET-010", "ZT-NET-011")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """One run: exit status, output, and the results by check id."""

    status: int
    output: str
    results: Mapping[str, Mapping[str, Any]]

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdict of each check."""
        return {name: str(result["verdict"]) for name, result in self.results.items()}

    def probed(self) -> dict[str, str]:
        """The verdicts that rest on probe pods, and not on what the API server lists."""
        listed = ("ZT-NET-005", "ZT-NET-008", "ZT-NET-009", "ZT-NET-012")
        return {n: v for n, v in self.verdicts.items() if not n.startswith(listed)}

    def about(self, workload: str) -> dict[str, str]:
        """The probed verdicts of which this workload is one end."""
        end = re.compile(rf"(^|->){re.escape(workload)}(->|:|$)")
        probed = self.probed().items()
        return {n: v for n, v in probed if end.search(str(self.results[n]["subject"]))}

    def of(self, *controls: str) -> dict[str, str]:
        """The verdicts of the checks of these controls."""
        return {n: v for n, v in self.verdicts.items() if self.results[n]["control"] in controls}


def zt_lab(*arguments: str, timeout: float = 900) -> str:
    """Run the lab's command and return its output."""
    done = subprocess.run(
        [str(ROOT / "ci" / "zt-lab"), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"zt-lab {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def kubeconfig(name: str = LAB) -> str:
    """The path of a lab's administrator kubeconfig."""
    return zt_lab("kubeconfig", "--name", name)


def suite_command(folder: Path, *arguments: str, config: str | None = None) -> list[str]:
    """The command line of a run of the shipped suite; evidence goes to ``folder``."""
    return [
        sys.executable,
        "-m",
        "pytest",
        f"--kubeconfig={config or kubeconfig()}",
        f"--zt-artifacts={folder}",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]


def run_suite(folder: Path, *arguments: str, config: str | None = None) -> SuiteRun:
    """Run the shipped suite in the checkout."""
    done = subprocess.run(
        suite_command(folder, *arguments, config=config),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return read_run(done.returncode, done.stdout + done.stderr, folder)


def read_run(status: int, output: str, folder: Path) -> SuiteRun:
    """Put a finished run together from its exit status, output and evidence."""
    file = folder / "zerotrust.json"
    found = json.loads(file.read_text())["results"] if file.is_file() else []
    results: dict[str, Mapping[str, Any]] = {}
    for result in found:
        name = f"{result['control']}-{result['subject']}"
        # Two kinds of checks of one control may both have nothing to check.
        twice = name in results and not name.endswith("-not-declared")
        assert not twice, f"{name} was reported twice"
        results[name] = result
    return SuiteRun(status=status, output=output, results=results)


_WORDS = {
    "Pod": "pods",
    "Service": "services",
    "NetworkPolicy": "networkpolicies",
    "Namespace": "namespace",
}
"""The kinds of what a run makes."""


class Cluster:
    """kubectl on the lab, for tests that break something."""

    def __init__(self, name: str = LAB) -> None:
        self.config = kubeconfig(name)
        sys.path.insert(0, str(ROOT))
        try:
            from ci.lab import build, settings
        finally:
            sys.path.remove(str(ROOT))
        self._kubectl = str(build.program(settings.cache_folder(), "kubernetes", "kubectl"))

    def command(self, *arguments: str) -> list[str]:
        """A command line of kubectl."""
        return [self._kubectl, "--kubeconfig", self.config, *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it prints."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0 or not check, f"kubectl {arguments}: {done.stderr}"
        return done.stdout

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that ``kubectl get`` lists."""
        listed: list[dict[str, Any]] = json.loads(self.kubectl("get", *arguments, "-o", "json"))[
            "items"
        ]
        return listed

    def left_behind(self) -> list[str]:
        """Everything in the cluster that carries a run's label."""
        found = []
        for item in self.items(",".join(_WORDS), "-A", "-l", "zerotrust.dev/run"):
            meta = item["metadata"]
            name = f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else meta["name"]
            found.append(f"{_WORDS[item['kind']]} {name}")
        return found


def holding(names: Iterable[str]) -> dict[str, str]:
    """These checks where all is well: no Service of the lab has a node port to be closed, and
    the lab's intent does not demand everything that can be checked."""

    def idle(name: str) -> bool:
        return name.startswith("ZT-NET-012") or name.endswith("-not-declared")

    return {name: NOT_APPLICABLE if idle(name) else HOLDS for name in names}


def exit_status(verdicts: Mapping[str, str]) -> int:
    """The exit status of a run that ends with these verdicts."""
    if VIOLATED in verdicts.values():
        return 1
    return 6 if INCONCLUSIVE in verdicts.values() else 0


def differences(expected: Mapping[str, str], seen: Mapping[str, str]) -> Sequence[str]:
    """What differs between two sets of verdicts, one line each."""
    return [
        f"{name}: expected {expected.get(name)}, seen {seen.get(name)}"
        for name in sorted({*expected, *seen})
        if expected.get(name) != seen.get(name)
    ]
