"""Which probe pods a run needs, as data; nothing here talks to a cluster."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.intent import Port
from pytest_zerotrust.core.labels import without_controllers_own

CANARY_PORT = Port(8080)
"""The port on which the canaries of our own namespace listen."""


KUBELET_PORT = Port(29999)
"""The port on which the kubelet finds a probe pod whose workload has no TCP port."""


class Role(enum.Enum):
    """What a probe pod is for."""

    TWIN = "twin"
    """Stands for a workload, outside the mesh: same namespace, labels and service account."""
    MESHED = "meshed"
    """The same, with a sidecar; used as a client only."""
    CANARY = "canary"
    """In our own namespace, open: shows that the path between two nodes lives."""
    SEALED = "sealed"
    """In our own namespace, closed by a policy of ours: shows that policies are enforced."""
    NEWBORN = "newborn"
    """A twin that tries, from its first moment on, what it must not reach."""
    NODE = "node"
    """In the network of a node, where the intent file allows it."""
    CAPTURE = "capture"
    """There as well, and allowed to see what leaves the node; the intent file must allow it."""
    TALKER = "talker"
    """In our own namespace, open: says what captures look for, and answers it."""

    @property
    def on_node(self) -> bool:
        """True if such a pod is in the network of its node."""
        return self in (Role.NODE, Role.CAPTURE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """One probe pod: where it goes, what it looks like to policies, what it listens on.

    ``port_names`` are the names of the workload's container ports, which policies may use.
    ``side_ports`` are further ports to listen on that no Service leads to. ``node`` is where it
    must run, ``near`` where it should. ``birth`` are the attempts that it makes as soon as it
    runs. ``refusal`` says why it must not be made, if it would do harm.
    """

    name: str
    namespace: str
    role: Role
    subject: str
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = "default"
    ports: tuple[Port, ...] = ()
    side_ports: tuple[Port, ...] = ()
    port_names: Mapping[str, int] = field(default_factory=dict)
    node: str | None = None
    near: str | None = None
    birth: tuple[Mapping[str, object], ...] = ()
    refusal: str = ""

    @property
    def listens(self) -> bool:
        """True if the pod serves: a client inside the mesh does not, nor one on a node."""
        return self.role is not Role.MESHED and not self.role.on_node

    @property
    def where(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


# Whether a probe pod is injected is ours to say. Every other label of the mesh stays, because
# policies select by them, too.
_INJECTION = "sidecar.istio.io/"


def twin_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of a workload's pods without those by which a controller adopts pods."""
    kept = without_controllers_own(labels)
    return {key: value for key, value in kept.items() if not key.startswith(_INJECTION)}


def unready_conflicts(
    specs: Iterable[PodSpec], services: Mapping[str, Iterable[tuple[str, Mapping[str, str]]]]
) -> dict[str, str]:
    """Probe pods that would join a user's Service although they are never ready.

    ``services`` maps a namespace to (name, selector) of its Services that publish addresses
    which are not ready. Returns the reason by pod name.
    """
    conflicts = {}
    for spec in specs:
        for name, selector in services.get(spec.namespace, ()):
            if selector.items() <= spec.labels.items():
                conflicts[spec.name] = (
                    f"Service {spec.namespace}/{name} publishes addresses that are not ready "
                    f"(publishNotReadyAddresses), so it would send users' traffic to a probe pod"
                )
    return conflicts
