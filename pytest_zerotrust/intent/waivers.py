"""The exceptions of an intent file: violations that somebody answers for, until a day."""

from __future__ import annotations

import datetime

from pytest_zerotrust.core.intent import Waiver
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.yamllines import Document


def read_waivers(document: Document, name: str, today: datetime.date) -> tuple[Waiver, ...]:
    """Every exception, in the order of the file.

    Raises IntentProblem for one that is expired on ``today``, whose day is none, that says
    nothing, or that is for the same checks as another one.
    """
    found: list[Waiver] = []
    for index, value in enumerate(document.data.get("exceptions", [])):
        line = document.line(("exceptions", index))
        where = f"{name}:{line}: exceptions.{index} ({value['check']})"
        for key in ("reason", "owner"):
            if not value[key].strip():
                raise IntentProblem(f"{where}: {key} says nothing. Write what it is.")
        try:
            expires = datetime.date.fromisoformat(value["expires"])
        except ValueError as error:
            raise IntentProblem(
                f"{where}: expires: '{value['expires']}' is no day. Write it as YYYY-MM-DD."
            ) from error
        waiver = Waiver(
            check=value["check"],
            reason=value["reason"],
            owner=value["owner"],
            expires=expires,
            where=f"{name}:{line}",
        )
        if waiver.expired(today):
            raise IntentProblem(
                f"{where} of {waiver.owner} expired at the end of {expires}. Mend what it is for "
                f"and remove it, or agree on a new day with its owner."
            )
        if any(waiver.check == other.check for other in found):
            raise IntentProblem(f"{where}: another exception is for the same checks. Keep one.")
        found.append(waiver)
    return tuple(found)
