"""The reference pages say neither more nor less than the code."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

import pytest_zerotrust
from pytest_zerotrust import CONTROLS, LEVELS, Verdict
from pytest_zerotrust.checks import KINDS
from pytest_zerotrust.core.intent import MeshIntent, Port, ProbeIntent
from pytest_zerotrust.core.maturity import LevelStatus
from pytest_zerotrust.ending import INCONCLUSIVE
from pytest_zerotrust.facades import Admission, Mesh, MeshSentence, Network, Sentence
from pytest_zerotrust.options import add_kubeconfig, add_options
from tests.docs.pages import ROOT, code, snippets, table
from tests.docs.shell import pytest_run, run

COMMAND_LINE = "docs/reference/command-line.md"
INTENT = "docs/reference/intent-file.md"
CONTROLS_PAGE = "docs/reference/controls.md"
NAMES = "docs/reference/fixtures-and-markers.md"
LAB = "docs/reference/lab.md"


# -- options and exit codes


class RecordingParser:
    """Stands for pytest's parser and remembers the options that are registered."""

    def __init__(self) -> None:
        self.options: dict[str, dict[str, Any]] = {}

    def getgroup(self, *names: str) -> RecordingParser:
        return self

    def addoption(self, name: str, **settings: Any) -> None:
        self.options[name] = settings


@pytest.fixture
def registered() -> dict[str, dict[str, Any]]:
    parser = RecordingParser()
    add_options(parser)  # type: ignore[arg-type]
    add_kubeconfig(parser)  # type: ignore[arg-type]
    # Some are for the verifier's own processes, and not for people.
    return {n: o for n, o in parser.options.items() if o.get("help") is not argparse.SUPPRESS}


def test_options(registered: dict[str, dict[str, Any]]):
    documented = [code(row["option"]) for row in table(COMMAND_LINE, "Option")]
    assert len(documented) == len(set(documented))
    wanted = {f"{name} {s.get('metavar', '')}".strip() for name, s in registered.items()}
    assert set(documented) == wanted


def test_choices_and_repeatable_options_are_told(registered: dict[str, dict[str, Any]]):
    rows = {code(row["option"]).split()[0]: row["meaning"] for row in table(COMMAND_LINE, "Option")}
    for name, settings in registered.items():
        assert ("Repeatable" in rows[name]) == (settings.get("action") == "append"), name
        for choice in settings.get("choices", ()):
            assert str(choice) in rows[name]


def test_exit_codes():
    known = {int(value) for value in pytest.ExitCode} | {INCONCLUSIVE}
    for page in (COMMAND_LINE, "README.md"):
        assert {int(row["code"]) for row in table(page, "Code")} == known
    said = {int(row["code"]): row["meaning"].lower() for row in table(COMMAND_LINE, "Code")}
    assert "interrupted" in said[pytest.ExitCode.INTERRUPTED]
    assert "internal" in said[pytest.ExitCode.INTERNAL_ERROR]
    assert "usage" in said[pytest.ExitCode.USAGE_ERROR]
    assert "collected" in said[pytest.ExitCode.NO_TESTS_COLLECTED]
    assert "violated" in said[pytest.ExitCode.TESTS_FAILED]
    assert "not green" in said[INCONCLUSIVE]


def _literals(path: str) -> set[str]:
    tree = ast.parse((ROOT / "pytest_zerotrust" / path).read_text("utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_properties_of_junit_files():
    documented = {code(row["property"]) for row in table(COMMAND_LINE, "Property")}
    assert documented == {text for text in _literals("outcome.py") if text.startswith("zt.")}


def test_keys_of_the_evidence():
    page = (ROOT / COMMAND_LINE).read_text("utf-8")
    result = pytest_zerotrust.Result(
        control="c", subject="s", verdict=Verdict.HOLDS, headline="h"
    ).to_dict()
    text = page[page.index("`zerotrust.json`") :]
    documented = set(re.findall(r"`([a-z_]+)`", text))
    report = {"test", "schema", "run", "level_reached", "waivers", "results"}
    assert documented == {*result, *report, "check", "owner", "expires", "state"}
    assert "zerotrust.report/v1" in text
    assert "zerotrust.report/v1" in _literals("ending.py")


# -- the intent file


def _keys(node: dict[str, Any], defs: dict[str, Any], path: str) -> dict[str, tuple[Any, bool]]:
    """Every key of the schema by its path: its own schema, and whether it is required."""
    if "$ref" in node:
        node = {**defs[node["$ref"].rpartition("/")[2]], **node}
    found: dict[str, tuple[Any, bool]] = {}
    for key, child in node.get("properties", {}).items():
        name = f"{path}.{key}".removeprefix(".")
        found[name] = (child, key in node.get("required", ()))
        found |= _keys(child, defs, name)
    extra = node.get("additionalProperties")
    if isinstance(extra, dict):
        found |= _keys(extra, defs, f"{path}.*")
    items = node.get("items")
    if isinstance(items, dict):
        for variant in items.get("oneOf", [items]):
            found |= _keys(variant, defs, f"{path}[]")
    return found


@pytest.fixture
def schema_keys() -> dict[str, tuple[Any, bool]]:
    text = resources.files("pytest_zerotrust.intent").joinpath("schema.json").read_text("utf-8")
    schema = json.loads(text)
    return _keys(schema, schema["$defs"], "")


def test_keys_of_the_intent_file(schema_keys: dict[str, tuple[Any, bool]]):
    rows = {code(row["key"]): row for row in table(INTENT, "Key")}
    assert set(rows) == set(schema_keys)
    for key, (schema, required) in schema_keys.items():
        row = rows[key]
        assert row["default"].startswith("required") == required, key
        for value in schema.get("enum", ()):
            assert f"`{value}`" in row["type"], key
        for word in ("minimum", "maximum", "maxLength"):
            if word in schema:
                assert str(schema[word]) in row["type"], key
        if schema.get("type") == "boolean":
            assert row["type"] == "`true` or `false`"


def test_defaults_of_the_intent_file():
    rows = {code(row["key"]): row["default"] for row in table(INTENT, "Key")}
    mesh, probe = MeshIntent(), ProbeIntent()
    assert rows["mesh.provider"] == f"`{mesh.provider}`"
    assert rows["mesh.mode"] == f"`{mesh.mode}`"
    assert rows["mesh.rootNamespace"] == f"`{mesh.root_namespace}`"
    assert rows["mesh.trustDomain"] == f"`{mesh.trust_domain}`"
    assert rows["mesh.nodeVantage"] == f"`{str(mesh.node_vantage).lower()}`"
    assert rows["probe.namespace"] == f"`{probe.namespace}`"
    assert rows["probe.maxPods"] == f"`{probe.max_pods}`"
    assert rows["workloads.*.ports[].protocol"] == f"`{Port(1).protocol}`"
    assert f"At most {probe.max_pods} in all" in (ROOT / "README.md").read_text("utf-8")


def test_the_example_of_the_intent_file_shows_every_key(schema_keys: dict[str, Any]):
    (example,) = [snippet for snippet in snippets("yaml intent") if snippet.page == INTENT]
    names = {key.rpartition(".")[2] for key in schema_keys}
    assert {name for name in names if not re.search(rf"\b{name}:", example.text)} == set()


# -- controls, levels, verdicts


def test_controls():
    documented = {
        code(row["control"]): (int(row["level"]), row["severity"], row["requirement"])
        for row in table(CONTROLS_PAGE, "Control")
    }
    assert documented == {c.id: (c.level, c.severity, c.title) for c in CONTROLS.values()}
    assert {code(row["checks of"]) for row in table(CONTROLS_PAGE, "Checks of")} == set(CONTROLS)


def test_remedies():
    documented = {code(r["violated"]): r["remedy"] for r in table(CONTROLS_PAGE, "Violated")}
    assert documented == {control.id: control.remedy for control in CONTROLS.values()}


def test_levels():
    documented = {int(row["level"]): row["title"] for row in table(CONTROLS_PAGE, "Level")}
    assert documented == dict(LEVELS)


def test_words_of_the_table():
    documented = {row["status"] for row in table(CONTROLS_PAGE, "Status")}

    def word(missing: tuple[str, ...], ran: int = 2, **counts: int) -> str:
        by_verdict = {Verdict[name.upper()]: number for name, number in counts.items()}
        return LevelStatus(
            level=1, title="", counts=by_verdict, missing=missing, ran=ran, implied=2
        ).word

    assert documented == {
        word((), holds=1),
        word((), holds=1, violated=1, inconclusive=1),
        word((), holds=1, inconclusive=1),
        word((), ran=1, holds=1),
        word(("ZT-NET-001",), holds=1),
        word(("ZT-NET-001",), not_applicable=1),
    }


def test_verdicts():
    assert {row["verdict"] for row in table(CONTROLS_PAGE, "Verdict")} == {v.value for v in Verdict}


def _reasons_in_the_code() -> set[str]:
    """Every reason that the source names: after Verdict.INCONCLUSIVE, as ``reason``, or as the
    name of a control that was not shown to live."""
    found: set[str] = set()
    for file in (ROOT / "pytest_zerotrust").rglob("*.py"):
        text = file.read_text("utf-8")
        word = r'"([a-z]+(?:-[a-z]+)*)"'
        found |= set(re.findall(rf"Verdict\.(?:INCONCLUSIVE|NOT_APPLICABLE),\s*{word}", text))
        found |= set(re.findall(rf"\breason = {word}", text))
        found |= set(re.findall(rf"\breason={word}", text))
        found |= set(re.findall(rf"\b_?un(?:known|clear)\(\s*{word}", text))
        found |= set(re.findall(rf"PortMode\.[A-Z_]+: \(\s*{word}", text))
    return found


def test_reasons():
    documented = {code(row["reason"]) for row in table(CONTROLS_PAGE, "Reason")}
    made_up = {f"{part}-not-alive" for part in ("source", "target", "path", "service")}
    assert documented == _reasons_in_the_code() | made_up


# -- fixtures, markers, names


def test_fixtures(tmp_path: Path):
    done = pytest_run("--fixtures", "-c", "/dev/null", tmp_path)
    assert {code(row["fixture"]) for row in table(NAMES, "Fixture")} == set(
        re.findall(r"^(zt_\w+)", done.stdout, re.MULTILINE)
    )


def test_methods():
    documented = {code(row["method"]) for row in table(NAMES, "Method")}
    public = set()
    for cls in (Network, Mesh, Admission, Sentence, MeshSentence):
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_") and name not in (
                "expect_flow",
                "expect_port",
                "expect_call",
            ):
                bare = inspect.signature(method)
                parameters = [
                    parameter.replace(annotation=inspect.Parameter.empty)
                    for parameter in bare.parameters.values()
                    if parameter.name != "self"
                ]
                words = ", ".join(str(parameter) for parameter in parameters)
                public.add(f"{cls.__name__}.{name}({words})")
    assert documented == public


def test_markers():
    done = pytest_run("--markers")
    registered = set(re.findall(r"@pytest\.mark\.(zt_\w+\([^)]*\))", done.stdout))
    assert {code(row["marker"]) for row in table(NAMES, "Marker")} == registered


def test_kinds():
    documented = {code(row["kind"]): code(row["control"]) for row in table(NAMES, "Kind")}
    assert documented == {name: kind.control for name, kind in KINDS.items()}
    fixtures = {
        "ZT-NET": "zt_network",
        "ZT-MSH": "zt_mesh",
        "ZT-ENC": "zt_mesh",
        "ZT-ADM": "zt_admission",
    }
    for row in table(NAMES, "Kind"):
        assert row["fixture that verifies it"] == f"`{fixtures[code(row['control'])[:6]]}`"


def test_public_names():
    names = [n for row in table(NAMES, "Name") for n in re.findall(r"`(\w+)`", row["name"])]
    assert sorted(names) == sorted(pytest_zerotrust.__all__)


# -- the lab


def _lab_help(*words: str) -> str:
    done = run("ci/zt-lab", *words, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def _verbs() -> set[str]:
    return set(re.findall(r"^    (\w+)(?: |$)", _lab_help(), re.MULTILINE))


def test_verbs_of_the_lab():
    documented = {code(row["verb"]) for row in table(LAB, "Verb")}
    listed = _verbs()
    assert {words.split()[0] for words in documented} == listed
    for words in documented:
        verb, *arguments = words.split()
        assert all(argument in _lab_help(verb) for argument in arguments)


def test_options_of_the_lab():
    documented: dict[str, set[str]] = {}
    for row in table(LAB, "Option"):
        verbs = re.findall(r"`(\w+)`", row["of"])
        documented[code(row["option"])] = set(verbs)
    verbs = _verbs()
    known: dict[str, set[str]] = {}
    for verb in verbs:
        for option in set(re.findall(r"(--\w+)", _lab_help(verb))) - {"--help"}:
            known.setdefault(option, set()).add(verb)
    assert {o: v or verbs for o, v in documented.items()} == known


def test_scenarios_of_the_lab():
    documented = {code(row["scenario"]) for row in table(LAB, "Scenario")}
    folder = ROOT / "ci" / "lab" / "manifests" / "scenarios"
    assert documented == {path.name for path in folder.iterdir()}


# -- architecture


def test_the_layers_are_those_of_the_contract():
    (diagram,) = [s for s in snippets("text diagram") if s.argument == "layers"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert diagram.text.splitlines() == [layer.replace("pytest_zerotrust.", "") for layer in layers]


def test_the_architecture_names_every_part():
    named = {
        name
        for row in table("ARCHITECTURE.md", "Part")
        for name in re.findall(r"`(\w+)/?`", row["part"])
    }
    packages = {path.name for path in (ROOT / "pytest_zerotrust").iterdir() if path.is_dir()}
    packages -= {"__pycache__"}
    assert packages <= named
    for name in named:
        parts = (ROOT / name, ROOT / "pytest_zerotrust" / name)
        assert any(path.exists() or path.with_suffix(".py").exists() for path in parts), name


def test_the_changelog_has_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
    requires = project["requires-python"].removeprefix(">=")
    assert f"Python {requires} or later" in (ROOT / "README.md").read_text("utf-8")
