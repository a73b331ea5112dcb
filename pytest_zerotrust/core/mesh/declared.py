"""What istiod was told: the mode that PeerAuthentications declare for a port. Pure.

A declaration proves nothing. It is here to be held against what the port does. Rules: Istio's
``ComposePeerAuthentication`` (pilot/pkg/security/authn), which the lab's istiod is built from.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.mesh.port import PortMode
from pytest_zerotrust.core.verdict import Verdict


class Declared(enum.Enum):
    """A mode of mutual TLS, as PeerAuthentication spells it."""

    STRICT = "STRICT"
    PERMISSIVE = "PERMISSIVE"
    DISABLE = "DISABLE"


_FITS: Mapping[Declared, Collection[PortMode]] = {
    Declared.STRICT: (PortMode.STRICT,),
    Declared.PERMISSIVE: (PortMode.PERMISSIVE, PortMode.PASSED_ON),
    # A pod without a proxy does what the declaration asks of one.
    Declared.DISABLE: (PortMode.DISABLED, PortMode.NOT_MESHED),
}
"""The modes of a port that are what was declared."""

_CLEAR = frozenset(mode for modes in _FITS.values() for mode in modes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAuthentication:
    """One policy. ``selector`` is empty for those of a namespace or of the mesh, ``mode`` is None
    if it sets none, ``ports`` are the modes by container port (None: as the rest), and ``created``
    is when it was made (RFC 3339, so that they sort by time)."""

    namespace: str
    name: str
    selector: Mapping[str, str] = field(default_factory=dict)
    mode: Declared | None = None
    ports: Mapping[int, Declared | None] = field(default_factory=dict)
    created: str = ""

    @property
    def where(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """True if it is about the pods with these labels by name."""
        mine = self.namespace == namespace and bool(self.selector)
        return mine and self.selector.items() <= labels.items()


@dataclass(frozen=True, slots=True)
class Declaration:
    """The mode that is in force for one port, and the policy that says so (empty: by default)."""

    mode: Declared
    by: str = ""

    def __str__(self) -> str:
        return f"{self.mode.value} by {self.by or 'default'}"


def declared_for(
    policies: Iterable[PeerAuthentication],
    namespace: str,
    labels: Mapping[str, str],
    port: int,
    *,
    root_namespace: str,
) -> Declaration:
    """The mode in force for a container port of a pod: of its port, else of its workload, of its
    namespace, of the mesh, and permissive if nobody says anything.

    Of several policies of the same reach only the oldest counts, and of those the first by name.
    Only one with a selector may name ports, and one with a selector in the root namespace counts
    for nobody.
    """
    ordered = sorted(policies, key=lambda policy: (policy.created, policy.name))
    broad = [policy for policy in ordered if not policy.selector]
    mesh = next((p for p in broad if p.namespace == root_namespace), None)
    of_namespace = None
    workload = None
    if namespace != root_namespace:
        of_namespace = next((p for p in broad if p.namespace == namespace), None)
        workload = next((p for p in ordered if p.selects(namespace, labels)), None)
    found = Declaration(Declared.PERMISSIVE)
    for policy in (mesh, of_namespace, workload):
        if policy is not None and policy.mode is not None:
            found = Declaration(policy.mode, policy.where)
    if workload is not None and port in workload.ports:
        mode = workload.ports[port]
        found = Declaration(mode or found.mode, f"{workload.where} for port {port}")
    return found


def judge_declared(declared: Declaration, modes: Collection[PortMode]) -> Conclusion:
    """Does a port do what was declared for it? ``modes`` are what it was seen to do, in all rounds.

    Where it is stricter than declared, something else decides as well: that is told, too.
    """
    unclear = [mode for mode in modes if mode not in _CLEAR]
    if unclear or not modes:
        seen = unclear[0] if unclear else PortMode.UNKNOWN
        text = f"its mode is not clear: {seen.value}"
        if seen is PortMode.MASKED:
            return Conclusion(Verdict.INCONCLUSIVE, "masked", text)
        return Conclusion(Verdict.INCONCLUSIVE, "mode-not-clear", text)
    if len(set(modes)) > 1:
        text = ", ".join(dict.fromkeys(mode.value for mode in modes))
        return Conclusion(Verdict.INCONCLUSIVE, "unsettled", f"its mode changed: {text}")
    (mode,) = set(modes)
    if mode in _FITS[declared.mode]:
        return Conclusion(Verdict.HOLDS, "", f"it is {mode.value}, as declared ({declared})")
    return Conclusion(
        Verdict.VIOLATED, "", f"it is {mode.value.upper()}, though DECLARED {declared}"
    )
