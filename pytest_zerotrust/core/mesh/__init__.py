"""Rules of the mesh layer: what a port's answers and calls mean. Pure, on the standard library."""

from pytest_zerotrust.core.mesh.calls import Call, read_call
from pytest_zerotrust.core.mesh.certificate import (
    ServerCertificate,
    judge_lifetime,
    judge_roots,
)
from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.mesh.declared import (
    Declaration,
    Declared,
    PeerAuthentication,
    declared_for,
    judge_declared,
)
from pytest_zerotrust.core.mesh.enrolment import (
    OWN_PORTS,
    PodMesh,
    annotated_ports,
    excluded_ports,
    judge_enrolment,
    not_supported,
)
from pytest_zerotrust.core.mesh.forwarded import (
    NONCE_HEADER,
    Forgery,
    Told,
    judge_forwarded,
    told_by,
)
from pytest_zerotrust.core.mesh.impostor import Pair, judge_pair, read_identities
from pytest_zerotrust.core.mesh.port import PortEvidence, PortMode, classify
from pytest_zerotrust.core.mesh.signals import MIN_PLAINTEXT, Plain, Tls, read_plain, read_tls
from pytest_zerotrust.core.mesh.sweep import PortSeen, Refuser, judge_sweep, read_refuser
from pytest_zerotrust.core.mesh.verdicts import (
    Alive,
    judge_certificate,
    judge_foreign,
    judge_identity,
    judge_plaintext,
    shown_mode,
    with_application,
)

__all__ = [
    "MIN_PLAINTEXT",
    "NONCE_HEADER",
    "OWN_PORTS",
    "Alive",
    "Call",
    "Conclusion",
    "Declaration",
    "Declared",
    "Forgery",
    "Pair",
    "PeerAuthentication",
    "Plain",
    "PodMesh",
    "PortEvidence",
    "PortMode",
    "PortSeen",
    "Refuser",
    "ServerCertificate",
    "Tls",
    "Told",
    "annotated_ports",
    "classify",
    "declared_for",
    "excluded_ports",
    "judge_certificate",
    "judge_declared",
    "judge_enrolment",
    "judge_foreign",
    "judge_forwarded",
    "judge_identity",
    "judge_lifetime",
    "judge_pair",
    "judge_plaintext",
    "judge_roots",
    "judge_sweep",
    "not_supported",
    "read_call",
    "read_identities",
    "read_plain",
    "read_refuser",
    "read_tls",
    "shown_mode",
    "told_by",
    "with_application",
]
