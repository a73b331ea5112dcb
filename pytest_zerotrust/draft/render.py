"""Writes the draft: an intent file with remarks for the person who corrects it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_zerotrust.draft.collect import Material
from pytest_zerotrust.draft.flows import Guessed, guess
from pytest_zerotrust.draft.workloads import Found, find

_HEAD = """\
# A draft of what the cluster is meant to allow, made from what runs in it. It shows what is there,
# not what was meant: correct it. Everything that is not listed under flows must be denied.
version: 1
"""
_OUTSIDE = """\
# Every cluster has these. Each workload must be kept from them, unless a flow leads there.
outside:
  metadata: {kind: metadata}
  api-server: {kind: api-server}
  kubelet: {kind: kubelet}
"""
_PROBE = """\
# Probe pods need an image with python3 3.9 or later that this cluster may pull.
# probe:
#   image: registry.example.com/mirror/python:3.13-slim
"""
# What YAML would take for something else than text.
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def render(material: Material) -> str:
    """The text of the draft; it ends with a newline."""
    workloads, left_out = find(material.pods, material.services)
    guessed = guess(material.policies, workloads, material.labels)
    used = [name for name in material.labels if any(w.namespace == name for w in workloads)]
    parts = [
        _HEAD,
        *_remarks("Not read", material.unread),
        f"\nnamespaces: [{', '.join(map(_text, used))}]\n",
        *_workloads(workloads, left_out),
        *_flows(guessed),
        f"\n{_OUTSIDE}",
    ]
    if material.mesh:
        parts.append(
            "\n# There is a PeerAuthentication.\nmesh:\n  provider: istio\n  mode: STRICT\n"
        )
    parts += [*_admission(workloads), f"\n{_PROBE}"]
    return "".join(parts)


def _remarks(title: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        # One line, whatever the names of strangers hold.
        yield f"# {title}: {''.join(c if c.isprintable() else '?' for c in line)}\n"


def _workloads(workloads: Sequence[Found], left_out: Iterable[str]) -> Iterator[str]:
    yield "\nworkloads:\n" if workloads else "\nworkloads: {}\n"
    for workload in workloads:
        if workload.owner.startswith(("DaemonSet ", "ReplicationController ", "ReplicaSet ")):
            yield f"  # {workload.owner} would adopt a probe pod, so this gets none.\n"
        yield f"  {workload.key}:\n    namespace: {_text(workload.namespace)}\n"
        yield f"    labels: {_mapping(workload.labels)}\n"
        if workload.ports:
            yield f"    ports: [{', '.join(_port(*port) for port in workload.ports)}]\n"
        if workload.service is not None:
            yield f"    service: {_text(workload.service)}\n"
        if workload.meshed:
            yield "    meshed: true\n"
    yield from _remarks("Left out", left_out)


def _port(number: int, protocol: str) -> str:
    return str(number) if protocol == "TCP" else f"{{port: {number}, protocol: {protocol}}}"


def _flows(guessed: Guessed) -> Iterator[str]:
    yield "\nflows:\n" if guessed.flows else "\nflows: []\n"
    for (source, target, number, protocol), names in sorted(guessed.flows.items()):
        suffix = "" if protocol == "TCP" else f"/{protocol.lower()}"
        yield f"  # from {', '.join(names)}: correct me\n"
        yield f"  - {source} -> {target}:{number}{suffix}\n"
    yield from _remarks("Not written", guessed.remarks)


def _admission(workloads: Iterable[Found]) -> Iterator[str]:
    images = sorted({image for w in workloads for image in w.images})
    registries = sorted({r for r in map(registry_of, images) if r})
    others = [image for image in images if not registry_of(image)]
    if registries:
        yield "\n# From the images that run.\nadmission:\n  registries:\n"
        yield from (f"    - {_text(registry)}\n" for registry in registries)
    yield from _remarks("Image without a registry", others)


def registry_of(image: str) -> str:
    """The registry of an image with its closing slash; empty for a short name.

    The first part is a registry if it has a dot or a port, or is localhost (the rule of
    github.com/distribution/reference).
    """
    first, slash, _ = image.partition("/")
    named = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return f"{first}/" if named else ""


def _mapping(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in labels.items()) + "}"


def _text(value: str) -> str:
    """A text as YAML reads it back, in quotes where it must be."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9._/-]*", value) and value.lower() not in _WORDS
    return value if plain else json.dumps(value)
