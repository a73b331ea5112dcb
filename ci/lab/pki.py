"""The lab's certificate authorities, certificates, keys and kubeconfig files."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .settings import CLUSTER_DOMAIN, SERVICE_ADDRESS, Lab
from .shell import run

ADMINISTRATORS = "system:masters"
DAYS = "3650"


@dataclass(frozen=True)
class Request:
    """A certificate to be made."""

    name: str
    authority: str
    subject: str
    hosts: tuple[str, ...] = ()
    client: bool = True


def certificate(lab: Lab, name: str) -> Path:
    """Where a certificate is."""
    return lab.pki / f"{name}.crt"


def key(lab: Lab, name: str) -> Path:
    """Where a certificate's key is."""
    return lab.pki / f"{name}.key"


def kubeconfig(lab: Lab, name: str) -> Path:
    """Where the kubeconfig file of a component is."""
    return lab.kubeconfig if name == "admin" else lab.pki / f"{name}.kubeconfig"


def ensure(lab: Lab) -> None:
    """Make what is missing."""
    lab.pki.mkdir(parents=True, exist_ok=True)
    lab.pki.chmod(0o700)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: _authority(lab, name), ("ca", "front-proxy-ca", "etcd-ca")))
        signing = pool.submit(_service_account_key, lab)
        list(pool.map(lambda request: _sign(lab, request), _requests(lab)))
        signing.result()
    for name in ("admin", "controller-manager", "scheduler", "proxy", *_agents(lab)):
        _kubeconfig(lab, name)


def _agents(lab: Lab) -> list[str]:
    return ["cilium", "istio-cni", *(f"kubelet-{node.name}" for node in lab.nodes)]


def _requests(lab: Lab) -> Iterable[Request]:
    control = lab.control.address
    yield Request("etcd", "etcd-ca", "/CN=etcd", ("localhost", "127.0.0.1", control))
    yield Request("etcd-client", "etcd-ca", "/CN=kube-apiserver-etcd-client")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    names.append(f"kubernetes.default.svc.{CLUSTER_DOMAIN}")
    hosts = (*names, SERVICE_ADDRESS, control, "127.0.0.1")
    yield Request("apiserver", "ca", "/CN=kube-apiserver", hosts, client=False)
    subject = f"/O={ADMINISTRATORS}/CN=kube-apiserver-kubelet-client"
    yield Request("apiserver-kubelet-client", "ca", subject)
    yield Request("front-proxy-client", "front-proxy-ca", "/CN=front-proxy-client")
    yield Request("admin", "ca", f"/O={ADMINISTRATORS}/CN=kubernetes-admin")
    yield Request("controller-manager", "ca", "/CN=system:kube-controller-manager")
    yield Request("scheduler", "ca", "/CN=system:kube-scheduler")
    yield Request("proxy", "ca", "/CN=system:kube-proxy")
    yield Request("cilium", "ca", f"/O={ADMINISTRATORS}/CN=cilium")
    yield Request("istio-cni", "ca", "/CN=istio-cni")
    for node in lab.nodes:
        subject = f"/O=system:nodes/CN=system:node:{node.name}"
        yield Request(f"kubelet-{node.name}", "ca", subject)
        yield Request(
            f"kubelet-server-{node.name}",
            "ca",
            f"/CN={node.name}",
            (node.name, node.address),
            client=False,
        )


def _authority(lab: Lab, name: str) -> None:
    if certificate(lab, name).exists():
        return
    extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
    _make(lab, name, f"/CN={lab.name}-{name}", extensions + "subjectKeyIdentifier=hash\n", [])


def _sign(lab: Lab, request: Request) -> None:
    if certificate(lab, request.name).exists():
        return
    uses = [*(["clientAuth"] if request.client else []), *(["serverAuth"] if request.hosts else [])]
    extensions = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
    extensions += f"extendedKeyUsage={','.join(uses)}\n"
    if request.hosts:
        alternatives = (
            f"IP:{host}" if host.replace(".", "").isdigit() else f"DNS:{host}"
            for host in request.hosts
        )
        extensions += f"subjectAltName={','.join(alternatives)}\n"
    signer = ["-CA", str(certificate(lab, request.authority))]
    signer += ["-CAkey", str(key(lab, request.authority))]
    _make(lab, request.name, request.subject, extensions, signer)


def _make(lab: Lab, name: str, subject: str, extensions: str, signer: list[str]) -> None:
    configuration = f"[req]\ndistinguished_name=dn\nx509_extensions=ext\n[dn]\n[ext]\n{extensions}"
    partial = certificate(lab, name).with_suffix(".partial")
    command = ["openssl", "req", "-x509", "-config", "/dev/stdin", "-nodes", "-days", DAYS]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-utf8"]
    command += ["-subj", subject, "-keyout", str(key(lab, name)), "-out", str(partial), *signer]
    run(command, stdin=configuration)
    key(lab, name).chmod(0o600)
    # The certificate comes last: where it exists, its key is whole too.
    partial.rename(certificate(lab, name))


def _service_account_key(lab: Lab) -> None:
    public = lab.pki / "service-accounts.pub"
    if public.exists():
        return
    private = key(lab, "service-accounts")
    size = ["-pkeyopt", "rsa_keygen_bits:2048"]
    run(["openssl", "genpkey", "-algorithm", "RSA", *size, "-out", str(private)])
    partial = public.with_suffix(".partial")
    run(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(partial)])
    partial.rename(public)


def _kubeconfig(lab: Lab, name: str) -> None:
    place = kubeconfig(lab, name)
    if place.exists():
        return
    text = f"""apiVersion: v1
kind: Config
clusters:
- name: {lab.name}
  cluster:
    server: {lab.server}
    certificate-authority-data: {_inline(certificate(lab, "ca"))}
users:
- name: {name}
  user:
    client-certificate-data: {_inline(certificate(lab, name))}
    client-key-data: {_inline(key(lab, name))}
contexts:
- name: {lab.name}
  context: {{cluster: {lab.name}, user: {name}}}
current-context: {lab.name}
"""
    partial = place.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.rename(place)


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
