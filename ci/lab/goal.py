"""Which scenario a lab should be in, remembered so that `up` can bring it back."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from .settings import Lab


@dataclass(frozen=True)
class Goal:
    """A scenario, and the webhook that serves the admission rules in it."""

    scenario: str = "hardened"
    engine: str = "gatekeeper"


def remembered(lab: Lab) -> Goal:
    """What was asked for last."""
    try:
        facts = json.loads((lab.state / "goal.json").read_text())
    except (FileNotFoundError, ValueError):
        return Goal()
    return Goal(str(facts["scenario"]), str(facts["engine"]))


def reach(lab: Lab, goal: Goal) -> None:
    """Bring the running lab there; `up` can finish what is interrupted here."""
    from . import scenario

    (lab.state / "goal.json").write_text(json.dumps(asdict(goal)) + "\n")
    scenario.apply(lab, goal.scenario, goal.engine)
