"""The control plane, which runs on the first node: etcd, API server, controllers, scheduler."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from . import kube, pki, processes
from .build import program
from .processes import Component, Machine
from .settings import CLUSTER_DOMAIN, POD_NETWORK, SERVICE_NETWORK, Lab, LabError

AUDIT_POLICY = Path(__file__).parent / "config" / "audit-policy.yaml"


def components(lab: Lab) -> list[Component]:
    """What must run, in the order in which it is started."""
    return [_etcd(lab), _api_server(lab), _controller_manager(lab), _scheduler(lab)]


def start_store(lab: Lab, machine: Machine) -> None:
    """Start etcd and the API server."""
    for component in (_etcd(lab), _api_server(lab)):
        processes.ensure(lab, machine, component)


def start_controllers(lab: Lab, machine: Machine) -> None:
    """Start what works through the API server."""
    for component in (_controller_manager(lab), _scheduler(lab)):
        processes.ensure(lab, machine, component)


def ready(lab: Lab) -> bool:
    """Whether the API server says that it is ready."""
    context = ssl.create_default_context(cafile=str(pki.certificate(lab, "ca")))
    context.load_cert_chain(pki.certificate(lab, "admin"), pki.key(lab, "admin"))
    try:
        with urllib.request.urlopen(f"{lab.server}/readyz", timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def wait_ready(lab: Lab, timeout: float = 60) -> None:
    """Return when the API server is ready."""
    deadline = time.monotonic() + timeout
    while not ready(lab):
        if time.monotonic() > deadline:
            raise LabError(
                f"the API server is not ready after {timeout:.0f} s; see {lab.logs}"
                f"/kube-apiserver.log and etcd.log"
            )
        time.sleep(0.1)


def register_nodes(lab: Lab) -> None:
    """Make the Node objects, so that each node gets the pod network that its routes expect."""
    # What exists is left alone: while the lab is healing, every write may have to wait for
    # admission webhooks that are not there yet.
    present = kube.kubectl(lab, "get", "nodes", "-o", "name").stdout.split()
    missing = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
            "spec": {"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]},
        }
        for node in lab.nodes
        if f"node/{node.name}" not in present
    ]
    if missing:
        kube.apply(lab, json.dumps({"apiVersion": "v1", "kind": "List", "items": missing}))


def _component(
    lab: Lab, name: str, command: Sequence[str], files: tuple[tuple[Path, str], ...] = ()
) -> Component:
    return Component(name, lab.control.name, tuple(command), files=files)


def _etcd(lab: Lab) -> Component:
    authority = str(pki.certificate(lab, "etcd-ca"))
    client, peer = f"https://{lab.control.address}:2379", f"https://{lab.control.address}:2380"
    return _component(
        lab,
        "etcd",
        [
            "etcd",
            f"--name={lab.control.name}",
            f"--data-dir={lab.state / 'etcd'}",
            f"--listen-client-urls={client},https://127.0.0.1:2379",
            f"--advertise-client-urls={client}",
            "--listen-peer-urls=https://127.0.0.1:2380",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={lab.control.name}={peer}",
            "--client-cert-auth=true",
            f"--trusted-ca-file={authority}",
            f"--cert-file={pki.certificate(lab, 'etcd')}",
            f"--key-file={pki.key(lab, 'etcd')}",
            "--peer-client-cert-auth=true",
            f"--peer-trusted-ca-file={authority}",
            f"--peer-cert-file={pki.certificate(lab, 'etcd')}",
            f"--peer-key-file={pki.key(lab, 'etcd')}",
            # A lab may lose its last second when the machine loses its power.
            "--unsafe-no-fsync",
            # Alone, it need not wait long to elect itself.
            "--heartbeat-interval=50",
            "--election-timeout=250",
            "--logger=zap",
            "--log-level=warn",
        ],
    )


def _api_server(lab: Lab) -> Component:
    def pair(name: str, certificate_flag: str, key_flag: str) -> list[str]:
        return [
            f"--{certificate_flag}={pki.certificate(lab, name)}",
            f"--{key_flag}={pki.key(lab, name)}",
        ]

    policy = lab.state / AUDIT_POLICY.name
    command = [
        str(program(lab.cache, "kubernetes", "kube-apiserver")),
        f"--advertise-address={lab.control.address}",
        f"--external-hostname={lab.control.address}",
        "--secure-port=6443",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--profiling=false",
        f"--client-ca-file={pki.certificate(lab, 'ca')}",
        *pair("apiserver", "tls-cert-file", "tls-private-key-file"),
        "--etcd-servers=https://127.0.0.1:2379",
        f"--etcd-cafile={pki.certificate(lab, 'etcd-ca')}",
        *pair("etcd-client", "etcd-certfile", "etcd-keyfile"),
        f"--kubelet-certificate-authority={pki.certificate(lab, 'ca')}",
        *pair("apiserver-kubelet-client", "kubelet-client-certificate", "kubelet-client-key"),
        # Nobody here resolves the nodes' names.
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        f"--service-account-key-file={lab.pki / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={pki.key(lab, 'service-accounts')}",
        f"--requestheader-client-ca-file={pki.certificate(lab, 'front-proxy-ca')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        *pair("front-proxy-client", "proxy-client-cert-file", "proxy-client-key-file"),
        f"--audit-policy-file={policy}",
        f"--audit-log-path={lab.state / 'audit.log'}",
        "--audit-log-maxsize=256",
        "--audit-log-maxbackup=1",
    ]
    return _component(lab, "kube-apiserver", command, ((policy, AUDIT_POLICY.read_text()),))


def _controller_manager(lab: Lab) -> Component:
    kubeconfig = pki.kubeconfig(lab, "controller-manager")
    return _component(
        lab,
        "kube-controller-manager",
        [
            str(program(lab.cache, "kubernetes", "kube-controller-manager")),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki.key(lab, 'service-accounts')}",
            f"--root-ca-file={pki.certificate(lab, 'ca')}",
            f"--cluster-signing-cert-file={pki.certificate(lab, 'ca')}",
            f"--cluster-signing-key-file={pki.key(lab, 'ca')}",
            f"--requestheader-client-ca-file={pki.certificate(lab, 'front-proxy-ca')}",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={POD_NETWORK}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ],
    )


def _scheduler(lab: Lab) -> Component:
    kubeconfig = pki.kubeconfig(lab, "scheduler")
    settings = lab.state / "scheduler.json"
    content = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 200, "burst": 400},
        "leaderElection": {"leaderElect": False},
    }
    return _component(
        lab,
        "kube-scheduler",
        [
            str(program(lab.cache, "kubernetes", "kube-scheduler")),
            f"--config={settings}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            "--profiling=false",
        ],
        ((settings, json.dumps(content, indent=1) + "\n"),),
    )
