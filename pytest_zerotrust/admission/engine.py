"""Sends minimal pairs as server-side dry runs and judges the answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.admission.pairs import Pair, PairCheck, build_pair, value_at
from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.core.admission import (
    Answer,
    Attribution,
    PairFacts,
    attribute,
    judge_pair,
)
from pytest_zerotrust.core.controls import CONTROLS
from pytest_zerotrust.core.intent import AdmissionIntent
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.fleet.run import Run

TRIES = 3
"""How often a pod that must be rejected is sent in all, once it was admitted."""

PAUSE = 0.3
"""Seconds between two tries."""


@dataclass(frozen=True, slots=True)
class AdmissionEngine:
    """Asks one cluster. Nothing is ever persisted."""

    api: Api
    run: Run
    intent: AdmissionIntent

    def verify(self, check: PairCheck) -> Result:
        """Send the pair of a check and return the verdict."""
        pair = build_pair(
            check, self.run.name("dry", check.case, check.list_name), self.intent.registries[0]
        )
        title = f"{check.control} {check.case} in {check.list_name}, namespace {check.namespace}"
        try:
            good, _ = self._dry_run(pair.good)
            tries = self._try(pair.bad)
        except ApiUnreachable as error:
            return Result(
                control=check.control,
                subject=check.subject,
                verdict=Verdict.INCONCLUSIVE,
                reason="server-unreachable",
                headline=f"{title} not tested: {error}",
            )
        wanted = value_at(pair.bad, pair.path)
        bad, neutralised = _deciding(tries, pair)
        conclusion = judge_pair(
            PairFacts(
                good=good,
                bad=bad,
                tries=tuple(answer for answer, _ in tries),
                neutralised=neutralised,
                engine=self.intent.engine,
            )
        )
        where = ".".join(str(part) for part in pair.path)
        violated = conclusion.verdict is Verdict.VIOLATED
        return Result(
            control=check.control,
            subject=check.subject,
            verdict=conclusion.verdict,
            reason=conclusion.reason,
            headline=f"{title} {conclusion.text}",
            observed=(
                *(f"pod with {where} = {wanted!r}: {answer}" for answer, _ in tries),
                *(f"it said: {line}" for line in bad.message.splitlines()[:3]),
                *(f"it warned: {line}" for line in bad.warnings[:3]),
            ),
            controls=(f"the same pod with {value_at(pair.good, pair.path)!r}: {good}",),
            objects=tuple(f"policy {name}" for name in bad.policies),
            remedy=CONTROLS[check.control].remedy if violated else "",
            reproduce="send the manifest of the evidence with "
            "'kubectl create --dry-run=server -f FILE'",
            evidence={"manifest": pair.bad, "answer": bad.message},
        )

    def _try(self, manifest: Mapping[str, Any]) -> list[tuple[Attribution, Mapping[str, Any]]]:
        """Send the bad pod, and send it again if it was admitted: a webhook that fails open under
        load admits now and then, which is a violation with a cause of its own."""
        tries = [self._dry_run(manifest)]
        if tries[0][0].answer is Answer.ADMITTED:
            for _ in range(TRIES - 1):
                time.sleep(PAUSE)
                tries.append(self._dry_run(manifest))
        return tries

    def _dry_run(self, manifest: Mapping[str, Any]) -> tuple[Attribution, Mapping[str, Any]]:
        response = self.api.request(
            "POST",
            f"/api/v1/namespaces/{manifest['metadata']['namespace']}/pods",
            params={"dryRun": "All", "fieldValidation": "Strict"},
            body=manifest,
        )
        return attribute(response.status, response.body, response.warnings), response.body


def _deciding(
    tries: Sequence[tuple[Attribution, Mapping[str, Any]]], pair: Pair
) -> tuple[Attribution, bool]:
    """The answer that decides, and whether the bad field was taken out of the admitted pod.

    What got through as it was sent, even once, decides.
    """
    wanted = value_at(pair.bad, pair.path)
    admitted = [item for item in tries if item[0].answer is Answer.ADMITTED]
    for answer, returned in admitted:
        if value_at(returned, pair.path) == wanted:
            return answer, False
    return (admitted[0][0], True) if admitted else (tries[-1][0], False)
