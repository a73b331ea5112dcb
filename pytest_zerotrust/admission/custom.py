"""Sentences of a user's own about manifests: what is rejected, because of which field."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pytest_zerotrust.admission.corpus.model import AdmissionCase, Edit, edited
from pytest_zerotrust.admission.corpus.select import CaseCheck
from pytest_zerotrust.admission.engine import AdmissionEngine
from pytest_zerotrust.admission.pairs import Pair
from pytest_zerotrust.admission.trial import PLURALS, Trial, creation, trial_of_pods
from pytest_zerotrust.core.admission_diff import ABSENT, Change, Path, changes, counterpart
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import Inconclusive

CONTROL = "custom"


def parse_path(text: str) -> Path:
    """``spec.containers[0].image`` as a path. Raises Inconclusive if it is none.

    A key with dots is quoted: ``metadata.labels["example.com/team"]``.
    """
    parts = re.findall(r"\[(\d+)\]|\[\"([^\"]+)\"\]|([^.\[\]\"]+)", text)
    path: Path = tuple(int(number) if number else quoted or word for number, quoted, word in parts)
    if not path or re.sub(r"\[\d+\]|\[\"[^\"]+\"\]|[^.\[\]\"]+|\.", "", text):
        raise Inconclusive(f"{text!r} is no path like spec.containers[0].image")
    return path


def rejection(
    manifest: Mapping[str, Any], *, because: str, instead: Any, engine: str, policy: str
) -> Trial:
    """The pair of a manifest and its twin, which differs in the field ``because`` alone."""
    bad = _whole(manifest)
    path = parse_path(because)
    found = counterpart(bad, bad, path)
    if found is instead or (found is not ABSENT and found == instead):
        raise Inconclusive(
            f"nothing would differ: {because} of the manifest is {found!r}, as in its twin. Name "
            f"the field that must not be so, and with instead=… what would be allowed."
        )
    good = edited(bad, (Edit(path, instead),))

    def trial(pair: Pair) -> Trial:
        return trial_of_pods(
            pair,
            title=f"{_words(bad)} with {because} = {found!r}",
            control=CONTROL,
            subject=f"{_words(bad)}, {because}".replace(" ", "-"),
            engine=engine,
            policy=policy,
        )

    whole = trial(Pair(good=good, bad=bad, path=path))
    inside = _template_path(bad)
    if not inside or path[: len(inside)] != inside:
        return whole
    # What a controller's template passes but its pods do not is no violation.
    pods = Pair(good=_pod_of(good), bad=_pod_of(bad), path=path[len(inside) :])
    return replace(whole, pods=trial(pods))


def admission(engine: AdmissionEngine, manifest: Mapping[str, Any]) -> Result:
    """The verdict on a manifest that must be admitted, and with it the pods that come from it.

    What a mutation changed of the fields that were given is told in ``observed``.
    """
    whole = _whole(manifest)
    parts = [whole, _pod_of(whole)] if _template_path(whole) else [whole]
    observed: list[str] = []
    verdict, reason, text = Verdict.HOLDS, "", ""
    for part in parts:
        verdict, reason, said, changed = _admitted(engine, part)
        text = said if part is whole else f"{text}, and its pod {said}"
        which = "" if part is whole else "of its pod, "
        observed += [f"changed on the way in: {which}{change}" for change in changed]
        if verdict is not Verdict.HOLDS:
            break
    return Result(
        control=CONTROL,
        subject=_words(whole).replace(" ", "-"),
        verdict=verdict,
        reason=reason,
        headline=f"{_words(whole)} {text}",
        observed=tuple(observed),
        reproduce="kubectl create --dry-run=server -f FILE",
        evidence={"manifest": whole},
    )


def _admitted(
    engine: AdmissionEngine, manifest: Mapping[str, Any]
) -> tuple[Verdict, str, str, tuple[Change, ...]]:
    """Verdict, reason, words and what a mutation changed, for one object."""
    tries = engine.answers(creation(manifest))
    if isinstance(tries, str):
        return Verdict.INCONCLUSIVE, "server-unreachable", f"not tested: {tries}", ()
    answer = tries[-1].attribution
    if answer.admitted:
        return Verdict.HOLDS, "", "is admitted", changes(manifest, tries[-1].returned)
    if answer.refused_by_policy:
        text = f"was REJECTED by {answer}, expected to be ADMITTED: {answer.message[:300]}"
        return Verdict.VIOLATED, "", text, ()
    text = f"was turned away, but not by a policy: {answer}: {answer.message[:300]}"
    return Verdict.INCONCLUSIVE, "not-a-policy", text, ()


_IN_TEMPLATE: Path = ("spec", "template")
_IN_CRON_JOB: Path = ("spec", "jobTemplate", "spec", "template")


def _template_path(manifest: Mapping[str, Any]) -> Path:
    """Where the template of a workload controller stands; nothing for a Pod."""
    if manifest["kind"] == "Pod":
        return ()
    return _IN_CRON_JOB if manifest["kind"] == "CronJob" else _IN_TEMPLATE


def _pod_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that a controller would make of its template."""
    template: Any = manifest
    for part in _template_path(manifest):
        template = template.get(part, {}) if isinstance(template, Mapping) else {}
    if not isinstance(template, Mapping) or "spec" not in template:
        raise Inconclusive(f"{_words(manifest)} has no pod template with a spec to be tried")
    meta = copy.deepcopy(dict(template.get("metadata") or {}))
    owner = manifest["metadata"]
    name = owner.get("name") or owner["generateName"].rstrip("-")
    meta |= {"namespace": owner["namespace"], "name": f"{name}-pod"}
    spec = copy.deepcopy(dict(template["spec"]))
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def check_of_case(case: AdmissionCase, namespace: str, registry: str, engine: str) -> CaseCheck:
    """A case of a user's own, in a namespace."""
    return CaseCheck(
        control=CONTROL, namespace=namespace, case=case, registry=registry, engine=engine
    )


def _whole(manifest: Mapping[str, Any]) -> dict[str, Any]:
    whole = copy.deepcopy(dict(manifest))
    kind = whole.get("kind")
    if kind not in PLURALS:
        raise Inconclusive(f"kind {kind!r} cannot be tried. Known: {', '.join(PLURALS)}.")
    metadata = whole.setdefault("metadata", {})
    if not metadata.get("namespace"):
        raise Inconclusive("the manifest names no metadata.namespace, so rules cannot be tried")
    if "generateName" not in metadata:
        metadata.setdefault("name", "zerotrust-dry-run")
    return whole


def _words(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    name = metadata.get("name") or metadata.get("generateName")
    return f"{manifest['kind']} {metadata['namespace']}/{name}"
