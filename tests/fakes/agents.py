"""The real agent and the real relay as processes on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_zerotrust.core.observation import Observation, read_flow
from pytest_zerotrust.fleet.channel import verify_reply
from pytest_zerotrust.fleet.manifests import agent_source, relay_source

KEY = "k" * 64
PATIENCE = 30.0
"""Seconds for what must succeed: tests run on busy machines."""


class Agent:
    """A running agent. ``ask`` sends it a batch as an exec in its pod would."""

    def __init__(self, process: subprocess.Popen[bytes], pod: str) -> None:
        self.process = process
        self.pod = pod

    def raw(self, request: bytes, *, size: int | None = None) -> subprocess.CompletedProcess[bytes]:
        """Hand bytes to the relay as a request."""
        size = len(request) if size is None else size
        return subprocess.run(
            [sys.executable, "-IS", "-c", relay_source(), "60", self.pod],
            input=b"%d\n" % size + request,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def reply(
        self, probes: Sequence[Mapping[str, Any]], listen: Sequence[tuple[int, str]] = ()
    ) -> Mapping[str, Any]:
        """The verified reply to a batch."""
        nonce = secrets.token_hex(16)
        request = {"nonce": nonce, "probes": list(probes), "listen": list(listen)}
        done = self.raw(json.dumps(request).encode())
        return verify_reply(
            done.stdout, pod=self.pod, key=KEY.encode(), nonce=nonce, count=len(probes)
        )

    def ask(self, *probes: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The reports of a batch."""
        return list(self.reply(probes)["results"])

    def flow(self, port: int, *, key: str = KEY, kind: str = "tcp", **more: Any) -> Observation:
        """One attempt at a listener, read as the network layer reads it."""
        nonce = secrets.token_hex(16)
        probe = {"kind": kind, "ip": "127.0.0.1", "port": port, "timeout": PATIENCE, "until": "\n"}
        report = self.ask({**probe, "send": f"ZT1 {nonce}\n", **more})[0]
        return read_flow(report, key=key.encode(), nonce=nonce)


@contextlib.contextmanager
def running(*ports: tuple[int, str], key: str = KEY, **environment: str) -> Iterator[Agent]:
    """Start an agent that listens on these ports, and end it."""
    pod = f"pod-{secrets.token_hex(8)}"
    process = subprocess.Popen(
        [sys.executable, "-I", "-u", "-c", agent_source(), json.dumps({"ports": ports})],
        env={**os.environ, "ZT_KEY": key, "ZT_POD": pod, **environment},
        stderr=subprocess.PIPE,
    )
    try:
        _wait_for(process, f"\0zerotrust-{pod}")
        yield Agent(process, pod)
    finally:
        process.kill()
        process.communicate()


def _wait_for(process: subprocess.Popen[bytes], name: str) -> None:
    """Return when the agent answers; its socket appears after its listeners."""
    pause = threading.Event()
    for _ in range(3000):
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex(name) == 0:
                return
        assert process.poll() is None, "the agent ended"
        pause.wait(0.02)
    raise AssertionError("the agent does not answer")
