"""Whether an application is told a forged identity of its caller. Pure.

The proxies tell it in the header x-forwarded-client-cert (Envoy, "HTTP header manipulation"). A
caller may write one itself. What of it arrives is seen only where the application answers with the
headers of the request.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.core.mesh.calls import Call, read_call
from pytest_zerotrust.core.mesh.conclusion import Conclusion
from pytest_zerotrust.core.verdict import Verdict

NONCE_HEADER = "X-Zerotrust-Nonce"
"""A header that nobody takes away, so that the answer shows whether it holds the headers."""


class Told(enum.Enum):
    """What one answer shows of the headers that the application was given."""

    FORGED = "the forged identity"
    GENUINE = "the caller's own identity"
    NOBODY = "no identity"
    NOT_SHOWN = "the answer does not hold the headers"
    NOT_ANSWERED = "not answered by the application"


def told_by(raw: Mapping[str, Any], *, nonce: str, forged: str, genuine: str) -> Told:
    """Read the report of one call that carried both headers.

    ``forged`` and ``genuine`` are SPIFFE identities, the first one made up for this run.
    """
    data = str(raw.get("data", "")).replace("\\/", "/")  # as some write a slash in JSON
    if forged in data:
        return Told.FORGED
    if read_call(raw, http=True)[0] is not Call.ANSWERED:
        return Told.NOT_ANSWERED
    if nonce not in data:
        return Told.NOT_SHOWN
    # As the caller's (URI), since the server's own (By) may be the same; and not one that only
    # begins like it.
    whole = re.search(rf"URI={re.escape(genuine)}(?![\w.-])", data)
    return Told.GENUINE if whole else Told.NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgery:
    """Calls with a forged header: ``inside`` by a caller within the mesh, ``outside`` in plaintext
    by one without it. ``genuine`` is the identity of the first, ``forged`` the one claimed."""

    inside: Sequence[Told]
    outside: Sequence[Told]
    genuine: str
    forged: str


def judge_forwarded(forgery: Forgery) -> Conclusion:
    """Was the application told who called, whatever the caller wrote?

    That the forged header is missing shows something only where the genuine one is seen. The first
    call may meet a proxy that has just got its configuration, so it counts only if it is forged.
    """
    for who, told in (("inside", forgery.inside), ("outside", forgery.outside)):
        if Told.FORGED in told:
            text = (
                f"a caller {who} the mesh wrote {forgery.forged} into x-forwarded-client-cert, and "
                f"the application was TOLD so, expected {forgery.genuine} only"
            )
            return Conclusion(Verdict.VIOLATED, "", text)
    counted = forgery.inside[1:] or [Told.NOT_ANSWERED]
    said = next((told for told in counted if told is not Told.GENUINE), Told.GENUINE)
    if said is Told.GENUINE:
        return Conclusion(
            Verdict.HOLDS, "", f"the application is told {forgery.genuine}, and no forged identity"
        )
    return _WHY[said]


_WHY = {
    Told.NOT_ANSWERED: Conclusion(
        Verdict.INCONCLUSIVE, "caller-not-answered", "the caller was not answered"
    ),
    Told.NOT_SHOWN: Conclusion(
        Verdict.INCONCLUSIVE,
        "headers-not-shown",
        f"the application does not answer with the headers of the request ({NONCE_HEADER} was not "
        "in its answer), so what it is told cannot be seen",
    ),
    Told.NOBODY: Conclusion(
        Verdict.INCONCLUSIVE,
        "identity-not-shown",
        "the application is told no identity at all, so nothing shows that it would be shown",
    ),
}
