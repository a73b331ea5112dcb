"""YAML to plain data, remembering on which line each value stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pytest_zerotrust.errors import IntentProblem

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data and, for each path into it, the line (from 1) of its key or item."""

    data: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Return the line of the deepest known part of ``path``."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str, name: str) -> Document:
    """Parse YAML text.

    Raises IntentProblem for bad syntax, for a key that stands twice in one mapping (YAML would
    silently keep the last) and for an empty file.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise IntentProblem(f"{name}: the file is empty. It must at least say 'version: 1'.")
        lines: dict[Path, int] = {}
        return Document(_plain(node, (), lines, name), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark is not None else 1
        raise IntentProblem(f"{name}:{line}: not valid YAML: {error.problem}.") from error
    except RecursionError as error:
        raise IntentProblem(f"{name}: not usable: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise IntentProblem(f"{name}: not valid YAML: {error}.") from error


def _plain(node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in result:
                raise IntentProblem(
                    f"{name}:{line}: the key '{key}' stands twice in the same mapping. Keep one."
                )
            lines[(*path, key)] = line
            result[key] = _plain(value_node, (*path, key), lines, name)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), lines, name) for i, item in enumerate(node.value)]
    return _scalar(node, name)


def _scalar(node: yaml.Node, name: str) -> Any:
    """Numbers, truth values and null as such; everything else, dates too, as the text it is."""
    line = node.start_mark.line + 1
    tag, value = node.tag.rpartition(":")[2], str(node.value)
    if node.tag not in _PLAIN_TAGS:
        raise IntentProblem(f"{name}:{line}: the tag {node.tag} has no meaning here. Remove it.")
    try:
        if tag == "int":
            return int(value.replace("_", ""), 0) if value.strip("+-") != "0" else 0
        if tag == "float":
            return float(value)
    except ValueError:
        return value
    if tag == "bool":
        return value.lower() in ("yes", "true", "on")
    return None if tag == "null" else value


_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")
)
