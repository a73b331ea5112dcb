"""The engines of all layers over one connection, made at first use in each process."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_zerotrust.admission.engine import AdmissionEngine
from pytest_zerotrust.checks import Check, NothingToCheck
from pytest_zerotrust.cluster import hubble
from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.connection import open_connection
from pytest_zerotrust.cluster.encryption import configured
from pytest_zerotrust.cluster.nodeports import read_doors
from pytest_zerotrust.cluster.nodes import node_addresses, usable_nodes
from pytest_zerotrust.cluster.policies import read_policies
from pytest_zerotrust.cluster.servers import ServerReader
from pytest_zerotrust.core.intent import AdmissionIntent
from pytest_zerotrust.errors import Inconclusive
from pytest_zerotrust.fleet.fleet import Fleet
from pytest_zerotrust.fleet.manifests import own_pod_security
from pytest_zerotrust.mesh.checks import CallCheck
from pytest_zerotrust.mesh.engine import MeshEngine
from pytest_zerotrust.mesh.wire import WireEngine
from pytest_zerotrust.network import baseline
from pytest_zerotrust.network.checks import Via, flow_check
from pytest_zerotrust.network.coverage import CoverageCheck
from pytest_zerotrust.network.engine import NetworkEngine
from pytest_zerotrust.network.inventory import AlikeCheck, NamedCheck
from pytest_zerotrust.network.refusers import nobody_watches
from pytest_zerotrust.preflight import image_of

if TYPE_CHECKING:
    from pytest_zerotrust.session import ZeroTrustSession


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What the fixtures ask."""

    api: Api
    fleet: Fleet
    network: NetworkEngine
    mesh: MeshEngine
    wire: WireEngine
    admission: AdmissionEngine

    def have_seen(self, check: Check) -> bool:
        """True if a check can be judged without asking a probe pod or sending a dry run."""
        if isinstance(check, CallCheck):
            # A call that fails is judged by what the network does with the same flow.
            flow = flow_check(self.mesh.intent, check.flow, Via.POD_IP)
            return self.mesh.has_seen(check) and self.network.has_seen(flow)
        reads = isinstance(check, (NothingToCheck, CoverageCheck, AlikeCheck, NamedCheck))
        return reads or self.network.has_seen(check) or self.mesh.has_seen(check)


def connect(session: ZeroTrustSession) -> Engines:
    """Open a connection of this process. Raises Inconclusive if the run has no cluster."""
    settings, intent, run = session.settings, session.intent, session.run
    if settings.cluster is None or run is None:
        raise Inconclusive(
            "no cluster was named for this run: give --kubeconfig FILE. Where that option belongs "
            "to the project itself, pytest-xdist also needs --zt-intent FILE or --zt-conformance"
        )
    api = Api(open_connection(settings.cluster), user_agent=f"pytest-zerotrust/{run.id}")
    fleet = Fleet(
        api,
        run,
        intent.probe,
        image_of(settings, intent),
        allowed_namespaces=(*intent.namespaces, *settings.namespaces),
        pod_security=own_pod_security(intent),
        also_own=intent.baseline_namespaces,
    )
    workloads, live = dict(intent.workloads), dict(session.live)
    if intent.baseline:
        ours = intent.baseline_namespaces
        workloads |= baseline.workloads(ours)
        live |= baseline.live(ours, usable_nodes(api))
    mesh = MeshEngine(fleet, intent, live)
    return Engines(
        api=api,
        fleet=fleet,
        network=NetworkEngine(
            fleet,
            workloads,
            live,
            functools.partial(read_policies, api),
            ServerReader(api),
            functools.partial(read_doors, api),
            intent.probe.host_network,
            intent.baseline_namespaces,
            functools.partial(node_addresses, api),
            functools.partial(hubble.HubbleWatch, settings.hubble)
            if settings.hubble
            else nobody_watches,
        ),
        mesh=mesh,
        wire=WireEngine(
            mesh, functools.partial(usable_nodes, api), functools.partial(configured, api)
        ),
        admission=AdmissionEngine(api, run, intent.admission or AdmissionIntent()),
    )
