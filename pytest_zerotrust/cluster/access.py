"""Who we are, and what we may do: asked of the API server before anything is created."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pytest_zerotrust.cluster.api import Api, ApiUnreachable, Response, server_time
from pytest_zerotrust.errors import ClusterProblem


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource (``pods`` or ``pods/exec``), in a namespace or cluster-wide ("")."""

    namespace: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f"in namespace {self.namespace}" if self.namespace else "cluster-wide"
        return f"{self.verb} {resource} {where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user that the API server takes us for; the server, its version, its clock (None if it
    does not tell the time), and the context."""

    server: str
    context: str
    username: str
    server_version: str
    server_time: datetime.datetime | None = None


def who_am_i(api: Api) -> Identity:
    """Ask the server who we are (SelfSubjectReview, authentication.k8s.io/v1).

    Raises ClusterProblem for an unreachable server and for unknown or expired credentials. An
    anonymous user is refused: as such every create would be denied by RBAC and look like success.
    """
    server = api.connection.server
    try:
        version = api.request("GET", "/version")
        review = api.request(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
        )
    except ApiUnreachable as error:
        raise ClusterProblem(
            f"the API server of context {api.connection.context} cannot be reached: {error}. "
            f"Check the server's address in the kubeconfig, and the way to it."
        ) from error
    except OSError as error:
        raise ClusterProblem(
            f"context {api.connection.context}: the TLS files of the kubeconfig cannot be used: "
            f"{error}."
        ) from error
    if review.status == 401:
        raise ClusterProblem(
            f"{server} does not accept the credentials of context {api.connection.context} "
            f"(401 Unauthorized): they are unknown to it or have expired. Log in again, or choose "
            f"another context with --kube-context."
        )
    if not review.ok:
        raise ClusterProblem(
            f"{server} does not say who we are: {review.status} {review.message}. Kubernetes 1.28 "
            f"or later is needed, and the right to create selfsubjectreviews."
        )
    username = _username(review)
    if not username or username == "system:anonymous":
        raise ClusterProblem(
            f"{server} takes us for '{username or 'nobody'}': the credentials of context "
            f"{api.connection.context} did not reach it. Give credentials in the kubeconfig."
        )
    return Identity(
        server=server,
        context=api.connection.context,
        username=username,
        server_version=str(version.body.get("gitVersion", "?")),
        server_time=server_time(version),
    )


def missing_rights(api: Api, rights: Iterable[Right]) -> list[Right]:
    """Return those of ``rights`` that we lack (SelfSubjectAccessReview, one call each)."""
    wanted = sorted(set(rights))
    with ThreadPoolExecutor(8) as pool:
        allowed = list(pool.map(lambda right: _allowed(api, right), wanted))
    return [right for right, yes in zip(wanted, allowed, strict=True) if not yes]


def _allowed(api: Api, right: Right) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        "subresource": subresource,
    }
    if right.namespace:
        attributes["namespace"] = right.namespace
    response: Response = api.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    if not response.ok:
        raise ClusterProblem(
            f"{api.connection.server} does not say what we may do: "
            f"{response.status} {response.message}."
        )
    status = response.body.get("status")
    return isinstance(status, dict) and status.get("allowed") is True


def _username(review: Response) -> str:
    status = review.body.get("status")
    user = status.get("userInfo") if isinstance(status, dict) else None
    name = user.get("username") if isinstance(user, dict) else None
    return name if isinstance(name, str) else ""
