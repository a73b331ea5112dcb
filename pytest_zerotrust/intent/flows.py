"""The flows of an intent file: ``source -> target:port``, both ends by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from pytest_zerotrust.core.intent import Flow, Outside, Port, Workload
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.yamllines import Document

_FLOW = re.compile(r"^\s*(\S+)\s*->\s*(\S+):(\d+)(?:/(tcp|udp|sctp))?\s*$", re.IGNORECASE)


def read_flows(
    document: Document, workloads: Mapping[str, Workload], outside: Mapping[str, Outside], name: str
) -> tuple[Flow, ...]:
    """Every flow, in the order of the file. A target is a workload or an outside destination.

    Raises IntentProblem for a flow that is not understood, names nobody, or stands twice.
    """
    texts = document.data.get("flows", [])
    flows: list[Flow] = []
    seen: set[Flow] = set()
    for index, text in enumerate(texts):
        line = document.line(("flows", index))
        where = f"{name}:{line}: flow '{text}'"
        flow = _flow(text, workloads, outside, where)
        if flow in seen:
            raise IntentProblem(f"{where} stands twice.")
        seen.add(flow)
        flows.append(flow)
    return tuple(flows)


def _flow(
    text: str, workloads: Mapping[str, Workload], outside: Mapping[str, Outside], where: str
) -> Flow:
    match = _FLOW.match(text)
    if match is None:
        raise IntentProblem(
            f"{where} is not understood. Write 'source -> target:port', '… :port/udp' or "
            f"'… :port/sctp'."
        )
    source, target, number, protocol = match.groups()
    if source in outside:
        raise IntentProblem(
            f"{where} begins at '{source}', which is outside. Only workloads are sources here."
        )
    kind = "workload or outside destination" if outside else "workload"
    _require(source, workloads, "workload", where)
    _require(target, {**workloads, **outside}, kind, where)
    wanted = Port(int(number), (protocol or "TCP").upper())
    ports = (outside[target].port,) if target in outside else workloads[target].ports
    for port in ports:
        if port == wanted:
            return Flow(source, target, port)
    declared = ", ".join(map(str, ports)) or "none"
    kind = "outside destination" if target in outside else "workload"
    raise IntentProblem(
        f"{where}: {kind} '{target}' does not declare port {wanted}. Declared: {declared}."
    )


def _require(key: str, known: Mapping[str, object], kind: str, where: str) -> None:
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise IntentProblem(
            f"{where} names the unknown {kind} '{key}'.{hint} Known: {_list(known)}."
        )


def _list(names: Mapping[str, object]) -> str:
    """The first names, so that a message stays readable in a file of hundreds."""
    shown = list(names)[:12]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + more
