"""From the text of an intent file to an ``Intent``, or to a problem that names line and key."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pytest_zerotrust.core.intent import (
    AdmissionIntent,
    EncryptionIntent,
    Intent,
    MeshIntent,
    Port,
    ProbeIntent,
    Workload,
)
from pytest_zerotrust.core.labels import CONTROLLERS_OWN
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.explain import explain
from pytest_zerotrust.intent.flows import read_flows
from pytest_zerotrust.intent.outside import read_outside
from pytest_zerotrust.intent.waivers import read_waivers
from pytest_zerotrust.intent.yamllines import Document, parse


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


def intent_from_text(text: str, name: str, *, today: datetime.date | None = None) -> Intent:
    """Like ``load_intent``, for text that is already there; ``name`` stands in messages.

    Exceptions that are expired on ``today`` (default: this day, UTC) are a problem.
    """
    document = parse(text, name)
    _check_schema(document, name)
    return _build(document, name, today or datetime.datetime.now(datetime.UTC).date())


def _check_schema(document: Document, name: str) -> None:
    import jsonschema

    schema = json.loads(resources.files(__package__).joinpath("schema.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(document.data), key=lambda e: list(map(str, e.path)))
    if errors:
        best = jsonschema.exceptions.best_match(errors)
        raise IntentProblem(explain(best if best is not None else errors[0], document, name))


def _build(document: Document, name: str, today: datetime.date) -> Intent:
    data = document.data
    workloads = {key: _workload(key, value) for key, value in data.get("workloads", {}).items()}
    _refuse_twins(workloads.values(), document, name)
    outside = read_outside(document, workloads, name)
    named = tuple(dict.fromkeys(w.namespace for w in workloads.values()))
    namespaces = tuple(data.get("namespaces", named))
    for key, workload in workloads.items():
        if workload.namespace not in namespaces:
            line = document.line(("workloads", key, "namespace"))
            raise IntentProblem(
                f"{name}:{line}: workload '{key}' lives in namespace '{workload.namespace}', which "
                f"'namespaces' does not list. Probe pods go only into listed namespaces: add it."
            )
    flows = read_flows(document, workloads, outside, name)
    return Intent(
        source=name,
        namespaces=namespaces,
        workloads=workloads,
        flows=tuple(flow for flow in flows if flow.target in workloads),
        outside=outside,
        egress=tuple(flow for flow in flows if flow.target in outside),
        waivers=read_waivers(document, name, today),
        mesh=_mesh(data["mesh"]) if "mesh" in data else None,
        encryption=_encryption(data["encryption"]) if "encryption" in data else None,
        admission=_admission(data["admission"], namespaces) if "admission" in data else None,
        probe=_probe(data.get("probe", {})),
        baseline=data.get("baseline", False),
    )


def _workload(key: str, value: Mapping[str, Any]) -> Workload:
    ports = []
    for item in value.get("ports", []):
        if isinstance(item, int):
            ports.append(Port(item))
        elif isinstance(item, float):
            ports.append(Port(int(item)))
        elif isinstance(item, str):
            number, _, protocol = item.partition("/")
            ports.append(Port(int(number), protocol.upper()))
        else:
            send, echo = item.get("send", ""), item.get("echo", "")
            ports.append(Port(int(item["port"]), item.get("protocol", "TCP"), send, echo))
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
        for label in sorted(CONTROLLERS_OWN & workload.labels.keys()):
            line = document.line(("workloads", workload.key, "labels", label))
            raise IntentProblem(
                f"{name}:{line}: workload '{workload.key}' is told by the label '{label}', which a "
                f"controller gives to single pods and no probe pod may carry. Use others."
            )
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


def _mesh(data: Mapping[str, Any]) -> MeshIntent:
    default = MeshIntent()
    return MeshIntent(
        provider=data.get("provider", default.provider),
        mode=data.get("mode", default.mode),
        root_namespace=data.get("rootNamespace", default.root_namespace),
        trust_domain=data.get("trustDomain", default.trust_domain),
        node_vantage=data.get("nodeVantage", False),
        authorization=data.get("authorization", default.authorization),
        certificate_hours=data.get("maxCertificateHours", default.certificate_hours),
    )


def _encryption(data: Mapping[str, Any]) -> EncryptionIntent:
    return EncryptionIntent(between_nodes=data["betweenNodes"])


def _admission(data: Mapping[str, Any], namespaces: tuple[str, ...]) -> AdmissionIntent:
    return AdmissionIntent(
        namespaces=tuple(data.get("namespaces", namespaces)),
        registries=tuple(data["registries"]),
        engine=data.get("engine", "any"),
        pod_security=dict(data.get("podSecurity", {})),
        identities=tuple(data.get("identities", ())),
        administrators=tuple(data.get("administrators", ())),
        profile=data.get("profile", "default"),
    )


def _probe(data: Mapping[str, Any]) -> ProbeIntent:
    default = ProbeIntent()
    return ProbeIntent(
        image=data.get("image"),
        namespace=data.get("namespace", default.namespace),
        pull_secrets=tuple(data.get("pullSecrets", ())),
        max_pods=data.get("maxPods", default.max_pods),
        node_selector=dict(data.get("nodeSelector", {})),
        tolerations=tuple(data.get("tolerations", ())),
        priority_class=data.get("priorityClassName"),
        host_network=data.get("hostNetwork", default.host_network),
        capture=data.get("capture", default.capture),
    )
