"""Runs one command in a pod, with bytes in and bytes out, over the API server's WebSocket.

Own code instead of ``kubernetes.stream``: that one returns partial output without an error when
time runs out, and turns Ctrl-C into a failed connection; both would make false greens. The
protocol is v4.channel.k8s.io: each binary message begins with its channel number.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_zerotrust.cluster.connection import Connection
from pytest_zerotrust.errors import ZeroTrustError

_PROTOCOL = "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
_CHUNK = 32 * 1024
MAX_OUTPUT = 64 * 1024 * 1024
"""Bytes of output beyond which an exec is given up."""


class ExecFailed(ZeroTrustError):
    """The command's output is not complete, so nothing may be concluded from it."""


@dataclass(frozen=True, slots=True)
class ExecOutput:
    """Complete output of a command that the kubelet reported as ended with success."""

    stdout: bytes
    stderr: bytes


def exec_in_pod(
    connection: Connection,
    *,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    stdin: bytes = b"",
    timeout: float,
) -> ExecOutput:
    """Run ``command`` and return its output; ``timeout`` bounds the whole call, in seconds.

    Raises ExecFailed if the stream ends without the kubelet's success status, if time runs out,
    or if the server refuses the exec.
    """
    import websocket

    deadline = time.monotonic() + timeout
    where = f"exec in {namespace}/{pod}"
    socket = _open(connection, namespace, pod, container, command, timeout, where)
    output = {_STDOUT: bytearray(), _STDERR: bytearray()}
    try:
        for start in range(0, len(stdin), _CHUNK):
            socket.send_binary(bytes([_STDIN]) + stdin[start : start + _CHUNK])
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise ExecFailed(f"{where}: no complete reply within {timeout:g} s")
            socket.settimeout(left)
            opcode, data = socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE or not data:
                raise ExecFailed(f"{where}: the stream was cut before the command ended")
            channel, payload = data[0], data[1:]
            if channel == _ERROR:
                _require_success(payload, bytes(output[_STDERR]), where)
                return ExecOutput(bytes(output[_STDOUT]), bytes(output[_STDERR]))
            if channel in output:
                output[channel] += payload
                if len(output[channel]) > MAX_OUTPUT:
                    raise ExecFailed(f"{where}: more than {MAX_OUTPUT} bytes of output")
    except websocket.WebSocketTimeoutException as error:
        raise ExecFailed(f"{where}: no complete reply within {timeout:g} s") from error
    except (websocket.WebSocketException, OSError) as error:
        raise ExecFailed(f"{where}: the stream was cut: {error}") from error
    finally:
        # An orderly close waits for the peer; a connection that we give up is just dropped.
        socket.shutdown()


def _open(
    connection: Connection,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    timeout: float,
    where: str,
) -> Any:
    import websocket

    query = [("command", word) for word in command]
    query += [("container", container), ("stdin", "true"), ("stdout", "true"), ("stderr", "true")]
    base = connection.server.replace("http", "ws", 1)
    url = f"{base}/api/v1/namespaces/{namespace}/pods/{pod}/exec?{urllib.parse.urlencode(query)}"
    headers = []
    authorization = connection.authorization()
    if authorization:
        headers.append(f"Authorization: {authorization}")
    try:
        return websocket.create_connection(
            url,
            timeout=timeout,
            header=headers,
            subprotocols=[_PROTOCOL],
            suppress_origin=True,
            sslopt=_tls(connection),
            enable_multithread=False,
            **_proxy(connection),
        )
    except websocket.WebSocketBadStatusException as error:
        text = _status_text(error.resp_body) or str(error)
        raise ExecFailed(f"{where}: refused with {error.status_code}: {text}") from error
    except (websocket.WebSocketException, OSError) as error:
        raise ExecFailed(f"{where}: no connection: {error}") from error


def _tls(connection: Connection) -> dict[str, Any]:
    if not connection.verify:
        options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    else:
        options = {"cert_reqs": ssl.CERT_REQUIRED}
        if connection.ca_file:
            options["ca_certs"] = connection.ca_file
    if connection.client_cert:
        options["certfile"], options["keyfile"] = connection.client_cert
    if connection.tls_server_name:
        options["server_hostname"] = connection.tls_server_name
    return options


def _proxy(connection: Connection) -> dict[str, Any]:
    if not connection.proxy:
        return {}
    parts = urllib.parse.urlsplit(connection.proxy)
    found: dict[str, Any] = {
        "http_proxy_host": parts.hostname,
        "http_proxy_port": parts.port or 80,
        "proxy_type": "http",
    }
    if parts.username is not None:
        unquote = urllib.parse.unquote
        found["http_proxy_auth"] = (unquote(parts.username), unquote(parts.password or ""))
    return found


def _require_success(payload: bytes, stderr: bytes, where: str) -> None:
    try:
        status = json.loads(payload)
    except ValueError as error:
        raise ExecFailed(f"{where}: unreadable status {payload[:200]!r}") from error
    if not isinstance(status, dict):
        raise ExecFailed(f"{where}: unreadable status {payload[:200]!r}")
    if status.get("status") != "Success":
        words = stderr.decode("utf-8", "replace").strip().splitlines()
        detail = f"; it said: {words[-1][:200]}" if words else ""
        raise ExecFailed(f"{where}: {status.get('message', 'failed')}{detail}")


def _status_text(body: bytes | str | None) -> str:
    if not body:
        return ""
    try:
        return str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        return text[:200]
