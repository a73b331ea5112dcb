"""Command-line options, and the two ways in which ``--kubeconfig`` differs from the others.

``--kubeconfig`` is registered after the project's conftests, and only if nobody else did: pytest
refuses a second registration, and many projects have an option of that name. And pytest looks for
the rootdir before it knows any plugin's options, so it would take the FILE of ``--option FILE`` for
a test path; ``--option=FILE`` is safe.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence

import pytest

_PATH_OPTIONS = ("--kubeconfig", "--zt-intent", "--zt-artifacts", "--zt-rbac-file")


OURS: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the option ``--kubeconfig`` is ours."""


def add_options(parser: pytest.Parser) -> None:
    """Register every option but ``--kubeconfig``."""
    group = parser.getgroup("zerotrust", "zero trust of a Kubernetes cluster")
    group.addoption(
        "--kube-context",
        action="append",
        default=[],
        metavar="NAME",
        help="Context of the kubeconfig (default: its current). Give it several times to test "
        "several clusters, one after another",
    )
    # Which of several contexts this process is for; not for people.
    group.addoption("--zt-this-context", help=argparse.SUPPRESS)
    group.addoption(
        "--in-cluster",
        action="store_true",
        default=False,
        help="Use the credentials of the pod that pytest runs in",
    )
    group.addoption(
        "--zt-intent",
        metavar="FILE",
        help="What the cluster is meant to allow (default: zerotrust.yaml in the rootdir)",
    )
    group.addoption(
        "--zt-conformance",
        action="store_true",
        default=False,
        help="Add the shipped suite to the tests",
    )
    group.addoption(
        "--zt-level",
        type=int,
        choices=(1, 2, 3),
        metavar="N",
        help="Run controls up to level N, and demand that level N holds",
    )
    group.addoption(
        "--zt-probe-image",
        metavar="REF",
        help="Image of the probe pods: any with python3 3.9 or later",
    )
    group.addoption(
        "--zt-namespace",
        action="append",
        default=[],
        metavar="NS",
        help="Namespace in which probe pods may be placed, besides those of the intent file",
    )
    group.addoption(
        "--zt-admission",
        choices=("default", "full"),
        metavar="PROFILE",
        help="How many admission cases are sent: default, or full for every case over every way in",
    )
    group.addoption(
        "--zt-hubble",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="A Cilium Hubble (host:port) to be asked who dropped what was refused; never needed "
        "for a verdict",
    )
    group.addoption(
        "--zt-artifacts", metavar="DIR", help="Folder for the evidence of every check, as JSON"
    )
    group.addoption(
        "--zt-keep",
        choices=("never", "failed", "always"),
        default="never",
        metavar="WHEN",
        help="Leave the run's objects for you to look at: never (default), failed or always",
    )
    group.addoption(
        "--zt-sweep",
        action="store_true",
        default=False,
        help="Remove what earlier runs left behind and has expired, and exit",
    )
    group.addoption(
        "--zt-plan",
        action="store_true",
        default=False,
        help="Print everything that the selected tests would create and do, and exit",
    )
    group.addoption(
        "--zt-rbac",
        action="store_true",
        default=False,
        help="Print the RBAC that a run with this intent file needs, and exit",
    )
    group.addoption(
        "--zt-rbac-file",
        metavar="FILE",
        help="Write the RBAC that the selected tests need to FILE, which must not be there yet, "
        "and exit. Contacts no cluster",
    )
    group.addoption(
        "--zt-matrix",
        action="store_true",
        default=False,
        help="Draw who reaches whom at the end of the run (with -v, too)",
    )
    group.addoption(
        "--zt-draft",
        nargs="?",
        const="-",
        metavar="FILE",
        help="Write a first intent file from what runs in the cluster (to FILE, which must not be "
        "there yet, or to the terminal), and exit. Reads only",
    )


def add_kubeconfig(parser: pytest.Parser) -> bool:
    """Register ``--kubeconfig`` unless the project or another plugin has it already.

    Returns True if the option is ours.
    """
    group = parser.getgroup("zerotrust")
    try:
        group.addoption("--kubeconfig", metavar="FILE", help="Kubeconfig of the cluster to verify")
    except ValueError:
        return False
    return True


def names_kubeconfig(config: pytest.Config) -> bool:
    """True if somebody gave ``--kubeconfig``. Ours has no default; a foreign option may have one,
    and a default never chooses a cluster, so that one must stand on the command line."""
    if config.stash.get(OURS, False):
        return config.getoption("kubeconfig", None) is not None
    words = [os.fspath(argument) for argument in config.invocation_params.args]
    words += shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    return any(word.partition("=")[0] == "--kubeconfig" for word in words)


def join_path_options(arguments: Sequence[str]) -> list[str]:
    """Write ``--kubeconfig FILE`` as ``--kubeconfig=FILE``, and so with our other paths."""
    joined: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            return [*joined, word, *words]
        if word in _PATH_OPTIONS:
            value = next(words, None)
            joined.append(word if value is None else f"{word}={value}")
        else:
            joined.append(word)
    return joined


def rerun_with_joined_options(config: pytest.Config) -> int | None:
    """Run pytest anew with joined path options, if that makes a difference.

    Returns its exit code, or None if the options were joined already.
    """
    arguments = [os.fspath(argument) for argument in config.invocation_params.args]
    joined = join_path_options(arguments)
    from_environment = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    joined_environment = join_path_options(from_environment)
    from_project = list(config.getini("addopts"))
    joined_project = join_path_options(from_project)
    if joined_project != from_project:
        # An override stands for the project's own words; the words of a caller come later and win.
        joined = ["--override-ini", f"addopts={shlex.join(joined_project)}", *joined]
    if joined == arguments and joined_environment == from_environment:
        return None
    before = os.environ.get("PYTEST_ADDOPTS")
    if before is not None:
        os.environ["PYTEST_ADDOPTS"] = shlex.join(joined_environment)
    try:
        return int(pytest.main(joined, plugins=config.invocation_params.plugins))
    finally:
        if before is not None:
            os.environ["PYTEST_ADDOPTS"] = before
