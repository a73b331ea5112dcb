"""From the text of an intent file to an ``Intent``, or to a problem that names line and key."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pytest_zerotrust.core.intent import (
    AdmissionIntent,
    Flow,
    Intent,
    MeshIntent,
    Port,
    ProbeIntent,
    Workload,
)
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.yamllines import Document, parse

_FLOW = re.compile(r"^\s*(\S+)\s*->\s*(\S+):(\d+)(?:/(tcp|udp))?\s*$", re.IGNORECASE)


def load_intent(path: Path) -> Intent:
    """Read and check an intent file.

    Raises IntentProblem with file, line, key, offending value and what is allowed.
    """
    return intent_from_text(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text of an intent file. Raises IntentProblem if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise IntentProblem(
            f"intent file {path}: no such file. Give an existing one with --zt-intent."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise IntentProblem(f"intent file {path} cannot be read: {error}.") from error


def intent_from_text(text: str, name: str) -> Intent:
    """Like ``load_intent``, for text that is already there; ``name`` stands in messages."""
    document = parse(text, name)
    _check_schema(document, name)
    return _build(document, name)


def _check_schema(document: Document, name: str) -> None:
    import jsonschema

    schema = json.loads(resources.files(__package__).joinpath("schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(document.data), key=lambda e: list(map(str, e.path)))
    if errors:
        best = jsonschema.exceptions.best_match(errors)
        raise IntentProblem(_explain(best if best is not None else errors[0], document, name))


def _explain(error: Any, document: Document, name: str) -> str:
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
            f"{name}:{line}: {where}: {value} is not a port. Write a number from 1 to 65535, or a "
            f"mapping with port, protocol (TCP or UDP) and send."
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


def _build(document: Document, name: str) -> Intent:
    data = document.data
    workloads = {key: _workload(key, value) for key, value in data.get("workloads", {}).items()}
    _refuse_twins(workloads.values(), document, name)
    named = tuple(dict.fromkeys(w.namespace for w in workloads.values()))
    namespaces = tuple(data.get("namespaces", named))
    for key, workload in workloads.items():
        if workload.namespace not in namespaces:
            line = document.line(("workloads", key, "namespace"))
            raise IntentProblem(
                f"{name}:{line}: workload '{key}' lives in namespace '{workload.namespace}', which "
                f"'namespaces' does not list. Probe pods go only into listed namespaces: add it."
            )
    flows = tuple(
        _flow(text, workloads, document, index, name)
        for index, text in enumerate(data.get("flows", []))
    )
    for index, flow in enumerate(flows):
        if flow in flows[:index]:
            line = document.line(("flows", index))
            raise IntentProblem(f"{name}:{line}: flow '{data['flows'][index]}' stands twice.")
    return Intent(
        source=name,
        namespaces=namespaces,
        workloads=workloads,
        flows=flows,
        mesh=_mesh(data["mesh"]) if "mesh" in data else None,
        admission=_admission(data["admission"], namespaces) if "admission" in data else None,
        probe=_probe(data.get("probe", {})),
    )


def _workload(key: str, value: Mapping[str, Any]) -> Workload:
    ports = []
    for item in value.get("ports", []):
        if isinstance(item, int):
            ports.append(Port(item))
        elif isinstance(item, float):
            ports.append(Port(int(item)))
        else:
            ports.append(Port(int(item["port"]), item.get("protocol", "TCP"), item.get("send", "")))
    return Workload(
        key=key,
        namespace=value["namespace"],
        labels=dict(value["labels"]),
        ports=tuple(ports),
        service=value.get("service"),
        meshed=value.get("meshed", False),
    )


def _refuse_twins(workloads: Iterable[Workload], document: Document, name: str) -> None:
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
    for workload in workloads:
        identity = (workload.namespace, tuple(sorted(workload.labels.items())))
        other = seen.setdefault(identity, workload.key)
        if other != workload.key:
            line = document.line(("workloads", workload.key))
            raise IntentProblem(
                f"{name}:{line}: workloads '{other}' and '{workload.key}' have the same namespace "
                f"and labels, so no policy can tell them apart. Remove one or add a label."
            )
        for port in workload.ports:
            if workload.ports.count(port) > 1:
                line = document.line(("workloads", workload.key, "ports"))
                raise IntentProblem(
                    f"{name}:{line}: workload '{workload.key}' lists port {port} twice. Keep one."
                )


def _flow(
    text: str, workloads: Mapping[str, Workload], document: Document, index: int, name: str
) -> Flow:
    where = f"{name}:{document.line(('flows', index))}: flow '{text}'"
    match = _FLOW.match(text)
    if match is None:
        raise IntentProblem(
            f"{where} is not understood. Write 'source -> target:port' or '… :port/udp'."
        )
    source, target, number, protocol = match.groups()
    for key in (source, target):
        if key not in workloads:
            close = difflib.get_close_matches(key, workloads, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            known = ", ".join(workloads) or "none"
            raise IntentProblem(
                f"{where} names the unknown workload '{key}'.{hint} Known: {known}."
            )
    wanted = Port(int(number), (protocol or "TCP").upper())
    for port in workloads[target].ports:
        if port == wanted:
            return Flow(source, target, port)
    declared = ", ".join(map(str, workloads[target].ports)) or "none"
    raise IntentProblem(
        f"{where}: workload '{target}' does not declare port {wanted}. Declared: {declared}."
    )


def _mesh(data: Mapping[str, Any]) -> MeshIntent:
    return MeshIntent(
        provider=data.get("provider", "istio"),
        mode=data.get("mode", "STRICT"),
        root_namespace=data.get("rootNamespace", "istio-system"),
        trust_domain=data.get("trustDomain", "cluster.local"),
        node_vantage=data.get("nodeVantage", False),
    )


def _admission(data: Mapping[str, Any], namespaces: tuple[str, ...]) -> AdmissionIntent:
    return AdmissionIntent(
        namespaces=tuple(data.get("namespaces", namespaces)),
        registries=tuple(data["registries"]),
        engine=data.get("engine", "any"),
        pod_security=dict(data.get("podSecurity", {})),
        identities=tuple(data.get("identities", ())),
        profile=data.get("profile", "default"),
    )


def _probe(data: Mapping[str, Any]) -> ProbeIntent:
    default = ProbeIntent()
    return ProbeIntent(
        image=data.get("image"),
        namespace=data.get("namespace", default.namespace),
        pull_secrets=tuple(data.get("pullSecrets", ())),
        max_pods=data.get("maxPods", default.max_pods),
    )
