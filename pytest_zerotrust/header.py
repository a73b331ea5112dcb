"""What is shown before the first object is made."""

from __future__ import annotations

from pytest_zerotrust.cluster.access import Identity
from pytest_zerotrust.core.intent import Intent
from pytest_zerotrust.core.printable import printable
from pytest_zerotrust.fleet.run import Run
from pytest_zerotrust.network.baseline import workloads
from pytest_zerotrust.settings import Settings


def header_lines(settings: Settings, intent: Intent, identity: Identity, run: Run) -> list[str]:
    """Cluster, user, run id; namespaces, image and number of the probe pods."""
    image = settings.probe_image or intent.probe.image or "none"
    twins = len(intent.workloads)
    where = ", ".join(dict.fromkeys((*intent.namespaces, *settings.namespaces)))
    callers = {f.source for f in intent.flows if intent.workloads[f.source].meshed}
    meshed = len(callers) if intent.mesh is not None else 0
    vantage = intent.mesh is not None and intent.mesh.node_vantage
    node = 3 if vantage or intent.probe.host_network else 2
    lines = [
        f"zerotrust: run {run.id}, server {identity.server}, Kubernetes {identity.server_version}",
        f"zerotrust: context {identity.context} ({settings.cluster_source}), "
        f"user {identity.username}",
        f"zerotrust: intent {intent.source}",
        f"zerotrust: probe pods: {twins + meshed} in {where or 'no namespace of yours'}, {node} "
        f"for each node they land on in {intent.probe.namespace}; at most "
        f"{intent.probe.max_pods}; image {image}",
    ]
    if intent.encryption is not None and intent.probe.capture:
        lines.append(
            f"zerotrust: the wire: on each node one more pod that talks and one that sees what "
            f"leaves the node (network of the node, root, NET_RAW), in {intent.probe.namespace}"
        )
    if intent.admission is not None:
        places = dict.fromkeys((*intent.admission.namespaces, *intent.admission.pod_security))
        lines.append(
            f"zerotrust: admission: dry runs in {', '.join(places)}; for changes of pods one gated "
            f"pod that never runs in each"
        )
    if intent.baseline:
        lines.append(
            f"zerotrust: baseline: {len(list(workloads(intent.baseline_namespaces)))} probe pods "
            f"and policies for them in {' and '.join(intent.baseline_namespaces)}, namespaces of "
            f"the verifier's own"
        )
    if not intent.workloads:
        lines.append(
            "zerotrust: the intent names no workloads: whether yours are isolated stays unproven"
        )
    # The names of a kubeconfig, and what the server says of itself and of us, may be anything.
    return list(map(printable, lines))
