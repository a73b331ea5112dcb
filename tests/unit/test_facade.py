"""What goes wrong on the way to a verdict is inconclusive, and is told of the right check."""

from __future__ import annotations

import pytest

from pytest_zerotrust.checks import KINDS, checks_of
from pytest_zerotrust.core.verdict import Result, Verdict
from pytest_zerotrust.errors import ZeroTrustError
from pytest_zerotrust.facade import guarded
from pytest_zerotrust.intent.load import intent_from_text
from pytest_zerotrust.report.collector import check_id

INTENT = intent_from_text(
    "version: 1\n"
    "workloads:\n"
    "  a: {namespace: n, labels: {app: a}, ports: [80], meshed: true}\n"
    "  b: {namespace: m, labels: {app: b}, ports: [80], meshed: true}\n"
    "flows: [a -> b:80]\n"
    "mesh: {}\n"
    "admission: {registries: [r.example.com/]}\n",
    "zero.yaml",
)


@pytest.mark.parametrize("error", [ZeroTrustError("gone"), OSError("gone")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_check_that_could_not_be_made_keeps_its_id(kind: str, error: Exception):
    def broken() -> Result:
        raise error

    for check in checks_of(kind, INTENT):
        result = guarded(broken, check)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert result.headline == f"{check.id} not tested: gone"
        assert check_id({"control": result.control, "subject": result.subject}) == check.id
