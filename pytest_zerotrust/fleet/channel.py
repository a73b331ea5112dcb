"""One request to one agent: all its probes and a nonce out, all its observations back, or nothing.

A reply counts only if it is whole (length and digest), answers this request (nonce), comes from
this pod (proof of its key) and holds one report for each probe. Anything else is an ExecFailed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_zerotrust.cluster.connection import Connection
from pytest_zerotrust.cluster.exec import ExecFailed, exec_in_pod
from pytest_zerotrust.core.observation import expected_answer
from pytest_zerotrust.fleet.manifests import CONTAINER, relay_source

_BASE_TIMEOUT = 20.0
_PER_PROBE = 0.005
_HANDSHAKES_AT_ONCE = 64


def ask(
    connection: Connection,
    *,
    namespace: str,
    pod: str,
    key: bytes,
    probes: Sequence[Mapping[str, Any]],
    listen: Sequence[tuple[int, str]] = (),
) -> Mapping[str, Any]:
    """Send one batch to the agent in a pod and return its verified reply.

    Raises ExecFailed if the reply is not complete and authentic.
    """
    nonce = secrets.token_hex(16)
    request = {"nonce": nonce, "probes": list(probes), "listen": [list(port) for port in listen]}
    data = json.dumps(request).encode()
    longest = max((_longest(probe) for probe in probes), default=0.0)
    handshakes = sum(p.get("kind") == "tls" for p in probes)
    turns = handshakes // _HANDSHAKES_AT_ONCE + 1
    timeout = _BASE_TIMEOUT + longest * turns + _PER_PROBE * len(probes)
    output = exec_in_pod(
        connection,
        namespace=namespace,
        pod=pod,
        container=CONTAINER,
        command=["python3", "-IS", "-c", relay_source(), f"{timeout:.0f}", pod],
        stdin=b"%d\n" % len(data) + data,
        timeout=timeout,
    )
    return verify_reply(output.stdout, pod=pod, key=key, nonce=nonce, count=len(probes))


def _longest(probe: Mapping[str, Any]) -> float:
    """Seconds that a probe may take: to connect, and to hear the answer."""
    connect = float(probe.get("timeout", 0))
    return connect + float(probe.get("read_timeout", connect))


def verify_reply(
    stdout: bytes, *, pod: str, key: bytes, nonce: str, count: int
) -> Mapping[str, Any]:
    """Check a reply's frame, digest, nonce, proof and number of reports, and return it."""
    where = f"reply of {pod}"
    head, _, body = stdout.partition(b"\n")
    words = head.split()
    framed = len(words) == 3 and words[0] == b"ZT1" and words[1].isdigit() and len(words[1]) <= 9
    if not framed:
        raise ExecFailed(f"{where}: not a reply of our agent: {head[:80]!r}")
    if len(body) != int(words[1]):
        raise ExecFailed(f"{where}: cut off after {len(body)} of {int(words[1])} bytes")
    if hashlib.sha256(body).hexdigest().encode() != words[2]:
        raise ExecFailed(f"{where}: damaged on the way")
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ExecFailed(f"{where}: not JSON") from error
    if not isinstance(reply, dict) or "error" in reply:
        raise ExecFailed(
            f"{where}: {reply.get('error') if isinstance(reply, dict) else 'no object'}"
        )
    proof = str(reply.get("proof", ""))
    if reply.get("nonce") != nonce or not hmac.compare_digest(
        proof.encode("utf-8", "replace"), expected_answer(key, nonce).encode()
    ):
        raise ExecFailed(f"{where}: it does not prove to be our agent's answer to this request")
    results = reply.get("results")
    whole = (
        isinstance(results, list)
        and len(results) == count
        and all(isinstance(item, dict) for item in results)
    )
    if not whole:
        raise ExecFailed(f"{where}: not one report for each of {count} probes")
    return reply
