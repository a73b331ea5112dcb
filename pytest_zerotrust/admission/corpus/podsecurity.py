"""Every field of the Pod Security Standards that a pod can break alone.

Source: the Kubernetes documentation, "Pod Security Standards", and the checks of
k8s.io/pod-security-admission 0.35. Left out is what no single field can break: 'privileged' in a
restricted namespace (the API refuses it beside allowPrivilegeEscalation: false, which 'restricted'
demands), procMount (it needs hostUsers: false, under which the standard allows it since 1.35) and
Windows host processes (they need hostNetwork).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_zerotrust.admission.corpus.model import (
    CONTAINER,
    EPHEMERAL,
    INIT,
    SPOTS,
    AdmissionCase,
    Edit,
    in_spot,
)
from pytest_zerotrust.admission.corpus.rules import privileged
from pytest_zerotrust.core.admission_diff import ABSENT

LEVELS = ("baseline", "restricted")

_POD = ("spec", "securityContext")
_UNCONFINED = {"type": "Unconfined"}


def cases(level: str, registry: str) -> Iterator[AdmissionCase]:
    """The cases of a level; 'restricted' includes those of 'baseline'."""
    yield from _baseline()
    if level == "restricted":
        yield from _restricted()
    else:
        yield from (case for case in privileged(registry) if case.name in _PRIVILEGED)


_PRIVILEGED = {f"privileged-in-{spot.name}" for spot in SPOTS}


def _baseline() -> Iterator[AdmissionCase]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        yield AdmissionCase(
            name=_words(field), topic="host-namespaces", path=("spec", field), bad=True
        )
    for word, path in (
        ("root", "/"),
        ("kubelet", "/var/lib/kubelet"),
        ("runtime-socket", "/run/containerd/containerd.sock"),
        ("manifests", "/etc/kubernetes/manifests"),
        ("proc", "/proc"),
    ):
        yield _volume(f"host-path-{word}", "host-path", {"hostPath": {"path": path}})
    for spot in (CONTAINER, INIT):
        port = (Edit(("ports",), [{"name": "checked", "containerPort": 8080}]),)
        yield in_spot(spot, "host-port", "host-ports", ("ports", 0, "hostPort"), 8080, base=port)
    added = ("securityContext", "capabilities", "add")
    for spot in SPOTS:
        yield in_spot(spot, "capability-sys-admin", "capabilities", added, ["SYS_ADMIN"])
    for name in ("ALL", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_MODULE", "BPF"):
        word = f"capability-{name.lower().replace('_', '-')}"
        yield in_spot(CONTAINER, word, "capabilities", added, [name])
    for spot in SPOTS:
        profile = ("securityContext", "seccompProfile")
        yield in_spot(spot, "seccomp-unconfined", "seccomp", profile, _UNCONFINED)
    yield AdmissionCase(
        name="seccomp-unconfined-on-the-pod", topic="seccomp", path=(*_POD, "seccompProfile"),
        bad=_UNCONFINED, good={"type": "RuntimeDefault"},
    )  # fmt: skip
    yield _on_pod("app-armor-unconfined-on-the-pod", "app-armor", "appArmorProfile", _UNCONFINED)
    yield in_spot(
        CONTAINER, "app-armor-unconfined", "app-armor", ("securityContext", "appArmorProfile"),
        _UNCONFINED, optional=True,
    )  # fmt: skip
    for key, value in (("type", "spc_t"), ("user", "system_u"), ("role", "system_r")):
        options = {key: value}
        yield _on_pod(f"se-linux-{key}-on-the-pod", "se-linux", "seLinuxOptions", options)
    yield in_spot(
        CONTAINER, "se-linux-type", "se-linux", ("securityContext", "seLinuxOptions"),
        {"type": "spc_t"},
    )  # fmt: skip
    yield _on_pod(
        "unsafe-sysctl", "sysctls", "sysctls", [{"name": "kernel.msgmax", "value": "65536"}]
    )


def _restricted() -> Iterator[AdmissionCase]:
    context = ("securityContext",)
    for spot in SPOTS:
        field = (*context, "allowPrivilegeEscalation")
        topic = "privilege-escalation"
        yield in_spot(spot, "escalation-allowed", topic, field, bad=True, good=False)
        yield in_spot(spot, "escalation-left-unsaid", topic, field, bad=ABSENT, good=False)
        dropped = (*context, "capabilities", "drop")
        yield in_spot(spot, "nothing-dropped", "capabilities", dropped, ABSENT, good=["ALL"])
        no_user = (Edit((*context, "runAsUser"), ABSENT),)
        yield in_spot(
            spot, "may-run-as-root", "run-as-root", (*context, "runAsNonRoot"), bad=False,
            good=True, base=no_user,
        )  # fmt: skip
        yield in_spot(spot, "user-0", "run-as-root", (*context, "runAsUser"), 0, good=65532)
    added = (*context, "capabilities", "add")
    yield in_spot(CONTAINER, "capability-chown", "capabilities", added, ["CHOWN"])
    yield AdmissionCase(
        name="seccomp-left-unsaid", topic="seccomp", path=(*_POD, "seccompProfile"), bad=ABSENT,
        good={"type": "RuntimeDefault"},
    )  # fmt: skip
    bare = (
        Edit(("spec", "initContainers"), ABSENT),
        Edit(("spec", "containers", 0, *context, "runAsUser"), ABSENT),
        Edit(("spec", "containers", 0, *context, "runAsNonRoot"), ABSENT),
    )
    for word, bad in (("left-unsaid", ABSENT), ("on-the-pod", False)):
        yield AdmissionCase(
            name=f"may-run-as-root-{word}", topic="run-as-root", path=(*_POD, "runAsNonRoot"),
            bad=bad, good=True, base=bare,
        )  # fmt: skip
    yield AdmissionCase(
        name="user-0-on-the-pod", topic="run-as-root", path=(*_POD, "runAsUser"), bad=0, good=65532,
        base=bare,
    )  # fmt: skip
    yield _volume("volume-nfs", "volumes", {"nfs": {"server": "203.0.113.10", "path": "/"}})
    yield _volume("volume-flex", "volumes", {"flexVolume": {"driver": "example.com/any"}})
    target = {"targetPortal": "203.0.113.10:3260", "iqn": "iqn.2001-04.com.example:x", "lun": 0}
    yield _volume("volume-iscsi", "volumes", {"iscsi": target})


def more(level: str) -> Iterator[AdmissionCase]:
    """What the full profile adds: all capabilities, and fields that newer versions forbid."""
    added = ("securityContext", "capabilities", "add")
    for name in _CAPABILITIES:
        for spot in SPOTS:
            word = f"capability-{name.lower().replace('_', '-')}"
            yield in_spot(spot, word, "capabilities", added, [name])
    for spot in (CONTAINER,):
        # Since Pod Security 1.34; older ones admit it.
        probe = (Edit(("livenessProbe",), {"tcpSocket": {"port": 8080}}),)
        field = ("livenessProbe", "tcpSocket", "host")
        yield in_spot(spot, "probe-host", "probes", field, "203.0.113.10", base=probe)
    for key in ("user", "role"):
        for spot in SPOTS:
            options = ("securityContext", "seLinuxOptions")
            yield in_spot(spot, f"se-linux-{key}", "se-linux", options, {key: "system"})
    for spot in (INIT, EPHEMERAL):
        armor = ("securityContext", "appArmorProfile")
        yield in_spot(spot, "app-armor-unconfined", "app-armor", armor, _UNCONFINED, optional=True)
    if level == "restricted":
        for name in ("KILL", "SETUID", "SETGID", "MKNOD", "SYS_CHROOT"):
            for spot in SPOTS:
                word = f"capability-{name.lower().replace('_', '-')}"
                yield in_spot(spot, word, "capabilities", added, [name])


_CAPABILITIES = (
    "SYS_RAWIO",
    "SYS_BOOT",
    "SYS_TIME",
    "SYS_RESOURCE",
    "DAC_READ_SEARCH",
    "PERFMON",
    "SYSLOG",
    "MAC_ADMIN",
)


def _on_pod(name: str, topic: str, field: str, bad: Any) -> AdmissionCase:
    optional = field == "appArmorProfile"
    return AdmissionCase(name=name, topic=topic, path=(*_POD, field), bad=bad, optional=optional)


def _volume(name: str, topic: str, source: dict[str, Any]) -> AdmissionCase:
    path = ("spec", "volumes", 0)
    bad = {"name": "checked-volume", **source}
    good = {"name": "checked-volume", "emptyDir": {}}
    return AdmissionCase(name=name, topic=topic, path=path, bad=bad, good=good)


def _words(field: str) -> str:
    return {"hostNetwork": "host-network", "hostPID": "host-pid", "hostIPC": "host-ipc"}[field]
