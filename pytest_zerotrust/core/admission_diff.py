"""What the server made of an object: the differences between what was sent and what it returned.

Defaults that the API adds are no mutation, so only what was sent is compared: a field that came
back with another value, or did not come back at all. A path that was left out on purpose can be
named, and then what was put there counts as well.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


class Missing(enum.Enum):
    """The type of ``ABSENT``."""

    ABSENT = "unset"

    def __repr__(self) -> str:
        return self.value


ABSENT: Final = Missing.ABSENT
"""Stands for a field that is left out."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field that came back otherwise than it was sent. ``path`` is dotted."""

    path: str
    sent: Any
    returned: Any

    def __str__(self) -> str:
        return f"{self.path}: sent {self.sent!r}, returned {self.returned!r}"


def changes(sent: Any, returned: Any) -> tuple[Change, ...]:
    """Every field of ``sent`` that ``returned`` has not, or has otherwise.

    Elements of lists that carry a name are found by it, since a mutation may put others first.
    """
    return tuple(_walk("", sent, returned))


def _walk(path: str, sent: Any, returned: Any) -> Iterator[Change]:
    if isinstance(sent, Mapping):
        for key, value in sent.items():
            inner = returned.get(key, ABSENT) if isinstance(returned, Mapping) else ABSENT
            yield from _walk(f"{path}.{key}" if path else str(key), value, inner)
    elif isinstance(sent, Sequence) and not isinstance(sent, str):
        for index, value in enumerate(sent):
            yield from _walk(f"{path}[{index}]", value, _partner(sent, returned, index))
    elif sent != returned or isinstance(sent, bool) != isinstance(returned, bool):
        yield Change(path=path, sent=sent, returned=returned)


def _partner(sent: Sequence[Any], returned: Any, index: int) -> Any:
    if not isinstance(returned, Sequence) or isinstance(returned, str):
        return ABSENT
    name = sent[index].get("name") if isinstance(sent[index], Mapping) else None
    if name is not None:
        named = (v for v in returned if isinstance(v, Mapping) and v.get("name") == name)
        return next(named, ABSENT)
    return returned[index] if index < len(returned) else ABSENT


def counterpart(sent: Any, returned: Any, path: Path) -> Any:
    """What stands in ``returned`` where ``path`` leads in ``sent``; ABSENT if nothing does."""
    for part in path:
        if isinstance(part, int):
            inside = isinstance(sent, Sequence) and not isinstance(sent, str) and part < len(sent)
            returned = _partner(sent, returned, part) if inside else ABSENT
            sent = sent[part] if inside else ABSENT
        else:
            sent = sent.get(part, ABSENT) if isinstance(sent, Mapping) else ABSENT
            returned = returned.get(part, ABSENT) if isinstance(returned, Mapping) else ABSENT
    return returned


def taken_out(sent: Any, returned: Any, path: Path) -> tuple[Change, ...]:
    """How the server changed the field at ``path``: empty if it stands as it was sent.

    A field that was left out counts as changed if something stands there now.
    """
    found = counterpart(sent, returned, path)
    wanted = counterpart(sent, sent, path)
    return tuple(_walk(dotted(path), wanted, found))


def dotted(path: Path) -> str:
    """A path as people write it: ``spec.containers[0].image``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
