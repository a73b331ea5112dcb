"""Plain REST calls to the API server, with a time-out on every call and JSON in and out.

A bare keep-alive HTTP client (``wire``) is used instead of typed models: unknown fields pass
through, nothing is retried behind our back, and a dry run costs a fraction of the time.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3

from pytest_zerotrust.cluster.connection import Connection
from pytest_zerotrust.cluster.wire import FAILURES, Wire
from pytest_zerotrust.errors import ZeroTrustError

TIMEOUT = (5.0, 30.0)
"""Connect and read time-out of a call, in seconds."""

RATE = 50.0
"""Calls a second that one process makes at most, in the long run."""

BURST = 100
"""Calls that may be made at once before that."""

DRY_RATE = 500.0
"""Dry runs a second at most. They store nothing, and the server tells us when it has enough of
them: its priority and fairness answers 429 (kubernetes.io, API Priority and Fairness)."""

_THROTTLED_TRIES = 5
_MAX_RETRY_AFTER = 30.0
_CHANGING = ("POST", "PUT", "PATCH")
_NAMESPACE = re.compile(r"/namespaces/([^/]+)/")


class ApiUnreachable(ZeroTrustError):
    """No answer from the API server: refused, timed out, TLS failed."""


class ApiFailure(ZeroTrustError):
    """The API server answered with an error. ``status`` is the HTTP status code."""

    def __init__(self, response: Response, action: str) -> None:
        super().__init__(f"{action}: {response.status} {response.message}")
        self.status = response.status
        self.response = response


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer of the API server: HTTP status, JSON body, texts of the Warning headers."""

    status: int
    body: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True for a 2xx status."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The server's own words, of a Status object."""
        return str(self.body.get("message", ""))


class Pace:
    """A token bucket: ``rate`` calls a second in the long run, ``burst`` of them at once."""

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._burst = rate, burst
        self._clock, self._sleep = clock, sleep
        self._tokens, self._at = float(burst), clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next call may be made."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            self._tokens -= 1
            pause = -self._tokens / self._rate
        if pause > 0:
            self._sleep(pause)


class Api:
    """Calls to one API server. Safe to share between threads, which share its connections."""

    def __init__(self, connection: Connection, *, user_agent: str = "pytest-zerotrust") -> None:
        self.connection = connection
        self._user_agent = user_agent
        self._wire: Wire | None = None
        self._opening = threading.Lock()
        self._pace = Pace(RATE, BURST)
        self._dry_pace = Pace(DRY_RATE, BURST)
        self._changes = threading.Condition()
        self._changing = 0
        self._ended = False
        self._made_in: set[str] = set()

    @property
    def made_in(self) -> frozenset[str]:
        """The namespaces in which something was asked to be created, dry runs aside."""
        return frozenset(self._made_in)

    def end_changes(self, timeout: float = 2 * TIMEOUT[1]) -> None:
        """Make nothing more from now on, and wait for what is being made (seconds).

        For the end of a run: what a thread creates after the run's objects were deleted would be
        left behind.
        """
        with self._changes:
            self._ended = True
            self._changes.wait_for(lambda: self._changing == 0, timeout)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request and return the answer, whatever its status. ``headers`` come on top.

        Waits and tries again on 429 (which the server sends before it does anything), unless the
        server asks for a longer pause than a run can make. Raises ApiUnreachable if there is no
        answer.
        """
        dry = (params or {}).get("dryRun") == "All"
        pace = self._dry_pace if dry else self._pace
        if method == "POST" and not dry:
            # Noted before it is sent: the answer may get lost.
            self._made_in.update(_NAMESPACE.findall(path))
        for attempt in range(_THROTTLED_TRIES):
            pace.wait()
            response = self._change(method, path, params, body, content_type, headers)
            if response.status != 429 or attempt == _THROTTLED_TRIES - 1:
                break
            wait = retry_after(response.headers.get("Retry-After", ""))
            if wait > _MAX_RETRY_AFTER:
                break
            time.sleep(wait)
        return response

    def get(self, path: str, **params: str) -> Mapping[str, Any]:
        """GET and return the object. Raises ApiFailure for any status but 2xx."""
        return self._checked("GET", path, params=params)

    def create(self, path: str, body: Mapping[str, Any], **params: str) -> Mapping[str, Any]:
        """POST and return the created object. Raises ApiFailure."""
        return self._checked("POST", path, params=params, body=body)

    def delete_collection(self, path: str, selector: str) -> None:
        """Delete every object under ``path`` that the label selector selects, at once."""
        self._checked(
            "DELETE",
            path,
            params={"labelSelector": selector},
            body={
                "kind": "DeleteOptions",
                "apiVersion": "v1",
                "gracePeriodSeconds": 0,
                "propagationPolicy": "Background",
            },
        )

    def delete(self, path: str) -> None:
        """Delete one object. An object that is already gone is no error."""
        response = self.request("DELETE", path, body={"kind": "DeleteOptions", "apiVersion": "v1"})
        if not response.ok and response.status != 404:
            raise ApiFailure(response, f"DELETE {path}")

    def _change(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
        headers: Mapping[str, str] | None,
    ) -> Response:
        # A dry run leaves nothing behind, whenever it comes.
        if method not in _CHANGING or (params or {}).get("dryRun") == "All":
            return self._send(method, path, params, body, content_type, headers)
        with self._changes:
            if self._ended:
                raise ApiUnreachable(f"{method} {path}: the run is over, nothing more is made")
            self._changing += 1
        try:
            return self._send(method, path, params, body, content_type, headers)
        finally:
            with self._changes:
                self._changing -= 1
                self._changes.notify_all()

    def _checked(self, method: str, path: str, **kwargs: Any) -> Mapping[str, Any]:
        response = self.request(method, path, **kwargs)
        if not response.ok:
            raise ApiFailure(response, f"{method} {path}")
        return response.body

    def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
        more_headers: Mapping[str, str] | None = None,
    ) -> Response:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": self._user_agent,
        }
        headers |= more_headers or {}
        authorization = self.connection.authorization()
        if authorization:
            headers["Authorization"] = authorization
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        target = f"{path}?{urllib.parse.urlencode(params)}" if params else path
        wire = self._opened()
        try:
            raw = wire.send(method, target, body=data, headers=headers, timeout=TIMEOUT)
        except FAILURES as error:
            raise ApiUnreachable(f"{self.connection.server}: {_plain(error)}") from error
        content = raw.data
        try:
            parsed = json.loads(content) if content else {}
        except ValueError:
            parsed = {"message": content[:500].decode("utf-8", "replace")}
        return Response(
            status=raw.status,
            body=parsed if isinstance(parsed, dict) else {"value": parsed},
            warnings=_warnings(raw.headers),
            headers=dict(raw.headers),
        )

    def _opened(self) -> Wire:
        with self._opening:
            if self._wire is None:
                self._wire = Wire(self.connection)
            return self._wire


def retry_after(text: str) -> float:
    """The seconds of a Retry-After header (RFC 9110, 10.2.3); 1 for a date and for nonsense."""
    try:
        wait = float(text)
    except ValueError:
        return 1.0
    # Written so that nan, which compares with nothing, is no time to sleep.
    return wait if wait >= 0.1 else 0.1


def server_time(response: Response) -> datetime.datetime | None:
    """The API server's clock, of the Date header of an answer (RFC 9110, 6.6.1)."""
    text = {k.lower(): v for k, v in response.headers.items()}.get("date", "")
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)


def clock(api: Api) -> datetime.datetime:
    """What time it is in the cluster: certificates and expiries live by its clock, and that of this
    machine may be wrong. The latter's, if the server does not tell. Raises ApiUnreachable."""
    return server_time(api.request("GET", "/version")) or datetime.datetime.now(datetime.UTC)


def _warnings(headers: urllib3.HTTPHeaderDict) -> tuple[str, ...]:
    """The texts of all Warning headers (RFC 7234: 299 - "text")."""
    texts = []
    for value in headers.getlist("Warning"):
        _, _, text = value.partition('"')
        texts.append(text.rpartition('"')[0].replace('\\"', '"'))
    return tuple(texts)


def _plain(error: Exception) -> str:
    """The innermost cause of a nested library error, in one line."""
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None) or cause.__cause__ or cause.__context__
        if not inner and cause.args and isinstance(cause.args[0], BaseException):
            inner = cause.args[0]
        if not isinstance(inner, BaseException) or inner is cause:
            break
        cause = inner
    return " ".join(str(cause).split())[:300] or type(cause).__name__
