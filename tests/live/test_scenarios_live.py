"""The three scenarios of the lab: what holds, what is violated, and how the run ends.

``ZT_HARDENED`` is how often the scenario ``hardened`` is verified; ``ci/soak-hardened`` sets it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.live.oracle import Controls, World, predict
from tests.live.support import (
    DENY_NETWORK,
    HOLDS,
    INCONCLUSIVE,
    NOT_APPLICABLE,
    VIOLATED,
    Cluster,
    differences,
    holding,
    run_suite,
)

pytestmark = pytest.mark.live

ALL = tuple(predict(Controls(network=())))
DENY = (*DENY_NETWORK, "ZT-MSH-001", "ZT-MSH-002", "ZT-MSH-004", "ZT-MSH-005", "ZT-MSH-008")
ADMISSION = ("ZT-ADM-001", "ZT-ADM-002", "ZT-ADM-003", "ZT-ADM-004")


def without_policies(namespace: str) -> dict[str, str]:
    """What ZT-NET-005 says of a namespace in which there are none."""
    return {
        f"ZT-NET-005-policies-select-pods-{namespace}": NOT_APPLICABLE,
        f"ZT-NET-005-pods-have-policies-{namespace}": VIOLATED,
    }


def test_hardened_is_green_again_and_again_and_with_two_workers(scenario, tmp_path: Path):
    scenario("hardened")
    first = None
    times = int(os.environ.get("ZT_HARDENED", "1"))
    for number, arguments in enumerate((*([()] * times), ("-n", "2"))):
        run = run_suite(tmp_path / str(number), *arguments)
        assert run.status == 0, run.output
        assert differences(holding(ALL), run.verdicts) == [], run.output
        assert "level 3 holds" in run.output
        first = first or run
        assert set(run.verdicts) == set(first.verdicts)


def test_open_violates_every_deny_control_and_says_who_reached_whom(scenario, tmp_path: Path):
    scenario("open")
    run = run_suite(tmp_path)
    assert run.status == 1, run.output
    expected = holding(ALL)
    expected |= dict.fromkeys(run.of(*DENY, *ADMISSION), VIOLATED)
    for namespace in ("production", "staging", "legacy"):
        expected |= without_policies(namespace)
    # Where nothing rejects a pod, nobody can be asked whether it fails closed.
    expected |= dict.fromkeys(run.of("ZT-ADM-005", "ZT-ADM-006"), INCONCLUSIVE)
    assert differences(expected, run.verdicts) == []
    assert "no level holds" in run.output
    assert (
        "production/batch -> production/database:5432/tcp by pod IP REACHED, expected DENIED"
        in run.output
    )


def test_reference_cuts_what_must_work_and_lets_init_containers_pass(scenario, tmp_path: Path):
    scenario("reference")
    run = run_suite(tmp_path)
    assert run.status == 1, run.output
    world = World()
    production = {name for name, pod in world.pods.items() if pod.namespace == "production"}
    expected = holding(ALL)
    # The default deny of production cuts DNS and, with the missing halves, every allowed path.
    expected |= {f"ZT-NET-004-{name}": VIOLATED for name in production}
    for source, target in world.flows:
        if source in production:
            flow = f"{source}->{target}:{world.port(target)}/tcp"
            expected |= {f"ZT-NET-003-{flow}-{via}": VIOLATED for via in ("pod-ip", "service-ip")}
            # Without DNS nothing can be said about the way by name.
            expected[f"ZT-NET-003-{flow}-dns-name"] = INCONCLUSIVE
            expected[f"ZT-MSH-003-{flow}"] = INCONCLUSIVE
            expected[f"ZT-MSH-008-{flow}"] = INCONCLUSIVE
            if target == "payment-service":
                expected[f"ZT-MSH-010-{flow}"] = INCONCLUSIVE
    expected |= {f"ZT-NET-006-{name}->website-by-name:80/tcp": INCONCLUSIVE for name in production}
    # Nothing isolates staging and legacy.
    for source in world.pods:
        for target, pod in world.pods.items():
            if pod.namespace == "production" or source in production or source == target:
                continue
            expected[f"ZT-NET-010-{source}->{target}"] = VIOLATED
            if (source, target) in world.flows:
                continue
            across = world.pods[source].namespace != pod.namespace
            control = "ZT-NET-001" if across else "ZT-NET-002"
            for via in ("pod-ip", "service-ip"):
                expected[f"{control}-{source}->{target}:{world.port(target)}/tcp-{via}"] = VIOLATED
    expected |= {
        name: VIOLATED
        for name in run.of("ZT-NET-006", "ZT-NET-011")
        if run.results[name]["subject"].partition("->")[0] not in production
    }
    expected |= without_policies("staging") | without_policies("legacy")
    expected |= _under_rules_over_containers_only(run.of(*ADMISSION, "ZT-ADM-005"))
    # Without Pod Security nothing rejects a pod in legacy: nobody can be asked who switches it off.
    expected["ZT-ADM-006-administrators-legacy"] = INCONCLUSIVE
    assert differences(expected, run.verdicts) == []
    assert "DENIED DNS over UDP and TCP, expected to be ALLOWED" in run.output
    assert "privileged in initContainers, namespace production was ADMITTED" in run.output


def _under_rules_over_containers_only(names: Iterable[str]) -> dict[str, str]:
    """What differs from holding in the reference scenario, which asks for no Pod Security."""
    other_places = ("initContainers", "ephemeralContainers", "sidecars", "image-as-volume")
    # The rules do not read the pod's own context: there the compliant twin is turned away too.
    unread = ("may-run-as-root-left-unsaid", "may-run-as-root-on-the-pod", "user-0-on-the-pod")
    expected = {}
    for name in names:
        if any(case in name for case in unread):
            expected[name] = INCONCLUSIVE
        elif "may-run-as-root-in-containers" in name:
            expected[name] = HOLDS
        elif (
            name.startswith(("ZT-ADM-004", "ZT-ADM-005"))
            or "user-0" in name
            or any(place in name for place in other_places)
        ):
            expected[name] = VIOLATED
    return expected


def test_a_selection_by_level_runs_and_gates(scenario, tmp_path: Path, lab: Cluster):
    scenario("hardened")
    run = run_suite(tmp_path, "--zt-level", "1")
    assert run.status == 0, run.output
    assert {result["control"][:6] for result in run.results.values()} == {"ZT-NET"}
    assert "level 1 holds; level 1 was demanded" in run.output
