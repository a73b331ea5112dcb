"""The identity of one run: its id, its secret, its expiry. Shared by all processes of the run."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pytest_zerotrust.cluster.ours import (
    ANNOTATION_EXPIRES,
    ANNOTATION_OWNER,
    LABEL_RUN,
    LIFETIME,
)

__all__ = [
    "ANNOTATION_EXPIRES",
    "ANNOTATION_OWNER",
    "ANNOTATION_REACHED",
    "LABEL_ROLE",
    "LABEL_RUN",
    "LABEL_TWIN",
    "LIFETIME",
    "TIME_FORMAT",
    "Run",
    "expiring",
    "new_run",
]

LABEL_ROLE = "zerotrust.dev/role"
LABEL_TWIN = "zerotrust.dev/twin"
ANNOTATION_REACHED = "zerotrust.dev/reached-before"

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. ``secret`` never leaves the processes of the run; pods get keys derived from it."""

    id: str
    secret: str
    owner: str
    expires: str

    def to_dict(self) -> dict[str, str]:
        """Return JSON-able data, for the workers of the run."""
        return {
            "id": self.id,
            "secret": self.secret,
            "owner": self.owner,
            "expires": self.expires,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        """The inverse of ``to_dict``."""
        return cls(**data)

    @property
    def selector(self) -> str:
        """The label selector of every object of this run."""
        return f"{LABEL_RUN}={self.id}"

    def pod_key(self, namespace: str, pod: str) -> bytes:
        """The key with which a pod of this run proves itself (ASCII, as it stands in its
        environment)."""
        message = f"{namespace}/{pod}".encode()
        return hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest().encode()

    def name(self, *parts: str) -> str:
        """A deterministic object name of this run: readable, unique by a hash, at most 63 long."""
        text = "-".join(parts).lower()
        readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in text)[:38].strip("-")
        # Over the parts themselves: joined, different parts may read the same.
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]
        return f"zt-{self.id}-{readable}-{digest}"


def new_run(owner: str) -> Run:
    """Mint a run id and a secret. ``owner`` is who runs it, for people who find its objects."""
    return Run(
        id="".join(secrets.choice(_ALPHABET) for _ in range(8)),
        secret=secrets.token_hex(32),
        owner=owner,
        expires=_expiry(datetime.datetime.now(datetime.UTC)),
    )


def expiring(run: Run, now: datetime.datetime) -> Run:
    """The run with its expiry by the clock of the API server: that of this machine may be wrong,
    and whoever sweeps goes by the server's."""
    return replace(run, expires=_expiry(now))


def _expiry(now: datetime.datetime) -> str:
    return (now + datetime.timedelta(seconds=LIFETIME)).strftime(TIME_FORMAT)
