"""Three-valued logic: yes, no, and 'that cannot be said', which never turns into one of the others.

These are Kleene's rules. An answer that cannot be given carries its reasons along, so that whatever
rests on it can say why it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Truth:
    """An answer: ``value`` is True, False, or None for 'unknown', and then ``why`` says why."""

    value: bool | None
    why: tuple[str, ...] = ()

    @property
    def possible(self) -> bool:
        """True unless the answer is a plain no."""
        return self.value is not False

    def __bool__(self) -> bool:
        raise TypeError("a Truth has three values: compare its value with True, False or None")


YES = Truth(True)
NO = Truth(False)


def known(value: bool) -> Truth:
    """The answer that is just this value."""
    return YES if value else NO


def unknown(*why: str) -> Truth:
    """No answer, for these reasons."""
    return Truth(None, why)


def negate(answer: Truth) -> Truth:
    """The opposite; what is unknown stays unknown."""
    return answer if answer.value is None else known(not answer.value)


def any_of(answers: Iterable[Truth]) -> Truth:
    """Yes if one is yes, no if all are no, unknown otherwise."""
    why: dict[str, None] = {}
    unclear = False
    for answer in answers:
        if answer.value is True:
            return YES
        if answer.value is None:
            unclear = True
            why |= dict.fromkeys(answer.why)
    return unknown(*why) if unclear else NO


def all_of(answers: Iterable[Truth]) -> Truth:
    """Yes if all are yes, no if one is no, unknown otherwise."""
    return negate(any_of(negate(answer) for answer in answers))
