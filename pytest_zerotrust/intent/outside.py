"""Destinations that are no pods: addresses, names, and the machinery of the cluster itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from pytest_zerotrust.core.intent import (
    METADATA_ADDRESS,
    WELL_KNOWN_PORTS,
    Outside,
    OutsideKind,
    Port,
    Workload,
)
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent.yamllines import Document

_WAYS = ("address", "dnsName", "kind")


def read_outside(
    document: Document, workloads: Mapping[str, Workload], name: str
) -> dict[str, Outside]:
    """Every outside destination by its key, in the order of the file.

    Raises IntentProblem for one that is told in no way or in two, that lacks its port, that is a
    workload's namesake, or that is the same as another one.
    """
    found: dict[str, Outside] = {}
    ends: dict[tuple[str, str, str, int, str], str] = {}
    for key, value in document.data.get("outside", {}).items():
        where = f"{name}:{document.line(('outside', key))}: outside.{key}"
        if key in workloads:
            raise IntentProblem(f"{where}: a workload has this name, too. Rename one of them.")
        destination = _destination(key, value, where)
        other = ends.setdefault(destination.end, key)
        if other != key:
            raise IntentProblem(f"{where} is the same destination as '{other}'. Keep one.")
        found[key] = destination
    return found


def _destination(key: str, value: Mapping[str, Any], where: str) -> Outside:
    ways = [way for way in _WAYS if way in value]
    if len(ways) != 1:
        problem = " and ".join(ways) + " exclude each other" if ways else "it is not said where"
        raise IntentProblem(f"{where}: {problem}. Give one of {', '.join(_WAYS)}.")
    kind = {"address": OutsideKind.ADDRESS, "dnsName": OutsideKind.DNS_NAME}.get(ways[0])
    kind = kind or OutsideKind(value["kind"])
    number = value.get("port", WELL_KNOWN_PORTS.get(kind))
    if number is None:
        raise IntentProblem(f"{where}: the port is missing. Add 'port', from 1 to 65535.")
    return Outside(
        key=key,
        kind=kind,
        port=Port(int(number), value.get("protocol", "TCP"), value.get("send", "")),
        address=_address(value, kind, where),
        dns_name=value.get("dnsName", ""),
    )


def _address(value: Mapping[str, Any], kind: OutsideKind, where: str) -> str:
    if kind is OutsideKind.METADATA:
        return METADATA_ADDRESS
    if kind is not OutsideKind.ADDRESS:
        return ""
    try:
        # Compressed, so that two spellings of one address are the same destination.
        return ipaddress.ip_address(value["address"]).compressed
    except ValueError as error:
        raise IntentProblem(
            f"{where}: '{value['address']}' is no IP address. Write one like 203.0.113.10, or give "
            f"a name with dnsName."
        ) from error
