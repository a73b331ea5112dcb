"""Whether the network enforces policies, shown on pods and policies of the verifier's own.

Two namespaces that nobody else uses, six probe pods, and four policies that select these pods of
this run only. It proves what the cluster's network does with policies, and nothing about whom the
user's policies keep apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_zerotrust.cluster.discovery import LiveWorkload
from pytest_zerotrust.core.intent import Flow, Port, Workload
from pytest_zerotrust.core.reachability import Expected
from pytest_zerotrust.fleet.fleet import Fleet
from pytest_zerotrust.fleet.manifests import policy
from pytest_zerotrust.fleet.run import LABEL_RUN, Run
from pytest_zerotrust.network.checks import Check, FlowCheck, Via

CONTROL = "ZT-NET-000"
LABEL = "zerotrust.dev/baseline"
PORT, OTHER_PORT = Port(8080), Port(8081)

# By name: the place of its namespace among the two, and its ports.
_PODS: Mapping[str, tuple[int, tuple[Port, ...]]] = {
    "server": (0, (PORT, OTHER_PORT)),
    "client": (0, (PORT,)),
    "stranger": (0, (PORT,)),
    "closed": (0, (PORT,)),
    "guest": (1, (PORT,)),
    "outsider": (1, (PORT,)),
}
_ALLOWED = (
    # By a rule with the caller's labels, by one with its namespace, and where nothing isolates.
    ("client", "server", PORT),
    ("guest", "server", PORT),
    ("client", "stranger", PORT),
)
_DENIED = (
    # Within a namespace, from another one, on another port, and by policies without any rule.
    ("stranger", "server", PORT),
    ("outsider", "server", PORT),
    ("client", "server", OTHER_PORT),
    ("client", "closed", PORT),
    ("closed", "stranger", PORT),
)


def checks() -> Iterator[FlowCheck]:
    """The flows of the baseline. Their ids are the same for every cluster."""
    for flows, expected in ((_ALLOWED, Expected.ALLOWED), (_DENIED, Expected.DENIED)):
        for source, target, port in flows:
            flow = Flow(_key(source), _key(target), port)
            yield FlowCheck(control=CONTROL, flow=flow, via=Via.POD_IP, expected=expected)


def workloads(namespaces: Sequence[str]) -> dict[str, Workload]:
    """The workloads that the probe pods stand for, in the two namespaces of our own."""
    return {
        _key(name): Workload(
            key=_key(name), namespace=namespaces[place], labels={LABEL: name}, ports=ports
        )
        for name, (place, ports) in _PODS.items()
    }


def live(namespaces: Sequence[str], nodes: Sequence[str]) -> dict[str, LiveWorkload]:
    """What discovery would tell of them. Spread over the ``nodes`` that are known, so that each
    of these gets canaries as well."""
    found = {}
    for index, (key, workload) in enumerate(workloads(namespaces).items()):
        turned = [*nodes[index % len(nodes) :], *nodes[: index % len(nodes)]] if nodes else []
        found[key] = LiveWorkload(
            key=key,
            labels=dict(workload.labels),
            service_account="default",
            annotations={},
            nodes=tuple(turned),
            port_names={},
            adopter="",
            service=None,
        )
    return found


def is_baseline(check: Check) -> bool:
    """True for a flow of the baseline."""
    return isinstance(check, FlowCheck) and check.control == CONTROL


def declare(fleet: Fleet, namespaces: Sequence[str]) -> None:
    """Make the policies. Raises ApiFailure or ApiUnreachable."""
    for name, spec in _policies(fleet.run, namespaces).items():
        body = policy(fleet.run.name("baseline", name), namespaces[0], fleet.run, spec)
        fleet.declare(body)


def _policies(run: Run, namespaces: Sequence[str]) -> dict[str, dict[str, Any]]:
    def pod(name: str) -> dict[str, Any]:
        return {"matchLabels": {LABEL_RUN: run.id, LABEL: name}}

    port = {"port": PORT.number, "protocol": PORT.protocol}
    there = {"matchLabels": {"kubernetes.io/metadata.name": namespaces[1]}}
    return {
        "server-isolated": {"podSelector": pod("server"), "policyTypes": ["Ingress"]},
        "server-from-client": {
            "podSelector": pod("server"),
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": pod("client")}], "ports": [port]}],
        },
        "server-from-guest": {
            "podSelector": pod("server"),
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"namespaceSelector": there, "podSelector": pod("guest")}],
                    "ports": [port],
                }
            ],
        },
        "closed": {"podSelector": pod("closed"), "policyTypes": ["Ingress", "Egress"]},
    }


def _key(name: str) -> str:
    return f"baseline-{name}"
