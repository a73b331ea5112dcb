"""Sends minimal pairs as server-side dry runs, many at once, and judges the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pytest_zerotrust.admission import gated
from pytest_zerotrust.admission.corpus.select import CaseCheck
from pytest_zerotrust.admission.judge import Answered, judge_trial
from pytest_zerotrust.admission.pairs import PairCheck
from pytest_zerotrust.admission.trial import Request, Trial, trial_of
from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.cluster.grants import read_grants
from pytest_zerotrust.core.admission import TRANSIENT, Answer, attribute
from pytest_zerotrust.core.intent import AdmissionIntent
from pytest_zerotrust.core.rbac import Rbac
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.fleet.run import Run

Check = PairCheck | CaseCheck

Tried = tuple[Answered, ...] | str
"""The answers to a request, one for each try; a text says why there is none."""

TRIES = 3
"""How often a request is sent in all whose answer is not the expected one."""

PAUSE = 0.3
"""Seconds between two tries."""

PARALLEL = 8
"""Requests under way at a time; the API server gives all users together 200 seats."""


@dataclass(slots=True)
class AdmissionEngine:
    """Asks one cluster. Only gated pods are ever stored, and only where the intent places pods."""

    api: Api
    run: Run
    intent: AdmissionIntent
    _results: dict[str, Result] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _rbac: Rbac | None = None

    def verify(self, check: Check, demanded: Iterable[Check] = ()) -> Result:
        """Return the verdict of a check; all ``demanded`` ones are sent along with the first."""
        with self._lock:
            if check.id not in self._results:
                wanted = {c.id: c for c in (*demanded, check) if c.id not in self._results}
                self._observe(list(wanted.values()))
            # Another process may ask for the same check again, and then means a new try.
            return self._results.pop(check.id)

    def rbac(self) -> Rbac:
        """All roles and bindings, read once for a run. Raises ApiUnreachable."""
        with self._lock:
            if self._rbac is None:
                self._rbac = read_grants(self.api)
            return self._rbac

    def _observe(self, checks: list[Check]) -> None:
        ready = []
        troubles = self._place({c.namespace for c in checks if _needs_pod(c) and _placed(c)})
        for check in checks:
            if _needs_pod(check) and not _placed(check):
                self._results[check.id] = _not_placed(check)
            elif _needs_pod(check) and check.namespace in troubles:
                self._results[check.id] = _failed(check, troubles[check.namespace])
            else:
                ready.append((check.id, trial_of(check, self.run, self.intent)))
        results = self.try_all([trial for _, trial in ready])
        self._results |= {name: r for (name, _), r in zip(ready, results, strict=True)}

    def _place(self, namespaces: set[str]) -> dict[str, ZeroTrustError]:
        troubles: dict[str, ZeroTrustError] = {}
        for namespace in sorted(namespaces):
            try:
                gated.place(self.api, self.run, namespace, self.intent.registries[0])
            except ZeroTrustError as error:
                troubles[namespace] = error
        return troubles

    def try_all(self, trials: list[Trial]) -> list[Result]:
        """Send the requests of all trials, each one once if several need the same, and judge."""
        pairs = [part for trial in trials for part in (trial, trial.pods) if part is not None]
        goods = {trial.good.key: trial.good for trial in pairs}
        bads = {trial.bad.key: trial.bad for trial in pairs}
        # The twins first: without them nothing that follows proves anything.
        answers = {**self._ask(goods, admit=True), **self._ask(bads, admit=False)}
        return [judge_trial(trial, answers) for trial in trials]

    def answers(self, request: Request) -> Tried:
        """The answers to a request that must be admitted, or why there are none."""
        return self._ask({request.key: request}, admit=True)[request.key]

    def _ask(self, requests: Mapping[str, Request], *, admit: bool) -> dict[str, Tried]:
        """All answers to each request, or why there is none.

        What is answered as it should be is sent once. A bad pod that was admitted is sent again: a
        webhook that fails open under load admits now and then, which is a violation with a cause of
        its own. So is whatever was in trouble that may pass. All that is sent again waits together.
        """
        tries: dict[str, Tried] = dict.fromkeys(requests, ())
        again = list(requests)
        with ThreadPoolExecutor(PARALLEL) as pool:
            for number in range(TRIES):
                if number and again:
                    time.sleep(PAUSE)
                sent = pool.map(self._send_or_why, [requests[name] for name in again])
                for name, found in zip(again, sent, strict=True):
                    tries[name] = _added(tries[name], found)
                again = [name for name in again if _unsettled(tries[name], admit=admit)]
        return tries

    def _send_or_why(self, request: Request) -> Answered | str:
        try:
            return self._send(request)
        except ApiUnreachable as error:
            return str(error)

    def _send(self, request: Request) -> Answered:
        response = self.api.request(
            request.method,
            request.path,
            params=request.params,
            body=request.body,
            content_type=request.content_type,
            headers={"Impersonate-User": request.user} if request.user else None,
        )
        attribution = attribute(response.status, response.body, response.warnings)
        returned: Mapping[str, Any] = response.body
        return Answered(attribution=attribution, returned=returned)


def _added(before: Tried, found: Answered | str) -> Tried:
    if isinstance(before, str) or isinstance(found, str):
        return found if isinstance(found, str) else before
    return (*before, found)


def _unsettled(tries: Tried, *, admit: bool) -> bool:
    """Whether a request must be sent again."""
    if isinstance(tries, str):
        return False
    through = any(t.attribution.answer is Answer.ADMITTED for t in tries)
    return tries[-1].attribution.answer in TRANSIENT or (through and not admit)


def _needs_pod(check: Check) -> bool:
    return isinstance(check, CaseCheck) and check.needs_pod


def _placed(check: Check) -> bool:
    return isinstance(check, CaseCheck) and check.placed


def _not_placed(check: Check) -> Result:
    return Result(
        control=check.control,
        subject=check.subject,
        # The cluster has the thing; that it may not be looked at proves nothing.
        verdict=Verdict.INCONCLUSIVE,
        reason="no-pod-allowed",
        headline=f"{check.id}: it needs a pod in namespace {check.namespace}, which 'namespaces' "
        f"of the intent does not list",
    )


def _failed(check: Check, error: ZeroTrustError) -> Result:
    return Result(
        control=check.control,
        subject=check.subject,
        verdict=Verdict.INCONCLUSIVE,
        reason="probe-not-available",
        headline=f"{check.id} not tested: {error}",
    )
