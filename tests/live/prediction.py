"""Random small policies on the lab: what is predicted for each flow must be what is observed.

Everything happens in two throw-away namespaces. A case is settled when prediction and observation
agree in two requests in a row; what never agrees is a mistake of the prediction (or of the CNI).
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.cluster.policies import PolicyReading
from pytest_zerotrust.core.intent import Port, ProbeIntent
from pytest_zerotrust.core.observation import Seen, read_flow
from pytest_zerotrust.core.policy import Dialect, Endpoint, Outcome, PolicySet, parse_policy
from pytest_zerotrust.fleet.fleet import Fleet, Member
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.run import new_run
from pytest_zerotrust.network.declared import endpoint_of
from tests.live.random_policies import Vocabulary, random_case

IMAGE = "registry.company.com/zerotrust/probe:1"
PORTS = (Port(8080), Port(8081), Port(8080, "UDP"))
# The same name for one number everywhere, and one name for different numbers.
NAMES = ({"zt-same": 8080, "zt-two": 8080}, {"zt-same": 8080, "zt-two": 8081}, {})
SETTLE = 20.0
TIMEOUT = 1.2

Flow = tuple[str, str, Port]


@dataclass
class Tally:
    """What a series of cases came to."""

    cases: int = 0
    policies: int = 0
    refused: int = 0
    flows: int = 0
    unknown: int = 0
    denied: int = 0
    seconds: float = 0.0
    mistakes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.policies} policies ({self.refused} refused by the API), "
            f"{self.flows} flows ({self.denied} denied, {self.unknown} not predicted), "
            f"{len(self.mistakes)} mistakes, {self.seconds:.0f} s"
        )


class Ground:
    """Two namespaces with three pods each."""

    def __init__(self, api: Api, mark: str) -> None:
        self.api = api
        self.mark = mark
        self.namespaces = {f"zt-predict-{mark}-a": {"team": "red"}, f"zt-predict-{mark}-b": {}}
        self.fleet = Fleet(
            api,
            new_run("prediction"),
            ProbeIntent(namespace=f"zt-predict-{mark}-own"),
            IMAGE,
            allowed_namespaces=list(self.namespaces),
            pod_security="restricted",
        )
        self.members: dict[str, Member] = {}
        self.endpoints: dict[str, Endpoint] = {}

    def build(self) -> None:
        """Create the namespaces and the pods, and wait for them."""
        for name, labels in self.namespaces.items():
            body = {"metadata": {"name": name, "labels": labels}}
            self.api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", **body})
        nodes = [n["metadata"]["name"] for n in self.api.get("/api/v1/nodes")["items"]]
        specs = [
            PodSpec(
                name=self.fleet.run.name("p", namespace, str(i)),
                namespace=namespace,
                role=Role.TWIN,
                subject=f"{namespace[-1]}{i}",
                labels={"app": "abc"[i], **({"tier": "gold"} if i == 1 else {})},
                ports=PORTS,
                port_names=NAMES[i],
                node=nodes[i % len(nodes)],
            )
            for namespace in self.namespaces
            for i in range(3)
        ]
        self.members = self.fleet.members(specs)
        bad = [m.problem for m in self.members.values() if not m.usable]
        assert not bad, bad
        read = {
            name: self.api.get(f"/api/v1/namespaces/{name}")["metadata"]["labels"]
            for name in self.namespaces
        }
        reading = PolicyReading(
            policies=(), namespace_labels=read, dialects=(Dialect.CILIUM,), gaps=()
        )
        self.endpoints = {n: endpoint_of(m, reading) for n, m in self.members.items()}

    @property
    def vocabulary(self) -> Vocabulary:
        """The names that random policies are made of."""
        return Vocabulary(
            mark=self.mark,
            namespaces=tuple(self.namespaces),
            addresses=tuple(e.ip for e in self.endpoints.values()),
        )

    def observe(self) -> dict[Flow, bool]:
        """Ask every pod for every other one at once: True if the right server answered."""
        asked: dict[str, list[Mapping[str, Any]]] = {}
        places: dict[str, list[tuple[Flow, str]]] = {}
        for source in self.members:
            for target, member in self.members.items():
                if source == target:
                    continue
                for port in PORTS:
                    nonce = secrets.token_hex(16)
                    assert member.state is not None
                    asked.setdefault(source, []).append({
                        "kind": port.protocol.lower(), "ip": member.state.ip,
                        "port": port.number, "timeout": TIMEOUT, "send": f"ZT1 {nonce}\n",
                        "until": "\n",
                    })  # fmt: skip
                    places.setdefault(source, []).append(((source, target, port), nonce))
        seen = {}
        for source, reply in self.fleet.ask_all(asked).items():
            assert not isinstance(reply, str), reply
            for (flow, nonce), raw in zip(places[source], reply["results"], strict=True):
                key = self.fleet.key_of(self.members[flow[1]].spec)
                observation = read_flow(raw, key=key, nonce=nonce)
                assert observation.seen in (Seen.OPEN, Seen.DROPPED, Seen.SILENT), observation
                seen[flow] = observation.seen is Seen.OPEN
        return seen

    def predict(self, policies: list[dict[str, Any]]) -> dict[Flow, Outcome]:
        """What the policies imply for the same flows."""
        named: dict[str, set[tuple[int, str]]] = {}
        for endpoint in self.endpoints.values():
            for name, port in endpoint.ports.items():
                named.setdefault(name, set()).add(port)
        rules = PolicySet(
            [parse_policy(policy) for policy in policies],
            dialect=Dialect.CILIUM,
            named_ports={name: frozenset(ports) for name, ports in named.items()},
        )
        return {
            (s, t, port): rules.decide(
                self.endpoints[s], self.endpoints[t], port.number, port.protocol
            ).outcome
            for s in self.endpoints
            for t in self.endpoints
            for port in PORTS
            if s != t
        }

    def apply(self, policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Create policies; return those that the API server took, as it stores them."""
        taken = []
        for policy in policies:
            response = self.api.request("POST", collection(policy), body=policy)
            if response.ok:
                taken.append({"kind": policy["kind"], **response.body})
            else:
                assert response.status == 422, (response.status, response.message, policy)
        return taken

    def clear(self, policies: list[dict[str, Any]]) -> None:
        """Delete policies."""
        for policy in policies:
            self.api.delete(f"{collection(policy)}/{policy['metadata']['name']}")

    def destroy(self) -> None:
        """Delete everything and wait until it is gone."""
        for name in self.namespaces:
            self.api.delete(f"/api/v1/namespaces/{name}")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            left = [self.api.request("GET", f"/api/v1/namespaces/{n}").ok for n in self.namespaces]
            if not any(left):
                return
            time.sleep(0.5)


def collection(policy: Mapping[str, Any]) -> str:
    """The path under which policies of this kind and namespace live."""
    plural = policy["kind"].lower().replace("policy", "policies")
    namespace = policy["metadata"].get("namespace")
    where = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{policy['apiVersion']}/{where}{plural}"


@contextlib.contextmanager
def ground(kubeconfig: str) -> Iterator[Ground]:
    """The ground to try policies on; it is gone afterwards."""
    options = ClusterOptions(kubeconfig=kubeconfig)
    found = Ground(Api(open_connection(options)), secrets.token_hex(3))
    try:
        found.build()
        yield found
    finally:
        found.destroy()


def run_case(found: Ground, seed: int, tally: Tally) -> None:
    """One random case: apply, settle, compare, take away."""
    case = random_case(random.Random(seed), found.vocabulary)
    taken = found.apply(case)
    tally.cases += 1
    tally.policies += len(case)
    tally.refused += len(case) - len(taken)
    try:
        predicted = found.predict(taken)
        deadline = time.monotonic() + SETTLE
        agreed = 0
        wrong: list[Flow] = []
        while agreed < 2:
            seen = found.observe()
            wrong = [
                flow
                for flow, outcome in predicted.items()
                if outcome is not Outcome.UNKNOWN and seen[flow] is not (outcome is Outcome.ALLOWED)
            ]
            agreed = 0 if wrong else agreed + 1
            if wrong and time.monotonic() > deadline:
                break
        tally.flows += len(predicted)
        tally.unknown += sum(o is Outcome.UNKNOWN for o in predicted.values())
        tally.denied += sum(o is Outcome.DENIED for o in predicted.values())
        if wrong:
            tally.mistakes.append(_mistake(found, seed, taken, predicted, wrong))
    finally:
        found.clear(taken)


def _mistake(
    found: Ground,
    seed: int,
    policies: list[dict[str, Any]],
    predicted: Mapping[Flow, Outcome],
    wrong: list[Flow],
) -> str:
    def name(pod: str) -> str:
        return found.members[pod].spec.subject

    flows = "\n".join(
        f"  {name(s)} -> {name(t)}:{port} predicted {predicted[(s, t, port)].value}"
        for s, t, port in wrong[:12]
    )
    shown = [{"kind": p["kind"], "namespace": p["metadata"].get("namespace"),
              "spec": p.get("spec"), "specs": p.get("specs"), "status": p.get("status")}
             for p in policies]  # fmt: skip
    return f"seed {seed}: {len(wrong)} flows differ\n{flows}\n{json.dumps(shown, indent=1)}"
