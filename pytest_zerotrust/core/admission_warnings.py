"""Policies that only warn: which engine and which policy a Warning header comes from.

The shapes come from the sources of the API server, Pod Security admission and Gatekeeper. Audit
and dry-run modes say nothing at all to the client; who uses them shows only by what is admitted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWarning:
    """A warning that a policy gave. ``engine`` is a word of ``core.admission.Answer``."""

    engine: str
    policies: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.engine} [{', '.join(self.policies)}]"


_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("pod-security", re.compile(r'^would violate PodSecurity "(?P<first>[^"]+)": ')),
    # A level that is set on a namespace whose pods break it is warned about in these words.
    (
        "pod-security",
        re.compile(
            r"^existing pods in namespace \S+ violate the new PodSecurity enforce level "
            r'"(?P<first>[^"]+)"'
        ),
    ),
    (
        "validating-admission-policy",
        re.compile(
            r"^Validation failed for ValidatingAdmissionPolicy '(?P<first>[^']+)' "
            r"with binding '(?P<second>[^']+)'"
        ),
    ),
    # Signature only, not proven live: Kyverno was not to be had.
    ("kyverno", re.compile(r"^(?i:policy) (?P<first>[\w.-]+?)(?: failed)?: ")),
    ("gatekeeper", re.compile(r"^\[(?P<first>[^\]\s]+)\] ")),
)


def read_warnings(warnings: Iterable[str]) -> tuple[PolicyWarning, ...]:
    """The warnings of policies among all warnings of an answer, each policy once.

    What has no known shape (a deprecated version, an unknown field) is left out.
    """
    found = dict.fromkeys(_read(text) for text in warnings)
    return tuple(warning for warning in found if warning is not None)


def _read(text: str) -> PolicyWarning | None:
    for engine, pattern in _SHAPES:
        match = pattern.match(text)
        if match is not None:
            names = tuple(name for name in match.groupdict().values() if name)
            return PolicyWarning(engine=engine, policies=names)
    return None
