"""The commands in shell snippets: whether they can be typed as they stand."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT

LAB = "ci/zt-lab"


def commands(text: str) -> list[list[str]]:
    """The commands of a snippet as words; comments and continuation lines are understood."""
    joined = text.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def run(*words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout."""
    return subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )


def pytest_run(*words: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run pytest in the checkout, with the interpreter of this process."""
    return run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, timeout=timeout)


@functools.cache
def _help(*words: str) -> str:
    done = run(*words, "--help")
    assert done.returncode == 0, f"{shlex.join(words)} --help: {done.stderr}"
    return done.stdout


def _flags(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", text))


def _unknown_flags(words: list[str], known: str) -> list[str]:
    used = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    return [flag for flag in used if flag not in _flags(known)]


def problems(words: list[str]) -> list[str]:
    """What is wrong with a command as it stands; kubectl is looked at by a test with the lab."""
    words = [word for word in words if word not in ("sudo",)]
    program = words[0]
    if program == "pytest":
        return _unknown_flags(words, _help(sys.executable, "-m", "pytest"))
    if program.removeprefix("./") == LAB:
        arguments = [word for word in words[1:] if word != "--help"]
        if not arguments:
            return []
        verb = arguments[0]
        if verb not in _help(LAB):
            return [f"no verb {verb}"]
        return _unknown_flags(arguments, _help(LAB, verb))
    if program.startswith(("./", "ci/")):
        return [] if (ROOT / program).is_file() else [f"no file {program}"]
    return [] if program in KNOWN else [f"unknown program {program}"]


KNOWN = frozenset({"pip", "kubectl", "docker", "ruff", "mypy", "lint-imports"})
"""Other programs that the pages call. Kubectl's options are compared with its own help, live."""
