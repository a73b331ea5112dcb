"""A watch over all endpoints of a lab: nothing that happens between two looks is missed."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from tests.live.support import Cluster


class EndpointWatch:
    """Notes every probe pod that is an endpoint of a Service which is not ours.

    ``seen`` are (Service, pod) of all of them: a Service selects a twin, which is never ready.
    ``joined`` are those that were ready at any moment.
    """

    def __init__(self, lab: Cluster) -> None:
        self._command = lab.command("get", "endpointslices.discovery.k8s.io", "-A", "--watch",
                                    "-o", "json")  # fmt: skip
        self._process: subprocess.Popen[str] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.seen: set[tuple[str, str]] = set()
        self.joined: dict[tuple[str, str], Any] = {}

    def __enter__(self) -> EndpointWatch:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._over.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join(10)

    def _follow(self) -> None:
        while not self._over.is_set():
            # A server ends each watch after a while; a new one begins with what is there.
            with subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ) as self._process:
                assert self._process.stdout is not None
                for item in objects(self._process.stdout):
                    self._look(item)
            self._over.wait(0.5)

    def _look(self, item: Mapping[str, Any]) -> None:
        meta = item["metadata"]
        service = meta.get("labels", {}).get("kubernetes.io/service-name", "")
        if service.startswith("zt-"):
            return
        for endpoint in item.get("endpoints") or ():
            pod = (endpoint.get("targetRef") or {}).get("name", "")
            if not pod.startswith("zt-"):
                continue
            key = (f"{meta['namespace']}/{service}", pod)
            self.seen.add(key)
            # Kubernetes reference, EndpointConditions: unknown counts as ready.
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                self.joined[key] = endpoint


def objects(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream in which each begins and ends on a line of its own."""
    kept: list[str] = []
    for line in lines:
        kept.append(line)
        if line.rstrip("\n") == "}":
            yield json.loads("".join(kept))
            kept = []
