"""The pod network: Cilium, or plain point-to-point links on which no policy is enforced."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from . import cilium, kube, pki, processes, runtime
from .build import module_dir, program
from .processes import Component, Machine
from .settings import Lab, LabError, Node

DEBIAN_PLUGINS = Path("/usr/lib/cni")
# The custom resources that Cilium's agents wait for, by the names of the module's files.
CILIUM_KINDS = (
    "v2/ciliumcidrgroups",
    "v2/ciliumclusterwidenetworkpolicies",
    "v2/ciliumendpoints",
    "v2/ciliumidentities",
    "v2/ciliumloadbalancerippools",
    "v2/ciliumnetworkpolicies",
    "v2/ciliumnodeconfigs",
    "v2/ciliumnodes",
    "v2alpha1/ciliuml2announcementpolicies",
    "v2alpha1/ciliumpodippools",
)
CONFIGURATION = "05-lab.conflist"
# What istio-cni insists on finding in its folder.
ISTIO_KUBECONFIG = "istio-cni-kubeconfig"
ISTIO_RIGHTS = """apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istio-cni}
rules:
- {apiGroups: [""], resources: [pods, nodes, namespaces], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: istio-cni}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: istio-cni}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: istio-cni}
"""


def components(lab: Lab) -> list[Component]:
    """The programs of the pod network."""
    if lab.cni != "cilium":
        return []
    return [cilium.operator(lab), *_agents(lab)]


def prepare(lab: Lab) -> None:
    """Lay out plug-ins and settings; needs no cluster."""
    plugins = runtime.plugin_folder(lab)
    plugins.mkdir(parents=True, exist_ok=True)
    wanted = {path.name: path for path in DEBIAN_PLUGINS.iterdir()}
    if lab.cni == "cilium":
        wanted["cilium-cni"] = program(lab.cache, "cilium", "cilium-cni")
        cilium.prepare(lab)
    if lab.with_mesh:
        wanted["istio-cni"] = program(lab.cache, "istio", "istio-cni")
        folder = _istio_folder(lab)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pki.kubeconfig(lab, "istio-cni"), folder / ISTIO_KUBECONFIG)
    for name, path in wanted.items():
        link = plugins / name
        if not link.is_symlink() or link.readlink() != path:
            link.unlink(missing_ok=True)
            link.symlink_to(path)
    for node in lab.nodes:
        _prepare_node(lab, node)


def start(lab: Lab, machines: dict[str, Machine]) -> None:
    """Start the network's programs; the API server must be ready."""
    if lab.cni != "cilium":
        return
    cilium.start_operator(lab, machines[lab.control.name])
    for component in _agents(lab):
        processes.ensure(lab, machines[component.machine], component)


def install(lab: Lab) -> None:
    """Bring what the network needs into the cluster."""
    # What exists is left alone, for the reason that register_nodes gives.
    binding = ("get", "clusterrolebinding", "istio-cni", "--ignore-not-found", "-o", "name")
    if lab.with_mesh and not kube.kubectl(lab, *binding).stdout:
        kube.apply(lab, ISTIO_RIGHTS)
    # Cilium's operator would make them too, but one a second. Without an operator they let
    # Cilium's policies exist although nobody enforces them.
    present = kube.kubectl(lab, "get", "crd", "-o", "name").stdout
    missing = [kind for kind in CILIUM_KINDS if f"/{kind.split('/')[1]}." not in present]
    if missing:
        folder = module_dir("cilium") / "pkg/k8s/apis/cilium.io/client/crds"
        files = [f"--filename={folder / kind}.yaml" for kind in missing]
        kube.kubectl(lab, "apply", "--server-side", "--force-conflicts", *files)


def wait_ready(lab: Lab, timeout: float = 90) -> None:
    """Return when pods can be connected on every node, under policy if the mode has it."""
    if lab.cni != "cilium":
        return
    deadline = time.monotonic() + timeout
    for node in lab.nodes:
        while not (_configuration(lab, node).exists() and cilium.well(lab, node)):
            if time.monotonic() > deadline:
                log = lab.logs / f"cilium-agent-{node.name}.log"
                raise LabError(f"Cilium's agent on {node.name} is not ready; see {log}")
            time.sleep(0.2)


def nudge(lab: Lab) -> None:
    """Make containerd look again, since it can miss the file that an agent moved into place."""
    for node in lab.nodes:
        if _configuration(lab, node).exists():
            _configuration(lab, node).touch()


def _agents(lab: Lab) -> list[Component]:
    return [
        cilium.agent(lab, node, _configuration(lab, node), _chain_text(lab, node))
        for node in lab.nodes
    ]


def _configuration(lab: Lab, node: Node) -> Path:
    return runtime.network_folder(lab, node) / CONFIGURATION


def _istio_folder(lab: Lab) -> Path:
    return lab.state / "istio-cni"


def _prepare_node(lab: Lab, node: Node) -> None:
    place = _configuration(lab, node)
    place.parent.mkdir(parents=True, exist_ok=True)
    if lab.cni == "cilium":
        if not (lab.run / node.name / "cilium").exists():
            # From a life of the node before this one; the agent will write it when it is ready.
            place.unlink(missing_ok=True)
        return
    text = _chain_text(lab, node)
    if not place.exists() or place.read_text() != text:
        place.write_text(text)


def _chain_text(lab: Lab, node: Node) -> str:
    return json.dumps(_chain(lab, node), indent=1) + "\n"


def _chain(lab: Lab, node: Node) -> dict[str, object]:
    first: dict[str, object]
    if lab.cni == "cilium":
        first = {"type": "cilium-cni", "enable-debug": False, "log-file": "/run/cilium/cni.log"}
    else:
        first = {
            "type": "ptp",
            "mtu": 1500,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": node.pod_cidr}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    plugins = [first]
    if lab.with_mesh:
        plugins.append(
            {
                "type": "istio-cni",
                "plugin_log_level": "info",
                "cni_agent_run_dir": str(_istio_folder(lab)),
                "ambient_enabled": False,
                "exclude_namespaces": ["istio-system", "kube-system"],
                "pod_namespace": "istio-system",
            }
        )
    return {"cniVersion": "0.3.1", "name": lab.cni, "plugins": plugins}
