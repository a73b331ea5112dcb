"""What is installed: every package of the checkout, its data files, and the plugin's entry."""

from __future__ import annotations

import tomllib
from importlib import metadata, resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_no_package_is_forgotten_in_a_wheel():
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "pytest_zerotrust").rglob("__init__.py")
    }
    moved = set(PROJECT["tool"]["setuptools"]["package-dir"])
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | moved


def test_data_files_are_where_the_code_looks_for_them():
    assert resources.files("pytest_zerotrust").joinpath("py.typed").is_file()
    assert resources.files("pytest_zerotrust.intent").joinpath("schema.json").is_file()
    for name in ("agent.py", "relay.py"):
        assert resources.files("pytest_zerotrust.probes").joinpath(name).is_file()


def test_the_plugin_is_entered_under_its_short_name():
    entries = metadata.entry_points(group="pytest11", name="zerotrust")
    assert {entry.value for entry in entries} == {"pytest_zerotrust.plugin"}
