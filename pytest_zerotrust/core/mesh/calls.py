"""What became of a call from inside the mesh: answered by the application, or by a proxy."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any


class Call(enum.Enum):
    """What became of a call from inside the mesh."""

    ANSWERED = "answered by the application"
    DENIED = "denied by the mesh's authorization"
    NOT_DELIVERED = "the proxy could not deliver it"
    CUT = "cut without an answer"
    SILENT = "no answer"
    FAILED = "probe failed"


def read_call(raw: Mapping[str, Any], *, http: bool) -> tuple[Call, str]:
    """Read the report of a call through a sidecar; returns what it was and how it looked.

    A sidecar accepts every connect on behalf of its application, so only an answer of the
    application counts. Whatever looks like HTTP is judged as HTTP, also on a port that was not
    declared so, because the proxies answer in HTTP themselves.
    """
    if raw.get("stage") != "exchange":
        return Call.FAILED, f"{raw.get('stage')}: {raw.get('end')} {raw.get('errno', '')}".strip()
    data = str(raw.get("data", ""))
    if not data:
        end = str(raw.get("end"))
        call = {"silent": Call.SILENT, "closed": Call.CUT, "reset": Call.CUT}.get(end, Call.FAILED)
        return call, end
    if http or data.startswith("HTTP/"):
        return _read_http(data)
    return Call.ANSWERED, f"{len(data)} bytes"


# The bodies that Envoy writes when it has no answer of an application to pass on. The proxy on
# the far side writes them too, and the near one then marks them as delivered.
_MADE_BY_A_PROXY = (
    "upstream connect error",
    "no healthy upstream",
    "upstream request timeout",
    "upstream max stream duration",
    "connection_timeout",
)


def _read_http(data: str) -> tuple[Call, str]:
    head, _, body = data.partition("\r\n\r\n")
    status_line, *lines = head.split("\r\n")
    words = status_line.split()
    well_formed = (
        len(words) >= 2
        and words[0].startswith("HTTP/")
        and words[1].isascii()
        and words[1].isdecimal()
    )
    if not well_formed:
        return Call.FAILED, f"not HTTP: {status_line[:60]!r}"
    status = int(words[1])
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    text = body.strip()
    if status == 403 and text == "RBAC: access denied":
        return Call.DENIED, status_line
    # A proxy's own answer names no time that an upstream took; some bodies betray it anyway.
    by_proxy = fields.get("server", "") in ("envoy", "istio-envoy") or status >= 500
    undelivered = by_proxy and "x-envoy-upstream-service-time" not in fields
    # Redirects and direct responses of a proxy are no answers of an application either.
    if undelivered or (status >= 400 and text.startswith(_MADE_BY_A_PROXY)):
        return Call.NOT_DELIVERED, f"{status_line}: {text[:120]}"
    return Call.ANSWERED, status_line
