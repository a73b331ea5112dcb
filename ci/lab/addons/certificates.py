"""Serving certificates for webhooks, made once for a lab by openssl."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from ..settings import Lab
from ..shell import run

_DAYS = "3650"


@dataclass(frozen=True)
class Serving:
    """A webhook's certificate, its key, and the authority that its callers must trust."""

    authority: bytes
    certificate: bytes
    key: bytes

    def bundle(self) -> str:
        """The authority as a webhook configuration wants it."""
        return base64.b64encode(self.authority).decode()

    def secret(self, name: str, namespace: str) -> dict[str, object]:
        """The Secret that a webhook's pod mounts."""
        files = {"ca.crt": self.authority, "tls.crt": self.certificate, "tls.key": self.key}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": "Opaque",
            "data": {file: base64.b64encode(content).decode() for file, content in files.items()},
        }


def serving(lab: Lab, name: str, host: str) -> Serving:
    """The certificate for a webhook at this host name, made if there is none yet."""
    folder = lab.pki / "webhooks"
    folder.mkdir(parents=True, exist_ok=True)
    authority, certificate = folder / f"{name}-ca.crt", folder / f"{name}.crt"
    if not certificate.exists():
        _make(authority, f"/CN={lab.name}-{name}-ca", "basicConstraints=critical,CA:TRUE\n")
        names = f"basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:{host}\n"
        signer = ["-CA", str(authority), "-CAkey", str(authority.with_suffix(".key"))]
        _make(certificate, f"/CN={host}", names + "extendedKeyUsage=serverAuth\n", signer)
    return Serving(
        authority.read_bytes(),
        certificate.read_bytes(),
        certificate.with_suffix(".key").read_bytes(),
    )


def _make(target: Path, subject: str, extensions: str, signer: list[str] | None = None) -> None:
    configuration = f"[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n{extensions}"
    partial = target.with_suffix(".partial")
    key = target.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-config", "/dev/stdin", "-nodes", "-days", _DAYS]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", subject]
    command += ["-keyout", str(key), "-out", str(partial), *(signer or [])]
    run(command, stdin=configuration)
    key.chmod(0o600)
    # The certificate comes last: where it exists, its key is whole too.
    partial.rename(target)
