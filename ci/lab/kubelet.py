"""The kubelet and kube-proxy of a node."""

from __future__ import annotations

import json
from pathlib import Path

from . import nodes, pki, processes, runtime
from .build import program
from .processes import Component, Machine
from .settings import CLUSTER_DOMAIN, DNS_ADDRESS, POD_NETWORK, Lab, Node


def components(lab: Lab, node: Node) -> list[Component]:
    """What must run on the node beside containerd and the network's programs."""
    return [_kubelet(lab, node), _proxy(lab, node)]


def start(lab: Lab, node: Node, machine: Machine) -> bool:
    """Start the kubelet unless it runs; says whether it was started.

    The API server must be ready, for the kubelet is not quick to ask again.
    """
    return processes.ensure(lab, machine, _kubelet(lab, node))


def start_proxy(lab: Lab, node: Node, machine: Machine) -> None:
    """Start kube-proxy unless it runs; the API server must be ready here too."""
    processes.ensure(lab, machine, _proxy(lab, node))


def _kubelet(lab: Lab, node: Node) -> Component:
    place = nodes.folder(lab, node.name)
    resolver = place / "resolv.conf"
    settings = place / "kubelet.json"
    return Component(
        f"kubelet-{node.name}",
        node.name,
        (
            str(program(lab.cache, "kubernetes", "kubelet")),
            f"--config={settings}",
            f"--kubeconfig={pki.kubeconfig(lab, f'kubelet-{node.name}')}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
        ),
        files=(
            # Names of the world outside cannot be resolved here.
            (resolver, "# no name server\n"),
            (settings, _text(_kubelet_settings(lab, node, resolver))),
        ),
    )


def _kubelet_settings(lab: Lab, node: Node, resolver: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{runtime.SOCKET}",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.certificate(lab, "ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate(lab, f"kubelet-server-{node.name}")),
        "tlsPrivateKeyFile": str(pki.key(lab, f"kubelet-server-{node.name}")),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(resolver),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "failSwapOn": False,
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        # Lets the kubelet live with a kernel whose settings it may not alter.
        "featureGates": {"KubeletInUserNamespace": True},
        "localStorageCapacityIsolation": False,
        "serializeImagePulls": False,
        # The images cannot be fetched again, and a full disk is no reason to end pods here.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
        },
        "maxPods": 200,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
    }


def _proxy(lab: Lab, node: Node) -> Component:
    settings = nodes.folder(lab, node.name) / "kube-proxy.json"
    content = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {
            "kubeconfig": str(pki.kubeconfig(lab, "proxy")),
            "qps": 200,
            "burst": 400,
        },
        "mode": "iptables",
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": node.name,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "iptables": {"minSyncPeriod": "200ms"},
        # The whole machine's limits are not this lab's to set.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
    return Component(
        f"kube-proxy-{node.name}",
        node.name,
        (str(program(lab.cache, "kubernetes", "kube-proxy")), f"--config={settings}"),
        files=((settings, _text(content)),),
    )


def _text(content: object) -> str:
    return json.dumps(content, indent=1) + "\n"
