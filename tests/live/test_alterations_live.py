"""Against tuning: one policy of ``hardened`` is dropped or altered at random, and exactly the
checks that depend on it must change. ``ZT_SEED`` repeats a choice, ``ZT_ALTERATIONS`` makes more,
``ZT_ALTERED`` (a regular expression) chooses by title.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.live.oracle import Controls, World, predict
from tests.live.support import Cluster, differences, exit_status, holding, run_suite

pytestmark = pytest.mark.live

KINDS = (
    "networkpolicies.networking.k8s.io",
    "ciliumnetworkpolicies.cilium.io",
    "peerauthentications.security.istio.io",
    "authorizationpolicies.security.istio.io",
    "k8srestrictedcontainers.constraints.gatekeeper.sh",
)
OURS = "lab.zerotrust.dev/scenario=hardened"


@dataclass(frozen=True)
class Alteration:
    """One policy, what becomes of it (None: it is dropped), and what decides from then on.
    ``before`` is None for one that is added."""

    title: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    controls: Controls


def _network_alterations(controls: Controls) -> Iterator[Alteration]:
    for policy in controls.network:
        name = f"{policy['kind']} {policy['metadata']['namespace']}/{policy['metadata']['name']}"
        rest = tuple(p for p in controls.network if p is not policy)
        yield Alteration(f"drop {name}", dict(policy), None, replace(controls, network=rest))
        moved = copy.deepcopy(dict(policy))
        if _move_ports(moved["spec"]):
            altered = replace(controls, network=(*rest, moved))
            yield Alteration(f"another port in {name}", dict(policy), moved, altered)
        if moved["spec"].get("podSelector") == {}:
            narrowed = copy.deepcopy(dict(policy))
            narrowed["spec"]["podSelector"] = {"matchLabels": {"app": "nobody"}}
            altered = replace(controls, network=(*rest, narrowed))
            yield Alteration(f"{name} selects nobody", dict(policy), narrowed, altered)


def _move_ports(spec: dict[str, Any]) -> bool:
    """Point every rule of a policy at a port that nobody uses."""
    moved = False
    for side in ("ingress", "egress"):
        for rule in spec.get(side, ()):
            groups = [rule] if "ports" in rule else rule.get("toPorts", [])
            for group in groups:
                for port in group["ports"]:
                    port["port"] = "9" if isinstance(port["port"], str) else 9
                    moved = True
    return moved


def _other_alterations(items: list[dict[str, Any]], controls: Controls) -> Iterator[Alteration]:
    for item in items:
        name = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] == "PeerAuthentication":
            yield Alteration(f"drop {name}", item, None, replace(controls, mesh="PERMISSIVE"))
            for mode in ("PERMISSIVE", "DISABLE"):
                altered = copy.deepcopy(item)
                altered["spec"]["mtls"]["mode"] = mode
                weak = replace(controls, mesh=mode)
                yield Alteration(f"{mode} in {name}", item, altered, weak)
        elif item["kind"] == "AuthorizationPolicy":
            name = f"{item['kind']} {item['metadata']['namespace']}/{item['metadata']['name']}"
            rest = tuple(p for p in controls.authorization if p is not item)
            yield Alteration(f"drop {name}", item, None, replace(controls, authorization=rest))
            if item["spec"].get("rules"):
                altered = copy.deepcopy(item)
                altered["spec"]["rules"][0]["from"] = [{"source": {"principals": ["*"]}}]
                weak = replace(controls, authorization=(*rest, altered))
                yield Alteration(f"any identity in {name}", item, altered, weak)
        elif item["kind"] == "K8sRestrictedContainers":
            weak = replace(controls, admission=False)
            yield Alteration(f"drop {name}", item, None, weak)
            for action in ("dryrun", "warn"):
                altered = copy.deepcopy(item)
                altered["spec"]["enforcementAction"] = action
                yield Alteration(f"{action} in {name}", item, altered, weak)


def alterations(lab: Cluster) -> list[Alteration]:
    items = [item for kind in KINDS for item in lab.items(kind, "-A", "-l", OURS)]
    for item in items:
        item["metadata"] = {
            key: item["metadata"][key]
            for key in ("name", "namespace", "labels")
            if key in item["metadata"]
        }
        item.pop("status", None)
    network = tuple(item for item in items if item["kind"].endswith("NetworkPolicy"))
    authorization = tuple(item for item in items if item["kind"] == "AuthorizationPolicy")
    controls = Controls(network=network, authorization=authorization)
    others = [item for item in items if item not in network]
    return [
        *_network_alterations(controls),
        *_other_alterations(others, controls),
        *_mesh_additions(controls),
    ]


def _mesh_additions(controls: Controls) -> Iterator[Alteration]:
    """A policy of a namespace, a workload or a port that overrides the mesh's own, and a caller
    that is told to speak plaintext."""
    world = World()
    for mode in ("PERMISSIVE", "DISABLE"):
        mtls = {"mtls": {"mode": mode}}
        for namespace in ("production", "staging"):
            names = [n for n, pod in world.pods.items() if pod.namespace == namespace]
            weak = replace(controls, modes=dict.fromkeys(names, mode))
            policy = _security(namespace, "default", mtls)
            yield Alteration(f"{mode} in {namespace}", None, policy, weak)
        for name, pod in world.pods.items():
            if not pod.meshed:
                continue
            chosen = {"selector": {"matchLabels": dict(pod.labels)}}
            weak = replace(controls, modes={name: mode})
            policy = _security(pod.namespace, "hole", {**chosen, **mtls})
            yield Alteration(f"{mode} in {name}", None, policy, weak)
            port = {
                "mtls": {"mode": "STRICT"},
                "portLevelMtls": {str(world.port(name)): {"mode": mode}},
            }
            weak = replace(controls, port_modes={name: mode})
            policy = _security(pod.namespace, "hole", {**chosen, **port})
            yield Alteration(f"{mode} at the port of {name}", None, policy, weak)
    for name in ("payment-service", "database"):
        rule = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "plain", "namespace": "production"},
            "spec": {
                "host": f"{name}.production.svc.cluster.local",
                "trafficPolicy": {"tls": {"mode": "DISABLE"}},
            },
        }
        told = replace(controls, plain_to=frozenset({name}))
        yield Alteration(f"callers of {name} speak plaintext", None, rule, told)


def _security(namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def apply(lab: Cluster, alteration: Alteration) -> None:
    before, after = alteration.before, alteration.after
    if before is None:
        lab.kubectl("create", "-f", "-", stdin=json.dumps(after))
    elif after is None:
        meta = before["metadata"]
        where = ["-n", meta["namespace"]] if "namespace" in meta else []
        kind = f"{before['kind']}.{before['apiVersion'].partition('/')[0]}"
        lab.kubectl("delete", kind, meta["name"], *where)
    else:
        lab.kubectl("replace", "-f", "-", stdin=json.dumps(after))


def test_exactly_the_checks_that_depend_on_an_altered_policy_change(
    scenario, lab: Cluster, tmp_path: Path
):
    seed = int(os.environ.get("ZT_SEED", time.time_ns() % 1_000_000))
    rounds = int(os.environ.get("ZT_ALTERATIONS", "1"))
    print(f"ZT_SEED={seed}")
    scenario("hardened")
    choices = alterations(lab)
    assert len(choices) > 60
    chosen = os.environ.get("ZT_ALTERED", "")
    choices = [choice for choice in choices if re.search(chosen, choice.title)]
    rounds = min(rounds, len(choices))
    for number, alteration in enumerate(random.Random(seed).sample(choices, rounds)):
        print(f"alteration: {alteration.title}")
        scenario("hardened")
        apply(lab, alteration)
        expected = predict(alteration.controls)
        run = run_suite(tmp_path / str(number))
        assert differences(expected, run.verdicts) == [], (
            f"ZT_SEED={seed}, {alteration.title}:\n{run.output}"
        )
        # Some alterations change nothing: another policy still denies the same.
        assert run.status == exit_status(expected), run.output
    scenario("hardened")


def test_the_oracle_expects_hardened_to_hold(scenario, lab: Cluster):
    scenario("hardened")
    (choice, *_) = alterations(lab)
    whole = replace(choice.controls, network=(*choice.controls.network, choice.before))
    assert choice.after is None
    expected = predict(whole)
    assert expected == holding(expected)
