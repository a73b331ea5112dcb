"""An independent, slow reading of the lab's policies: what they imply for every check.

It knows just the vocabulary of the lab's own manifests and refuses anything else, so that it can
not be silently wrong. It shares no code with the product.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.live.support import HOLDS, INCONCLUSIVE, NOT_APPLICABLE, VIOLATED

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod, or with an address something that is none."""

    namespace: str
    labels: Mapping[str, str]
    meshed: bool = False
    address: str = ""

    def all_labels(self) -> dict[str, str]:
        return {**self.labels, "k8s:io.kubernetes.pod.namespace": self.namespace}


@dataclass(frozen=True)
class World:
    """The lab's workloads and flows, written down by hand."""

    pods: Mapping[str, Pod] = field(
        default_factory=lambda: {
            "api-gateway": Pod("production", {"app": "api-gateway"}, meshed=True),
            "payment-service": Pod("production", {"app": "payment-service"}, meshed=True),
            "database": Pod("production", {"app": "database"}, meshed=True),
            "api": Pod("production", {"app": "api"}, meshed=True),
            "batch": Pod("production", {"app": "batch"}, meshed=True),
            "frontend": Pod("staging", {"app": "frontend"}, meshed=True),
            "reports": Pod("staging", {"app": "reports"}),
            "web": Pod("legacy", {"app": "web"}),
            "greeter": Pod("legacy", {"app": "greeter"}),
            "mute": Pod("legacy", {"app": "mute"}),
        }
    )
    flows: tuple[tuple[str, str], ...] = (
        ("api-gateway", "payment-service"),
        ("payment-service", "database"),
        ("api", "database"),
        ("frontend", "reports"),
    )

    # By the name of the check: (address, port). The cluster's own are no part of any CIDR rule.
    outside: Mapping[str, tuple[str, int]] = field(
        default_factory=lambda: {
            "website:80/tcp": ("203.0.113.10", 80),
            "website-by-name:80/tcp": ("203.0.113.10", 80),
            "metadata:80/tcp": ("169.254.169.254", 80),
            "api-server:443/tcp": ("10.96.0.1", 443),
            "kubelet:10250/tcp": ("172.30.0.11", 10250),
            "etcd:2379/tcp": ("172.30.0.11", 2379),
        }
    )
    egress: tuple[tuple[str, str], ...] = (
        ("reports", "website:80/tcp"),
        ("reports", "website-by-name:80/tcp"),
    )

    def port(self, name: str) -> int:
        return {"database": 5432, "greeter": 2525, "mute": 9000}.get(name, 8080)

    def first_of_each_namespace(self) -> list[str]:
        first: dict[str, str] = {}
        for name, pod in self.pods.items():
            first.setdefault(pod.namespace, name)
        return list(first.values())


LISTS = ("containers", "initContainers", "ephemeralContainers")
PLACES = (*LISTS, "sidecars", "second-container")


def _in(case: str, places: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{case}-in-{place}" for place in places)


ADMISSION: Mapping[str, tuple[str, ...]] = {
    "ZT-ADM-001": (
        *_in("privileged", PLACES),
        *(
            f"privileged-in-containers-by-{way}"
            for way in [
                "generate-name",
                "apply",
                "deployment",
                "stateful-set",
                "daemon-set",
                "replica-set",
                "replication-controller",
                "job",
                "cron-job",
            ]
        ),
        *(
            f"privileged-with-label-of-{e}"
            for e in ("gatekeeper", "opa", "kyverno", "pod-security")
        ),
        "privileged-with-forged-owner",
    ),
    "ZT-ADM-002": (
        *_in("may-run-as-root", PLACES),
        "may-run-as-root-left-unsaid",
        "may-run-as-root-on-the-pod",
        *_in("user-0", LISTS),
        "user-0-on-the-pod",
    ),
    "ZT-ADM-003": (
        *_in("image-from-elsewhere", PLACES),
        *(
            f"image-{word}"
            for word in [
                "look-alike-suffix",
                "look-alike-glued",
                "look-alike-hyphen",
                "look-alike-prefix",
                "look-alike-subdomain",
                "look-alike-path",
                "look-alike-user",
                "look-alike-unicode",
                "other-port",
                "trailing-dot",
                "without-host",
                "without-host-but-path",
                "by-digest",
                "upper-case",
                "by-address",
                "by-address-and-port",
                "with-scheme",
                "as-volume",
            ]
        ),
        *_in("image-changed", LISTS[:2]),
    ),
}
RESTRICTED: tuple[str, ...] = (
    *("host-network", "host-pid", "host-ipc"),
    *(f"host-path-{w}" for w in ("root", "kubelet", "runtime-socket", "manifests", "proc")),
    *_in("host-port", LISTS[:2]),
    *_in("capability-sys-admin", LISTS),
    *(
        f"capability-{word}-in-containers"
        for word in ["all", "net-admin", "net-raw", "sys-ptrace", "sys-module", "bpf", "chown"]
    ),
    *_in("seccomp-unconfined", LISTS),
    *("seccomp-unconfined-on-the-pod", "seccomp-left-unsaid"),
    *("app-armor-unconfined-on-the-pod", "app-armor-unconfined-in-containers"),
    *(f"se-linux-{key}-on-the-pod" for key in ("type", "user", "role")),
    *("se-linux-type-in-containers", "unsafe-sysctl"),
    *(
        name
        for case in [
            "escalation-allowed",
            "escalation-left-unsaid",
            "nothing-dropped",
            "may-run-as-root",
            "user-0",
        ]
        for name in _in(case, LISTS)
    ),
    *("may-run-as-root-left-unsaid", "may-run-as-root-on-the-pod", "user-0-on-the-pod"),
    *("volume-nfs", "volume-flex", "volume-iscsi"),
)

DNS = Pod("kube-system", {"k8s-app": "kube-dns"})
ISTIOD = Pod("istio-system", {"app": "istiod"})


def _matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    selector = selector or {}
    assert set(selector) <= {"matchLabels"}, f"the oracle does not know {selector}"
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items())


def _port_matches(ports: Iterable[Mapping[str, Any]] | None, port: int, protocol: str) -> bool:
    if not ports:
        return True
    return any(
        str(p["port"]) == str(port) and p.get("protocol", "TCP") in (protocol, "ANY") for p in ports
    )


class Rules:
    """What a set of policies says about one direction of one pod's traffic."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._policies = list(policies)

    def allows(self, source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
        out = self._side("Egress", source, target, port, protocol)
        return out and (
            bool(target.address) or self._side("Ingress", target, source, port, protocol)
        )

    def _side(self, side: str, pod: Pod, peer: Pod, port: int, protocol: str) -> bool:
        selected = False
        for policy in self._policies:
            if policy["metadata"]["namespace"] != pod.namespace:
                continue
            read = self._kubernetes if policy["kind"] == "NetworkPolicy" else self._cilium
            denies, allows = read(policy, side, pod, peer, port, protocol)
            if allows:
                return True
            selected = selected or denies
        return not selected

    def _kubernetes(
        self, policy: Policy, side: str, pod: Pod, peer: Pod, port: int, protocol: str
    ) -> tuple[bool, bool]:
        spec = policy["spec"]
        if side not in spec["policyTypes"] or not _matches(spec.get("podSelector"), pod.labels):
            return False, False
        peers_key = "from" if side == "Ingress" else "to"
        for rule in spec.get(side.lower(), ()):
            assert set(rule) <= {peers_key, "ports"}, f"the oracle does not know {rule}"
            for selector in rule.get(peers_key, ()):
                if set(selector) == {"ipBlock"}:
                    assert set(selector["ipBlock"]) == {"cidr"}, f"unknown: {selector}"
                    inside = peer.address and ipaddress.ip_address(
                        peer.address
                    ) in ipaddress.ip_network(selector["ipBlock"]["cidr"])
                    if inside and _port_matches(rule.get("ports"), port, protocol):
                        return True, True
                    continue
                assert set(selector) == {"podSelector"}, f"the oracle does not know {selector}"
                if (
                    not peer.address
                    and peer.namespace == pod.namespace
                    and _matches(selector["podSelector"], peer.labels)
                    and _port_matches(rule.get("ports"), port, protocol)
                ):
                    return True, True
        return True, False

    def _cilium(
        self, policy: Policy, side: str, pod: Pod, peer: Pod, port: int, protocol: str
    ) -> tuple[bool, bool]:
        spec = policy["spec"]
        labels = dict(pod.labels)
        if pod.meshed:
            labels["security.istio.io/tlsMode"] = "istio"
        if not _matches(spec["endpointSelector"], labels):
            return False, False
        rules = spec.get(side.lower())
        denies = rules is not None and spec.get("enableDefaultDeny", {}).get(side.lower(), True)
        peers_key = "fromEndpoints" if side == "Ingress" else "toEndpoints"
        for rule in rules or ():
            assert set(rule) <= {peers_key, "toPorts"}, f"the oracle does not know {rule}"
            ports = [p for group in rule.get("toPorts", ()) for p in group["ports"]]
            for selector in rule.get(peers_key, ()):
                wanted = dict(selector.get("matchLabels", {}))
                # Without a namespace in the selector, Cilium means the policy's own.
                wanted.setdefault("k8s:io.kubernetes.pod.namespace", pod.namespace)
                if (
                    not peer.address
                    and _matches({"matchLabels": wanted}, peer.all_labels())
                    and _port_matches(ports, port, protocol)
                ):
                    return bool(denies), True
        return bool(denies), False


class Coverage:
    """Which policies select a pod of the lab, and which pods a policy isolates."""

    # Beside the workloads of the intent, two servers live in legacy.
    MORE = (Pod("legacy", {"app": "greeter"}), Pod("legacy", {"app": "mute"}))

    def __init__(self, world: World, policies: Iterable[Policy]) -> None:
        self._pods = (*world.pods.values(), *self.MORE)
        self._policies = list(policies)
        self._rules = Rules(())

    def verdicts(self, namespace: str) -> tuple[str, str]:
        policies = [p for p in self._policies if p["metadata"]["namespace"] == namespace]
        pods = [pod for pod in self._pods if pod.namespace == namespace]
        selected = [any(self._selects(policy, pod) for pod in pods) for policy in policies]
        covered = [any(self._isolates(policy, pod) for policy in policies) for pod in pods]
        select = VIOLATED if not all(selected) else HOLDS if selected else NOT_APPLICABLE
        return select, HOLDS if all(covered) else VIOLATED

    def _selects(self, policy: Policy, pod: Pod) -> bool:
        kubernetes = policy["kind"] == "NetworkPolicy"
        selector = policy["spec"]["podSelector" if kubernetes else "endpointSelector"]
        mesh = {"security.istio.io/tlsMode": "istio"} if pod.meshed else {}
        return _matches(selector, {**pod.labels, **mesh})

    def _isolates(self, policy: Policy, pod: Pod) -> bool:
        read = self._rules._kubernetes if policy["kind"] == "NetworkPolicy" else self._rules._cilium
        nobody = Pod("nowhere", {})
        return any(read(policy, side, pod, nobody, 1, "TCP")[0] for side in ("Ingress", "Egress"))


@dataclass(frozen=True)
class Controls:
    """All that decides in the lab. ``mesh`` is the mode of mutual TLS, ``modes`` the modes of
    whole workloads that differ, ``port_modes`` those of their declared ports alone. ``plain_to``
    are workloads that callers inside the mesh are told to call in plaintext."""

    network: tuple[Policy, ...]
    mesh: str = "STRICT"
    modes: Mapping[str, str] = field(default_factory=dict)
    port_modes: Mapping[str, str] = field(default_factory=dict)
    plain_to: frozenset[str] = frozenset()
    authorization: tuple[Policy, ...] = ()
    admission: bool = True

    def mode(self, workload: str) -> str:
        """The mode of a workload's ports that nothing says more about."""
        return self.modes.get(workload, self.mesh)

    def port_mode(self, workload: str) -> str:
        """The mode of a workload's declared port."""
        return self.port_modes.get(workload, self.mode(workload))


def _answers(controls: Controls, world: World, account: str, target: str) -> bool:
    """Whether a target answers a caller inside the mesh with this service account."""
    pod = world.pods[target]
    if not pod.meshed:
        return True
    mode = controls.port_mode(target)
    plain = target in controls.plain_to or mode == "DISABLE"
    if plain and mode == "STRICT":
        return False
    principal = "" if plain else f"cluster.local/ns/{pod.namespace}/sa/{account}"
    return _authorized(controls.authorization, pod, principal, world.port(target))


def _authorized(policies: Iterable[Policy], pod: Pod, principal: str, port: int) -> bool:
    """What AuthorizationPolicies say, all of which allow; '' is a caller without identity."""
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and _matches(policy["spec"].get("selector"), pod.labels)
    ]
    for policy in selecting:
        spec = policy["spec"]
        assert set(spec) <= {"selector", "action", "rules"}, f"the oracle does not know {spec}"
        assert spec.get("action", "ALLOW") == "ALLOW", f"the oracle does not know {spec}"
        for rule in spec.get("rules", ()):
            (source,), (operation,) = rule["from"], rule["to"]
            names = source["source"]["principals"]
            known = principal in names or ("*" in names and principal)
            if known and str(port) in operation["operation"]["ports"]:
                return True
    return not selecting


def _mesh_of(controls: Controls, world: World, name: str) -> dict[str, str]:
    """The verdicts on one meshed workload that is attacked from outside."""
    mode, pod, port = controls.port_mode(name), world.pods[name], world.port(name)
    attacked = HOLDS if mode == "STRICT" else VIOLATED
    speaks_http = port == 8080
    if mode == "DISABLE" and not speaks_http:
        # Its proxy cuts the attacker off for want of an identity, as for an application that is
        # down; one that speaks HTTP says so in plaintext.
        anonymous = _authorized(controls.authorization, pod, "", port)
        attacked = VIOLATED if anonymous else INCONCLUSIVE
    verdicts = {
        f"{control}-{name}:{port}/tcp": attacked
        for control in ("ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004")
    }
    # A permissive proxy still shows its certificate; one that is switched off has none.
    shown = INCONCLUSIVE if mode == "DISABLE" else HOLDS
    verdicts[f"ZT-MSH-007-{name}:{port}/tcp"] = shown
    # Every pod of the lab has a proxy, so a port does what is declared, if what it does is seen.
    unseen = attacked == INCONCLUSIVE
    verdicts[f"ZT-MSH-009-{name}:{port}/tcp"] = INCONCLUSIVE if unseen else HOLDS
    verdicts[f"ZT-MSH-005-{name}"] = HOLDS if controls.mode(name) == "STRICT" else VIOLATED
    verdicts[f"ZT-MSH-006-{name}"] = HOLDS
    return verdicts


def predict(controls: Controls) -> dict[str, str]:
    """The verdict of every check of the shipped suite, under these controls."""
    world, rules = World(), Rules(controls.network)
    verdicts = {"ZT-NET-000-canaries": HOLDS}

    def plain(name: str) -> Pod:
        pod = world.pods[name]
        return Pod(pod.namespace, pod.labels)

    def open_(source: str, target: str) -> bool:
        return rules.allows(plain(source), plain(target), world.port(target))

    def resolves(pod: Pod) -> bool:
        return all(rules.allows(pod, DNS, 53, protocol) for protocol in ("UDP", "TCP"))

    def resolves_somehow(pod: Pod) -> bool:
        return any(rules.allows(pod, DNS, 53, protocol) for protocol in ("UDP", "TCP"))

    for namespace in {pod.namespace for pod in world.pods.values()}:
        verdicts[f"ZT-NET-008-{namespace}"] = HOLDS
    for source in world.pods:
        verdicts[f"ZT-NET-009-{source}"] = HOLDS
        # No Service of the lab has a node port.
        verdicts[f"ZT-NET-012-{source}-node-port"] = NOT_APPLICABLE
        verdicts[f"ZT-NET-004-{source}"] = HOLDS if resolves(plain(source)) else VIOLATED
        for target in world.pods:
            if source == target:
                continue
            is_open = open_(source, target)
            allowed = (source, target) in world.flows
            across = world.pods[source].namespace != world.pods[target].namespace
            control = "ZT-NET-003" if allowed else "ZT-NET-001" if across else "ZT-NET-002"
            for via in ("pod-ip", "service-ip"):
                name = f"{control}-{source}->{target}:{world.port(target)}/tcp-{via}"
                verdicts[name] = HOLDS if is_open is allowed else VIOLATED
            if allowed:
                name = f"{control}-{source}->{target}:{world.port(target)}/tcp-dns-name"
                named = HOLDS if is_open else VIOLATED
                # The agent asks over TCP where UDP fails.
                verdicts[name] = named if resolves_somehow(plain(source)) else INCONCLUSIVE
            beside = ((world.port(target), "UDP"), (world.port(target) + 1, "TCP"))
            leaks = [rules.allows(plain(source), plain(target), *port) for port in beside]
            verdicts[f"ZT-NET-010-{source}->{target}"] = VIOLATED if any(leaks) else HOLDS
    for source in world.first_of_each_namespace():
        reached = [
            open_(source, target)
            for target in world.pods
            if target != source and (source, target) not in world.flows
        ]
        verdicts[f"ZT-NET-011-{source}"] = VIOLATED if any(reached) else HOLDS
    for source in world.pods:
        for name, (address, port) in world.outside.items():
            is_open = rules.allows(plain(source), Pod("", {}, address=address), port)
            allowed = (source, name) in world.egress
            verdict = HOLDS if is_open is allowed else VIOLATED
            if "by-name" in name and not resolves_somehow(plain(source)):
                verdict = INCONCLUSIVE
            control = "ZT-NET-007" if allowed else "ZT-NET-006"
            verdicts[f"{control}-{source}->{name}"] = verdict
    coverage = Coverage(world, controls.network)
    for namespace in {pod.namespace: None for pod in world.pods.values()}:
        select, cover = coverage.verdicts(namespace)
        verdicts[f"ZT-NET-005-policies-select-pods-{namespace}"] = select
        verdicts[f"ZT-NET-005-pods-have-policies-{namespace}"] = cover
    for name, pod in world.pods.items():
        if pod.meshed:
            verdicts |= _mesh_of(controls, world, name)
    for source, target in world.flows:
        pod = world.pods[source]
        starts = resolves(pod) and rules.allows(pod, ISTIOD, 15012)
        there = starts and open_(source, target)
        flow = f"{source}->{target}:{world.port(target)}/tcp"
        fine = there and _answers(controls, world, source, target)
        refused = VIOLATED if there else INCONCLUSIVE
        verdicts[f"ZT-MSH-003-{flow}"] = HOLDS if fine else refused
        if world.pods[target].meshed:
            fooled = there and _answers(controls, world, "default", target)
            shown = HOLDS if fine else INCONCLUSIVE
            verdicts[f"ZT-MSH-008-{flow}"] = VIOLATED if fooled else shown
        if target == "payment-service":
            # It answers with the headers of the request, and is told nobody over plaintext.
            plain_call = target in controls.plain_to or controls.port_mode(target) == "DISABLE"
            told = fine and not plain_call
            verdicts[f"ZT-MSH-010-{flow}"] = HOLDS if told else INCONCLUSIVE
    # The lab's intent demands no encryption between nodes.
    verdicts |= {f"ZT-ENC-00{n}-not-declared": NOT_APPLICABLE for n in (1, 2)}
    for control, cases in ADMISSION.items():
        for case in cases:
            for namespace in ("production", "staging"):
                name = f"{control}-{case}-{namespace}"
                verdicts[name] = HOLDS if controls.admission else VIOLATED
    # Pod Security enforces it in legacy, whatever becomes of the engine.
    verdicts |= {f"ZT-ADM-004-{case}-legacy": HOLDS for case in RESTRICTED}
    for namespace in ("production", "staging"):
        # Where nothing rejects a pod, nobody can be asked whether it fails closed.
        closed = HOLDS if controls.admission else INCONCLUSIVE
        verdicts[f"ZT-ADM-005-fails-closed-{namespace}"] = closed
        verdicts[f"ZT-ADM-006-administrators-{namespace}"] = closed
    verdicts["ZT-ADM-006-administrators-legacy"] = HOLDS
    return verdicts
