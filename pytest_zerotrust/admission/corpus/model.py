"""What a case is: one field of a compliant pod, the value that must be turned away, a way in."""

from __future__ import annotations

import copy
import enum
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pytest_zerotrust.core.admission_diff import ABSENT, Path


class Way(enum.Enum):
    """How a pod gets to the API server. Each is a door of its own, with rules of its own."""

    CREATE = "create"
    GENERATE_NAME = "generate-name"
    APPLY = "apply"
    UPDATE = "update"
    EPHEMERAL = "ephemeral"
    DEPLOYMENT = "deployment"
    STATEFUL_SET = "stateful-set"
    DAEMON_SET = "daemon-set"
    REPLICA_SET = "replica-set"
    REPLICATION_CONTROLLER = "replication-controller"
    JOB = "job"
    CRON_JOB = "cron-job"


TEMPLATES = (
    Way.DEPLOYMENT,
    Way.STATEFUL_SET,
    Way.DAEMON_SET,
    Way.REPLICA_SET,
    Way.REPLICATION_CONTROLLER,
    Way.JOB,
    Way.CRON_JOB,
)
"""Ways in which a controller makes the pods later, with an identity of its own."""

NEEDS_POD = frozenset({Way.UPDATE, Way.EPHEMERAL})
"""Ways that change an admitted pod, and so need one."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Put a value at a path of a pod; ``ABSENT`` takes away what is there."""

    path: Path
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionCase:
    """One thing that a pod must not be.

    ``name`` is a word for test ids. ``path`` is the one field in which the bad pod (``bad``) and
    its compliant twin (``good``) differ; ``base`` is done to both. ``topic`` groups cases.
    ``optional``: older servers do not know the field. ``remedy`` says how to mend a rule that
    misses just this case.
    """

    name: str
    topic: str
    path: Path
    bad: Any
    good: Any = ABSENT
    base: tuple[Edit, ...] = ()
    way: Way = Way.CREATE
    optional: bool = False
    remedy: str = ""

    def by(self, way: Way, remedy: str = "") -> AdmissionCase:
        """The same case over another way in."""
        name = f"{self.name}-by-{way.value}"
        return replace(self, name=name, way=way, remedy=remedy or self.remedy)

    def pods(self, compliant: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The compliant twin and the bad pod, made from a compliant pod."""
        good = edited(compliant, (*self.base, Edit(self.path, self.good)))
        return good, edited(good, (Edit(self.path, self.bad),))


def edited(manifest: dict[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """A copy with these edits. What is missing on the way to a field is made."""
    result = copy.deepcopy(manifest)
    for edit in edits:
        _put(result, edit.path, copy.deepcopy(edit.value))
    return result


def _put(node: Any, path: Path, value: Any) -> None:
    for part, following in itertools.pairwise(path):
        if isinstance(part, str):
            if value is ABSENT and part not in node:
                return
            node = node.setdefault(part, [] if isinstance(following, int) else {})
        else:
            if part == len(node):
                node.append({})
            node = node[part]
    last = path[-1]
    if value is ABSENT:
        if isinstance(last, str):
            node.pop(last, None)
        elif last < len(node):
            del node[last]
    elif isinstance(last, int) and last == len(node):
        node.append(value)
    else:
        node[last] = value


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place in a pod where a container can stand."""

    name: str
    path: Path
    base: tuple[Edit, ...] = ()
    way: Way = Way.CREATE


_SECOND: Path = ("spec", "containers", 1)
CONTAINER = Spot(name="containers", path=("spec", "containers", 0))
INIT = Spot(name="initContainers", path=("spec", "initContainers", 0))
SIDECAR = Spot(
    name="sidecars",
    path=("spec", "initContainers", 0),
    base=(Edit(("spec", "initContainers", 0, "restartPolicy"), "Always"),),
)
EPHEMERAL = Spot(
    name="ephemeralContainers", path=("spec", "ephemeralContainers", 0), way=Way.EPHEMERAL
)
SPOTS = (CONTAINER, INIT, EPHEMERAL)
"""The three lists of containers."""


def second(container: dict[str, Any]) -> Spot:
    """The spot of a second container, for rules that read the first one only."""
    return Spot(name="second-container", path=_SECOND, base=(Edit(_SECOND, container),))


def in_spot(
    spot: Spot,
    name: str,
    topic: str,
    field: Path,
    bad: Any,
    *,
    good: Any = ABSENT,
    base: tuple[Edit, ...] = (),
    optional: bool = False,
    remedy: str = "",
) -> AdmissionCase:
    """A case about a field of a container that stands in a spot; paths of ``base`` begin there."""
    within = tuple(Edit((*spot.path, *edit.path), edit.value) for edit in base)
    return AdmissionCase(
        name=f"{name}-in-{spot.name}",
        topic=topic,
        path=(*spot.path, *field),
        bad=bad,
        good=good,
        base=(*spot.base, *within),
        way=spot.way,
        optional=optional,
        remedy=remedy,
    )
