"""Who may switch off what rejects pods, as far as RBAC decides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_zerotrust.core.holding import Holder, Power, Way, first_held, held
from pytest_zerotrust.core.levers import Lever
from pytest_zerotrust.core.rbac import Grant, Rbac, Subject
from pytest_zerotrust.core.rbac_defaults import MASTERS
from pytest_zerotrust.core.ways_around import ways_around

_AUTHENTICATED = Subject("Group", "system:authenticated")


def _of_groups(subject: Subject, given: Mapping[Subject, Sequence[Grant]]) -> Iterator[Grant]:
    """What a subject holds as a member of groups that nobody need tell of: half of a way may be
    its own, and half its group's."""
    groups = (_AUTHENTICATED,) if subject.kind == "User" else subject.groups
    for group in groups:
        yield from given.get(group, ())


def who_may(rbac: Rbac, levers: Sequence[Lever]) -> Mapping[Subject, tuple[Power, ...]]:
    """What each subject holds, the defaults of Kubernetes included: levers; and for whom somebody
    gave none, the ways to become a subject that holds one, or to be given one."""
    given: dict[Subject, list[Grant]] = {}
    for grant in rbac.grants:
        given.setdefault(grant.subject, []).append(grant)
    holders = {
        subject: Holder(subject, [*grants, *_of_groups(subject, given)])
        for subject, grants in sorted(given.items())
    }
    found = {
        subject: tuple(power for item in levers if (power := held(holder, item)))
        for subject, holder in holders.items()
    }
    while True:
        strong = {MASTERS, *(subject for subject, powers in found.items() if powers)}
        ways = tuple(map(Way, ways_around(rbac, levers, strong)))
        grown = False
        for subject, powers in found.items():
            if all(power.is_default for power in powers):
                holder = holders[subject]
                more = [power for way in ways if (power := first_held(holder, way))]
                new = tuple(power for power in more if power not in powers)
                found[subject] = (*powers, *new)
                grown = grown or bool(new)
        if not grown:
            return found
