"""Reading from the API server without a process for each question.

kubectl is used for everything that changes the cluster. Reads are many and small, and starting a
program for each costs more than the answer.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from . import pki
from .settings import Lab, LabError

_TIMEOUT = 30.0
_NOT_FOUND = 404


class Api:
    """One kept connection to a lab's API server, as its administrator."""

    def __init__(self, lab: Lab) -> None:
        server = urlsplit(lab.server)
        context = ssl.create_default_context(cafile=str(pki.certificate(lab, "ca")))
        context.load_cert_chain(pki.certificate(lab, "admin"), pki.key(lab, "admin"))
        self._connection = http.client.HTTPSConnection(
            server.hostname or "", server.port, timeout=_TIMEOUT, context=context
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def items(self, path: str) -> list[dict[str, Any]]:
        """The objects of a collection; none if the server does not have the kind."""
        status, document = self.request("GET", path)
        if status == _NOT_FOUND:
            return []
        if status != http.client.OK:
            raise LabError(f"GET {path}: {document.get('message', status)}")
        about = {"apiVersion": document["apiVersion"]}
        about["kind"] = document["kind"].removesuffix("List")
        # The items of a collection do not say what they are.
        return [about | item for item in document["items"]]

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the document that the server answers with."""
        content = json.dumps(body) if body is not None else None
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            self._connection.request(method, path, body=content, headers=headers)
            response = self._connection.getresponse()
            raw = response.read()
            # For a group that it does not have, the server answers in plain text.
            document: dict[str, Any] = {} if response.status == _NOT_FOUND else json.loads(raw)
        except (OSError, http.client.HTTPException, ValueError) as problem:
            self._connection.close()
            raise LabError(f"the API server does not answer {method} {path}: {problem}") from None
        return response.status, document
