"""Running other programs with a time limit and an error that shows what they said."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from .settings import LabError


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    check: bool = True,
    timeout: float = 60,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; a failure raises unless check is off."""
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=dict(env) if env is not None else None,
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: not finished after {timeout:.0f} s") from None
    if check and done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise LabError(f"{' '.join(command)}: exit status {done.returncode}: {said}")
    return done
