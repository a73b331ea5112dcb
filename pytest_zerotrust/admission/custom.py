"""Sentences of a user's own about manifests: what is rejected, because of which field."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.admission.corpus.model import AdmissionCase, Edit, edited
from pytest_zerotrust.admission.corpus.select import CaseCheck
from pytest_zerotrust.admission.engine import AdmissionEngine
from pytest_zerotrust.admission.pairs import Pair
from pytest_zerotrust.admission.trial import PLURALS, Trial, creation, trial_of_pods
from pytest_zerotrust.core.admission_diff import ABSENT, Path, counterpart
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
    return trial_of_pods(
        Pair(good=good, bad=bad, path=path),
        title=f"{_words(bad)} with {because} = {found!r}",
        control=CONTROL,
        subject=f"{_words(bad)}, {because}".replace(" ", "-"),
        engine=engine,
        policy=policy,
    )


def admission(engine: AdmissionEngine, manifest: Mapping[str, Any]) -> Result:
    """The verdict on a manifest that must be admitted as it is."""
    whole = _whole(manifest)
    tries = engine.answers(creation(whole))
    if isinstance(tries, str):
        verdict, reason, text = Verdict.INCONCLUSIVE, "server-unreachable", f"not tested: {tries}"
    else:
        answer = tries[-1].attribution
        if answer.admitted:
            verdict, reason, text = Verdict.HOLDS, "", "is admitted"
        elif answer.refused_by_policy:
            verdict, reason = Verdict.VIOLATED, ""
            text = f"was REJECTED by {answer}, expected to be ADMITTED: {answer.message[:300]}"
        else:
            verdict, reason = Verdict.INCONCLUSIVE, "not-a-policy"
            text = f"was turned away, but not by a policy: {answer}: {answer.message[:300]}"
    return Result(
        control=CONTROL,
        subject=_words(whole).replace(" ", "-"),
        verdict=verdict,
        reason=reason,
        headline=f"{_words(whole)} {text}",
        reproduce="kubectl create --dry-run=server -f FILE",
        evidence={"manifest": whole},
    )


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
