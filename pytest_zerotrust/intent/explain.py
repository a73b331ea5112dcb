"""What the schema has to say about a mistake, in words for people."""

from __future__ import annotations

import difflib
import json
from typing import Any

from pytest_zerotrust.intent.yamllines import Document


def explain(error: Any, document: Document, name: str) -> str:
    """One line about a mistake that the schema found: ``file:line: key: value and rule``."""
    path = tuple(error.absolute_path)
    where = ".".join(str(part) for part in path) or "the file"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in allowed]
        line = document.line((*path, unknown[0]))
        close = difflib.get_close_matches(unknown[0], allowed, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return (
            f"{name}:{line}: unknown key '{unknown[0]}' in {where}.{hint} "
            f"Allowed here: {', '.join(allowed)}."
        )
    if "propertyNames" in error.absolute_schema_path:
        # The bad name is itself a key, and has a line of its own.
        path = (*path, str(error.instance))
    line = document.line(path)
    if error.validator == "required":
        return f"{name}:{line}: {where}: {error.message}. Add it."
    value = json.dumps(error.instance, default=str)
    value = value if len(value) <= 60 else value[:57] + "..."
    if error.validator == "enum":
        allowed_values = ", ".join(map(str, error.validator_value))
        return f"{name}:{line}: {where}: {value} is not one of {allowed_values}."
    if error.validator == "const":
        return (
            f"{name}:{line}: {where}: {value} is not supported; it must be {error.validator_value}."
        )
    if error.validator == "oneOf":
        return (
            f"{name}:{line}: {where}: {value} is not a port. Write a number from 1 to 65535, a "
            f"text like 5353/udp, or a mapping with port, protocol (TCP, UDP or SCTP) and send."
        )
    return f"{name}:{line}: {where}: {value} {_rule(error)}."


_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text (write it in quotes)",
    "integer": "a whole number",
    "boolean": "true or false",
}


def _rule(error: Any) -> str:
    """What is allowed, in words."""
    if error.validator == "type":
        return f"is not {_KINDS.get(error.validator_value, error.validator_value)}"
    if error.validator == "pattern":
        return f"is not allowed here: {error.schema['$comment']}"
    if error.validator in ("minItems", "minProperties", "minLength"):
        return "must not be empty"
    if error.validator == "uniqueItems":
        return "has an entry twice"
    if error.validator in ("minimum", "maximum"):
        word = "less" if error.validator == "minimum" else "greater"
        return f"is {word} than {error.validator_value}"
    return f"is not allowed here ({error.validator} {error.validator_value})"
