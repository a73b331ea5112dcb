"""What the lab needs from the system's package manager, installed only where it is missing."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .processes import SEARCH_PATH
from .settings import LabError
from .shell import run

# The newest that Cilium is known to work with comes first.
LLVM_VERSIONS = (19, 18, 20)
LLVM_PROGRAMS = ("clang", "llc", "llvm-strip")
NO_SERVICES = Path("/usr/sbin/policy-rc.d")


@dataclass(frozen=True)
class _Need:
    """A file, by its name on the search path or its place, and the package that brings it."""

    file: str
    package: str


_NEEDS = (
    _Need("containerd", "containerd"),
    _Need("ctr", "containerd"),
    _Need("runc", "runc"),
    _Need("/usr/lib/cni/host-local", "containernetworking-plugins"),
    _Need("etcd", "etcd-server"),
    _Need("iptables", "iptables"),
    _Need("ipset", "ipset"),
    _Need("conntrack", "conntrack"),
    _Need("ip", "iproute2"),
    _Need("nsenter", "util-linux"),
    _Need("mount", "mount"),
    _Need("openssl", "openssl"),
    _Need("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
)


def ensure(log: Callable[[str], None]) -> None:
    """Install what is missing."""
    missing = sorted({need.package for need in _NEEDS if not _present(need.file)})
    if not _llvm_version():
        missing += [f"clang-{LLVM_VERSIONS[0]}", f"llvm-{LLVM_VERSIONS[0]}"]
    if importlib.util.find_spec("pip") is None:
        missing.append("python3-pip")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise LabError(f"this needs a Debian or Ubuntu machine, or by hand: {', '.join(missing)}")
    log(f"installing {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], timeout=600, env=environment)
    # The packages would start an etcd and a containerd of their own.
    quiet = not NO_SERVICES.exists()
    if quiet:
        NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        NO_SERVICES.chmod(0o755)
    try:
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends"]
        install += ["-o", "DPkg::Lock::Timeout=300", *missing]
        run(install, timeout=1800, env=environment)
    finally:
        if quiet:
            NO_SERVICES.unlink()


def llvm_programs() -> dict[str, Path]:
    """The compiler's programs under the names by which Cilium calls them."""
    version = _llvm_version()
    if not version:
        raise LabError("clang is not installed; run: ci/zt-lab build")
    return {name: _llvm_program(name, version) for name in LLVM_PROGRAMS}


def _llvm_version() -> int:
    for version in LLVM_VERSIONS:
        if all(_llvm_program(name, version).exists() for name in LLVM_PROGRAMS):
            return version
    return 0


def _llvm_program(name: str, version: int) -> Path:
    return Path(f"/usr/bin/{name}-{version}")


def _present(file: str) -> bool:
    return Path(file).exists() or shutil.which(file, path=SEARCH_PATH) is not None
