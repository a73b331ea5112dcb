"""The controls: requirements with a stable id, a level of the maturity model and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One requirement. ``level`` is the rung of the maturity ladder (1 to 4) it belongs to.

    A level does not hold until each of its controls that is ``required`` was shown to hold; the
    others count wherever they were checked.
    """

    id: str
    title: str
    level: int
    severity: str
    remedy: str
    required: bool = True


_ALL = (
    Control(
        id="ZT-NET-000",
        title="the cluster enforces NetworkPolicy at all",
        level=1,
        severity="critical",
        remedy="Install a CNI that enforces NetworkPolicy, "
        "and see that its agent runs on every node.",
    ),
    Control(
        id="ZT-NET-001",
        title="traffic between namespaces that nothing allows is denied",
        level=1,
        severity="critical",
        remedy="Add a default-deny NetworkPolicy (ingress and egress) to the target's namespace.",
    ),
    Control(
        id="ZT-NET-002",
        title="traffic within a namespace that nothing allows is denied",
        level=1,
        severity="high",
        remedy="Select the target with a policy that lists its callers; "
        "a default-deny policy covers the rest.",
    ),
    Control(
        id="ZT-NET-003",
        title="every allowed flow works",
        level=1,
        severity="high",
        remedy="A flow needs both halves: egress at its source and ingress at its target.",
    ),
    Control(
        id="ZT-NET-004",
        title="name resolution works for every workload",
        level=1,
        severity="high",
        remedy="Allow egress to the cluster DNS on port 53, UDP and TCP.",
    ),
    Control(
        id="ZT-NET-005",
        title="every policy selects a pod, and a policy isolates every pod",
        level=1,
        severity="medium",
        remedy="Correct the selector of a policy that selects nothing, or delete it; add a "
        "default-deny NetworkPolicy to a namespace with pods that no policy isolates.",
    ),
    Control(
        id="ZT-NET-006",
        title="ways out of the pods' network that nothing allows are denied",
        level=1,
        required=False,
        severity="critical",
        remedy="Add a default-deny policy for egress, and allow each workload no more than the "
        "destinations it needs.",
    ),
    Control(
        id="ZT-NET-007",
        title="every allowed way out works",
        level=1,
        required=False,
        severity="high",
        remedy="Allow egress from the workload to the destination's addresses and port.",
    ),
    Control(
        id="ZT-NET-008",
        title="every pod of the namespaces belongs to a workload of the intent",
        level=1,
        severity="high",
        remedy="Name the workload in the intent file with its ports and flows, or remove it "
        "from the namespace.",
    ),
    Control(
        id="ZT-NET-009",
        title="all pods of a workload look the same to policies",
        level=1,
        severity="high",
        remedy="Give the pods the same labels again, or name each kind as a workload of its own.",
    ),
    Control(
        id="ZT-NET-010",
        title="ports beside the declared ones are denied",
        level=1,
        severity="high",
        remedy="Give every rule that allows a peer its port and protocol; "
        "a rule without them opens all ports.",
    ),
    Control(
        id="ZT-NET-011",
        title="a new pod is isolated from its first moment on",
        level=1,
        required=False,
        severity="high",
        remedy="See that policies select pods by labels which they have when they are created, "
        "and that the CNI starts no pod before its policies are in force.",
    ),
    Control(
        id="ZT-NET-012",
        title="a workload's node ports are closed to workloads that may not reach it",
        level=1,
        required=False,
        severity="high",
        remedy="Deny egress to the nodes, or make the Service one of type ClusterIP; policies at "
        "the target may not see who calls by a node.",
    ),
    Control(
        id="ZT-MSH-001",
        title="plaintext to a meshed workload is refused by its proxy",
        level=2,
        severity="critical",
        remedy="Set PeerAuthentication to STRICT for the mesh, and remove weaker ones "
        "for namespaces, workloads and ports.",
    ),
    Control(
        id="ZT-MSH-002",
        title="a meshed workload demands a client certificate and proves its SPIFFE identity",
        level=2,
        severity="critical",
        remedy="See that the workload runs a sidecar and that mutual TLS is STRICT on its port.",
    ),
    Control(
        id="ZT-MSH-003",
        title="an allowed call works from inside the mesh",
        level=2,
        severity="high",
        remedy="See that both proxies are ready and that network policies let them "
        "reach each other and istiod.",
    ),
    Control(
        id="ZT-MSH-004",
        title="a certificate that the mesh did not issue is refused",
        level=2,
        severity="critical",
        remedy="Remove what weakens the check of client certificates on the port, such as an "
        "EnvoyFilter or a foreign root certificate.",
    ),
    Control(
        id="ZT-MSH-005",
        title="no other port of a meshed workload takes plaintext",
        level=2,
        required=False,
        severity="high",
        remedy="Let the proxy capture the port (no excludeInboundPorts), remove the exception for "
        "it from PeerAuthentication, or stop what listens on it.",
    ),
    Control(
        id="ZT-MSH-006",
        title="every pod of a meshed workload is in the mesh with all of its traffic",
        level=2,
        severity="high",
        remedy="Let every pod have a proxy; remove what leads around it: excluded ports and "
        "addresses, the network of the node, containers with the proxy's id or NET_ADMIN.",
    ),
    Control(
        id="ZT-MSH-007",
        title="certificates are short-lived, renewed in time, and of one root",
        level=2,
        required=False,
        severity="medium",
        remedy="See that istiod is reached by the proxy and renews its certificate, and that all "
        "namespaces were given the same root.",
    ),
    Control(
        id="ZT-MSH-008",
        title="the mesh refuses a caller that has not the identity of an allowed one",
        level=2,
        required=False,
        severity="high",
        remedy="Let an AuthorizationPolicy of the target allow the principals of its callers, and "
        "no others; one without rules denies the rest of the namespace.",
    ),
    Control(
        id="ZT-MSH-009",
        title="a port does what PeerAuthentications declare for it",
        level=2,
        required=False,
        severity="high",
        remedy="Let every pod have a proxy that captures the port and reaches istiod, and remove "
        "an EnvoyFilter that changes it; see which policy is in force: of several only the oldest.",
    ),
    Control(
        id="ZT-MSH-010",
        title="an application is not told a forged identity of its caller",
        level=2,
        required=False,
        severity="high",
        remedy="Let the proxies of both ends replace x-forwarded-client-cert, and remove an "
        "EnvoyFilter or a proxyHeaders.forwardedClientCert that forwards what the caller wrote.",
    ),
    Control(
        id="ZT-ENC-001",
        title="what pods say between two nodes cannot be read on the wire",
        level=2,
        required=False,
        severity="high",
        remedy="Turn on the network plugin's encryption (WireGuard or IPsec), and see that its "
        "agents of all nodes know each other's keys.",
    ),
    Control(
        id="ZT-ENC-002",
        title="a call within the mesh cannot be read on the wire between nodes",
        level=2,
        required=False,
        severity="critical",
        remedy="Remove what lets the caller's proxy speak plaintext, such as a DestinationRule "
        "that disables TLS, and make mutual TLS STRICT at the target.",
    ),
    Control(
        id="ZT-ADM-001",
        title="privileged containers are rejected",
        level=3,
        severity="critical",
        remedy="Apply the rule to containers, initContainers and ephemeralContainers alike.",
    ),
    Control(
        id="ZT-ADM-002",
        title="containers that may run as root are rejected",
        level=3,
        severity="high",
        remedy="Require runAsNonRoot: true for containers and initContainers, "
        "on the container or else on the pod.",
    ),
    Control(
        id="ZT-ADM-003",
        title="images from other registries are rejected",
        level=3,
        severity="high",
        remedy="Compare the image of containers, initContainers and ephemeralContainers with the "
        "registry prefix, its closing slash included.",
    ),
    Control(
        id="ZT-ADM-004",
        title="what the declared Pod Security level forbids is rejected",
        level=3,
        severity="high",
        remedy="Let Pod Security enforce the level in the namespace, "
        "or cover the field with a policy.",
        required=False,
    ),
    Control(
        id="ZT-ADM-005",
        title="what rejects pods fails closed and cannot be told to look away",
        level=3,
        severity="high",
        remedy="Set failurePolicy: Fail, list pods and pods/ephemeralcontainers with CREATE and "
        "UPDATE, and exempt nothing that a user can choose.",
        required=False,
    ),
    Control(
        id="ZT-ADM-006",
        title="only administrators may change or switch off what rejects pods",
        level=3,
        severity="high",
        remedy="Take the subject out of the binding, or the rule out of the role; list it under "
        "admission.administrators only if it is meant to decide what runs in the cluster.",
        required=False,
    ),
)

CONTROLS = MappingProxyType({control.id: control for control in _ALL})
"""Every control by its id."""

LEVELS = MappingProxyType(
    {
        1: "network policies isolate workloads",
        2: "mutual TLS between services",
        3: "admission control of workloads",
        4: "identity-aware, least privilege, audited",
    }
)
"""The rungs of the maturity ladder above level 0, which is: nothing."""
