"""Names in a kubeconfig and words of a server reach the terminal and the reports as plain text."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.fakes.apiserver import Fault, kubeconfig
from tests.plugin.conftest import ADMISSION, HASTE, NETWORK, Project, text_of

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r<script>alert(1)</script>\u202e"
MARK = "<script>alert(1)</script>"


def controls(text: str) -> set[str]:
    """The characters of an output by which a terminal does anything but show text."""
    return {c for c in text if not c.isprintable()} - {"\n", "\t"}


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(NETWORK)
    project.write("conftest.py", HASTE)
    return project


def test_names_of_the_kubeconfig_and_of_ourselves(suite: Project):
    config = kubeconfig(suite.api.url)
    config["contexts"][0]["name"] = config["current-context"] = f"lab {HOSTILE}"
    suite.kubeconfig.write_text(yaml.safe_dump(config))
    suite.api.cluster.username = f"somebody {HOSTILE}"
    result = suite.verify("--zt-conformance", "-k", "canaries", "--zt-keep=always")
    text = text_of(result)
    assert result.ret == 0, text
    assert text.count(MARK) > 1
    assert controls(text) == set()


def test_words_of_a_server_that_refuses_to_begin(suite: Project):
    suite.api.faults.append(Fault("", "selfsubject", status=403, body={"message": f"no {HOSTILE}"}))
    result = suite.verify("--zt-conformance")
    text = text_of(result)
    assert result.ret == 4, text
    assert MARK in text
    assert controls(text) == set()


def test_words_of_a_server_that_does_not_delete(suite: Project):
    suite.api.faults.append(Fault("DELETE", "", status=403, body={"message": f"kept {HOSTILE}"}))
    result = suite.verify("--zt-conformance", "-k", "canaries")
    text = text_of(result)
    assert result.ret == 6, text
    assert MARK in text
    assert controls(text) == set()


def test_words_of_who_rejects_pods(suite: Project):
    suite.intent(ADMISSION)
    suite.api.cluster.admission = lambda pod: (403, f"rejected: {HOSTILE}")
    result = suite.verify(
        "--zt-conformance", "-k", "ZT-ADM-001", "-rA", "--junitxml=junit.xml", "--zt-artifacts=out"
    )
    text = text_of(result)
    assert result.ret == 6, text
    assert MARK in text
    assert controls(text) == set()
    written = (suite.path / "junit.xml").read_text()
    assert MARK not in written
    assert MARK in "".join(ET.fromstring(written).itertext())
    assert controls((suite.path / "out" / "zerotrust.json").read_text()) == set()
