"""Whether a namespace may be given labels by which a policy looks away from it.

Tried as a dry run, beside one that sets a label which means nothing: only if that is admitted does
a refusal come from a guard of the label.
"""

from __future__ import annotations

import enum

from pytest_zerotrust.cluster.api import Api
from pytest_zerotrust.core.admission import POLICY_ENGINES, Answer, Attribution, attribute
from pytest_zerotrust.core.escapes import Switch

NEUTRAL = "zerotrust.dev/dry-run"
_MERGE = "application/merge-patch+json"


class Guard(enum.Enum):
    """What a try to change the labels of a namespace came to."""

    NONE = "the change is admitted"
    REFUSED = "a policy refuses it"
    UNKNOWN = "it could not be tried"


def try_switch(api: Api, namespace: str, switch: Switch) -> tuple[Guard, Attribution]:
    """Try a change of labels without making it; the answer that decided. Raises ApiUnreachable."""
    twin = _set_label(api, namespace, NEUTRAL, "yes")
    if not twin.admitted:
        return Guard.UNKNOWN, twin
    answer = _set_label(api, namespace, switch.key, switch.value)
    if answer.admitted:
        return Guard.NONE, answer
    # Gatekeeper's guard names no constraint.
    named = answer.answer is Answer.UNKNOWN and bool(answer.webhook)
    refused = answer.answer in POLICY_ENGINES or named
    return (Guard.REFUSED if refused else Guard.UNKNOWN), answer


def _set_label(api: Api, namespace: str, key: str, value: str | None) -> Attribution:
    response = api.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}",
        params={"dryRun": "All", "fieldValidation": "Strict"},
        body={"metadata": {"labels": {key: value}}},
        content_type=_MERGE,
    )
    return attribute(response.status, response.body, response.warnings)
