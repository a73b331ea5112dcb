"""kubectl, pointed at one lab as its administrator."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from .build import program
from .settings import Lab, LabError


def kubectl(
    lab: Lab, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run kubectl; a failure raises with what it printed unless check is off."""
    command = [
        str(program(lab.cache, "kubernetes", "kubectl")),
        f"--kubeconfig={lab.kubeconfig}",
        f"--cache-dir={lab.state / 'kubectl-cache'}",
        *args,
    ]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"kubectl {' '.join(args)}: no answer in {timeout:.0f} s") from None
    if check and done.returncode != 0:
        raise LabError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def apply(lab: Lab, source: Path | str, timeout: float = 90) -> str:
    """Apply a manifest file, a folder of them, or manifest text; other owners' edits lose.

    In a lab that is coming back to life, the webhooks that must agree may come back later.
    """
    command = ["apply", "--server-side", "--force-conflicts", "--field-manager=zt-lab"]
    if isinstance(source, Path):
        command += ["--recursive", "-f", str(source)]
    else:
        command += ["-f", "-"]
    stdin = source if isinstance(source, str) else None
    deadline = time.monotonic() + timeout
    while True:
        done = kubectl(lab, *command, stdin=stdin, check=False)
        if done.returncode == 0:
            return done.stdout
        if "failed calling webhook" not in done.stderr or time.monotonic() > deadline:
            raise LabError(f"kubectl {' '.join(command)}: {done.stderr.strip()}")
        time.sleep(1)


def wait_available(lab: Lab, namespace: str, deployment: str, timeout: float) -> None:
    """Return when the newest generation of the deployment is fully available."""
    deadline = time.monotonic() + timeout
    where = ("--namespace", namespace)
    while True:
        left = deadline - time.monotonic()
        flags = (f"deployment/{deployment}", f"--timeout={max(left, 1):.0f}s")
        done = kubectl(
            lab, *where, "rollout", "status", *flags, check=False, timeout=max(left, 1) + 10
        )
        if done.returncode == 0:
            return
        if time.monotonic() >= deadline:
            pods = kubectl(lab, *where, "get", "pods", "-o", "wide", check=False).stdout
            raise LabError(
                f"deployment {namespace}/{deployment} is not available after {timeout:.0f} s: "
                f"{(done.stderr or done.stdout).strip()}\n{pods}"
            )
        time.sleep(0.5)
