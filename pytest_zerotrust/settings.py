"""What the user asked for on the command line, resolved once, with the source of each value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_zerotrust.cluster import hubble
from pytest_zerotrust.cluster.connection import ClusterOptions
from pytest_zerotrust.errors import UsageProblem
from pytest_zerotrust.options import names_kubeconfig

DEFAULT_INTENT = "zerotrust.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The resolved options. ``cluster`` is None if no cluster was asked for; ``intent_file`` is
    None if none was given and none lies in the rootdir."""

    cluster: ClusterOptions | None
    cluster_source: str
    intent_file: Path | None
    conformance: bool
    level: int | None
    probe_image: str | None
    namespaces: tuple[str, ...]
    artifacts: Path | None
    keep: str
    admission_profile: str | None = None
    hubble: tuple[str, ...] = ()


def resolve(config: pytest.Config) -> Settings:
    """Read the options. Raises UsageProblem if they contradict each other."""
    kubeconfig = config.getoption("kubeconfig", None) if names_kubeconfig(config) else None
    context = _context(config)
    in_cluster = bool(config.getoption("in_cluster"))
    if kubeconfig and in_cluster:
        raise UsageProblem(
            "--kubeconfig and --in-cluster exclude each other: give the one that names the "
            "cluster to verify."
        )
    if context and not kubeconfig:
        raise UsageProblem(
            f"--kube-context {context} needs --kubeconfig FILE: the environment alone never "
            f"chooses a cluster, because this tool creates objects in it."
        )
    cluster = None
    source = ""
    if kubeconfig:
        path = str(Path(config.invocation_params.dir, str(kubeconfig)).expanduser())
        cluster = ClusterOptions(kubeconfig=path, context=context)
        source = "--kube-context" if context else "current-context of the kubeconfig"
    elif in_cluster:
        cluster = ClusterOptions(in_cluster=True)
        source = "--in-cluster"
    artifacts = config.getoption("zt_artifacts")
    hubbles = tuple(map(_hubble_address, config.getoption("zt_hubble")))
    if hubbles:
        hubble.demand_packages()
    return Settings(
        cluster=cluster,
        cluster_source=source,
        intent_file=_intent_file(config),
        conformance=bool(config.getoption("zt_conformance")),
        level=config.getoption("zt_level"),
        probe_image=config.getoption("zt_probe_image"),
        namespaces=tuple(config.getoption("zt_namespace")),
        artifacts=Path(config.invocation_params.dir, artifacts) if artifacts else None,
        keep=config.getoption("zt_keep"),
        admission_profile=config.getoption("zt_admission"),
        hubble=hubbles,
    )


def _context(config: pytest.Config) -> str | None:
    """The context of this process; several are told apart before anything else is read."""
    this: str | None = config.getoption("zt_this_context")
    given: list[str] = config.getoption("kube_context")
    return this or (given[-1] if given else None)


def _hubble_address(given: str) -> str:
    """An address as gRPC takes it. Raises UsageProblem if it is none."""
    host, _, port = given.rpartition(":")
    if given.startswith("unix:///") or (host and port.isdigit() and "/" not in given):
        return given
    raise UsageProblem(
        f"--zt-hubble {given} is no address: give host:port, or unix:///path of a socket. "
        "With `cilium hubble port-forward` running, it is localhost:4245."
    )


def _intent_file(config: pytest.Config) -> Path | None:
    given = config.getoption("zt_intent")
    if given:
        return Path(config.invocation_params.dir, given).expanduser()
    default = config.rootpath / DEFAULT_INTENT
    return default if default.is_file() else None
