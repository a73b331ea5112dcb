"""Rules of the mesh layer: what a port's answers and calls mean. Pure, on the standard library."""

from pytest_zerotrust.core.mesh.calls import Call, read_call
from pytest_zerotrust.core.mesh.certificate import (
    ServerCertificate,
    judge_lifetime,
    judge_roots,
)
from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.mesh.enrolment import (
    OWN_PORTS,
    PodMesh,
    excluded_ports,
    judge_enrolment,
    not_supported,
)
from pytest_zerotrust.core.mesh.impostor import Pair, judge_pair, read_identities
from pytest_zerotrust.core.mesh.port import PortEvidence, PortMode, classify
from pytest_zerotrust.core.mesh.signals import MIN_PLAINTEXT, Plain, Tls, read_plain, read_tls
from pytest_zerotrust.core.mesh.sweep import PortSeen, judge_sweep
from pytest_zerotrust.core.mesh.verdicts import (
    Alive,
    judge_certificate,
    judge_foreign,
    judge_identity,
    judge_plaintext,
    with_application,
)

__all__ = [
    "MIN_PLAINTEXT",
    "OWN_PORTS",
    "Alive",
    "Call",
    "Conclusion",
    "Pair",
    "Plain",
    "PodMesh",
    "PortEvidence",
    "PortMode",
    "PortSeen",
    "ServerCertificate",
    "Tls",
    "classify",
    "excluded_ports",
    "judge_certificate",
    "judge_enrolment",
    "judge_foreign",
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
    "read_tls",
    "with_application",
]
