"""The verdicts on ways out and on new pods, by the same controls as those on flows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_zerotrust.core.egress import EgressFacts, join, judge_address
from pytest_zerotrust.core.explanation import explain
from pytest_zerotrust.core.newborn import NewbornFacts, TargetFacts, judge_newborn
from pytest_zerotrust.core.observation import Seen
from pytest_zerotrust.core.reachability import Liveness
from pytest_zerotrust.core.verdict import Result
from pytest_zerotrust.network.checks import EgressCheck, NewbornCheck
from pytest_zerotrust.network.egress import ON_NODES, facts_of, flow_name
from pytest_zerotrust.network.newborn import Birth
from pytest_zerotrust.network.refusers import with_refuser

if TYPE_CHECKING:
    from pytest_zerotrust.network.judge import Judge


def judge_way_out(judge: Judge, check: EgressCheck) -> Result:
    """The verdict on one way out of a workload."""
    snapshot = judge.snapshot
    source = snapshot.twins[check.workload]
    name = judge.name_of(check.workload)
    problem = judge.unusable(source)
    if problem:
        return judge.not_tested(check, f"{name} -> {check.outside.name}", problem)
    addresses = facts_of(snapshot, check, source)
    left_out = snapshot.nodes_left_out if check.outside.kind in ON_NODES else ""
    notes = (f"note: {left_out}",) if left_out else ()
    facts = EgressFacts(
        control=check.control,
        subject=check.subject,
        source=name,
        target=check.outside.name,
        expected=check.expected,
        addresses=addresses,
        source_lives=judge.source_lives(source),
        objects=(f"Pod {source.where}", *notes),
        remedy=judge.remedy_of(check.control),
        reproduce=judge.by_hand(
            source, addresses[0].ip if addresses else "", check.outside.port.number
        ),
    )
    member = snapshot.members[source.name]
    parts = [
        with_refuser(
            snapshot,
            explain(
                judge_address(facts, address),
                check.expected,
                snapshot.beyond.outside(member, check.outside, address),
            ),
            flow_name(check, address.ip),
        )
        for address in addresses
    ]
    return join(facts, parts)


def judge_birth(judge: Judge, check: NewbornCheck) -> Result:
    """The verdict on the first seconds of a new pod of a workload."""
    snapshot = judge.snapshot
    birth = snapshot.births[check.workload]
    name = judge.name_of(check.workload)
    problem = birth.problem or judge.unusable(birth.spec)
    if problem:
        return judge.not_tested(check, f"a new pod of {name}", problem)
    targets = []
    for flow in check.flows:
        twin = snapshot.twins[flow.target]
        lives = judge.target_lives(twin, flow.port), judge.path_lives(birth.spec, twin)
        targets.append(
            TargetFacts(
                name=f"{judge.name_of(flow.target)}:{flow.port}",
                trail=birth.trails.get(flow),
                controls=lives,
                explanation=judge.declared(birth.spec, twin, flow.port),
            )
        )
    return judge_newborn(
        NewbornFacts(
            control=check.control,
            subject=check.workload,
            source=name,
            targets=tuple(targets),
            source_lives=_newborn_lives(judge, birth),
            objects=(f"Pod {birth.spec.where}",),
            remedy=judge.remedy_of(check.control),
        )
    )


def _newborn_lives(judge: Judge, birth: Birth) -> Liveness:
    for protocol, look_up in zip(("UDP", "TCP"), birth.dns, strict=False):
        if look_up.seen is Seen.OPEN:
            return Liveness(True, f"its DNS look-up over {protocol} was answered")
    if judge.answers_kubelet(birth.spec):
        return Liveness(True, "it answers the kubelet over its own network interface")
    return Liveness(False, f"nothing shows that {birth.spec.where} is on the network")
