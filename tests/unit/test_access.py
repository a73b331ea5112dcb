"""Who we are and what we may do is asked before anything is made; no clear answer is no yes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_zerotrust.cluster import api as api_module
from pytest_zerotrust.cluster.access import Right, missing_rights, who_am_i
from pytest_zerotrust.cluster.api import Api, ApiUnreachable
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.errors import ClusterProblem
from tests.fakes.apiserver import FakeApi, api_server
from tests.fakes.servers import free_port

REVIEW, ACCESS = "/selfsubjectreviews", "/selfsubjectaccessreviews"


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        yield started


@pytest.fixture
def api(server: FakeApi, tmp_path: Path) -> Api:
    path = server.kubeconfig(tmp_path / "kube.yaml")
    return Api(open_connection(ClusterOptions(kubeconfig=str(path))))


def test_the_server_tells_who_we_are_and_its_version(api):
    identity = who_am_i(api)
    assert (identity.username, identity.server_version) == ("tester", "v1.35.4")


@pytest.mark.parametrize("username", ["system:anonymous", ""])
def test_an_anonymous_user_is_refused(api, server, username):
    server.cluster.username = username
    with pytest.raises(ClusterProblem, match="did not reach it"):
        who_am_i(api)


def problem(api: Api) -> str:
    with pytest.raises(ClusterProblem) as caught:
        who_am_i(api)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_credentials_that_are_not_accepted_are_told(api, server):
    server.fail("POST", REVIEW, status=401, body={"message": "Unauthorized"})
    assert "401" in problem(api)
    assert "expired" in problem(api)


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_server_that_does_not_say_who_we_are_is_told_with_its_words(api, server, status):
    server.fail("POST", REVIEW, status=status, body={"message": "because of this"})
    assert f"{status} because of this" in problem(api)


def test_a_server_that_is_not_there_is_told(api, server):
    server.fail("", "/", cut=True)
    assert "cannot be reached" in problem(api)


def test_nobody_at_the_address_is_told(server, tmp_path):
    server.url = f"http://127.0.0.1:{free_port()}"
    path = server.kubeconfig(tmp_path / "k.yaml")
    api = Api(open_connection(ClusterOptions(kubeconfig=str(path))))
    assert "cannot be reached" in problem(api)
    assert "context lab" in problem(api)


def test_a_server_that_hangs_is_told(api, server, monkeypatch):
    monkeypatch.setattr(api_module, "TIMEOUT", (5.0, 0.3))
    server.fail("POST", REVIEW, hang=True)
    assert "cannot be reached" in problem(api)


LOGIN = b"<html>Please log in</html>"


@pytest.mark.parametrize("body", [LOGIN, b"", b"[]", b"{}", b'{"status": {}}'])
def test_a_page_in_the_servers_place_is_nobody(api, server, body):
    server.fail("POST", REVIEW, status=200, body=body)
    assert "takes us for 'nobody'" in problem(api)


ODD = [b'{"status": "Success"}', b'{"status": null}', b'{"status": {"userInfo": null}}']


@pytest.mark.parametrize("body", ODD)
def test_a_review_of_another_shape_is_nobody(api, server, body):
    server.fail("POST", REVIEW, status=200, body=body)
    problem(api)


RIGHTS = [
    Right("web", "", "pods", "create"),
    Right("web", "", "pods/exec", "create"),
    Right("web", "networking.k8s.io", "networkpolicies", "list"),
    Right("", "", "namespaces", "get"),
]


def test_with_all_rights_none_is_missing(api):
    assert missing_rights(api, RIGHTS) == []


@pytest.mark.parametrize("lacking", RIGHTS, ids=str)
def test_the_one_right_that_is_missing_is_found(api, server, lacking):
    resource, _, subresource = lacking.resource.partition("/")
    wanted = {
        "verb": lacking.verb,
        "group": lacking.group,
        "resource": resource,
        "subresource": subresource,
    }
    if lacking.namespace:
        wanted["namespace"] = lacking.namespace
    server.cluster.denied = lambda attributes: attributes == wanted
    assert missing_rights(api, RIGHTS) == [lacking]


def test_without_any_right_all_are_missing_each_once(api, server):
    server.cluster.denied = lambda attributes: True
    assert missing_rights(api, RIGHTS * 3) == sorted(RIGHTS)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"status": {}}', b'{"status": {"allowed": false}}', LOGIN]
)
def test_a_review_that_does_not_say_yes_is_no(api, server, body):
    server.fail("POST", ACCESS, status=201, body=body)
    assert missing_rights(api, RIGHTS) == sorted(RIGHTS)


@pytest.mark.parametrize("body", ODD[:2])
def test_a_review_of_another_shape_is_no(api, server, body):
    server.fail("POST", ACCESS, status=201, body=body)
    assert missing_rights(api, RIGHTS) == sorted(RIGHTS)


def test_a_review_that_says_false_in_quotes_is_no(api, server):
    server.fail("POST", ACCESS, status=201, body=b'{"status": {"allowed": "false"}}')
    assert missing_rights(api, RIGHTS) == sorted(RIGHTS)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_that_does_not_say_what_we_may_do_is_told(api, server, status):
    server.fail("POST", ACCESS, status=status, body={"message": "no"})
    with pytest.raises(ClusterProblem, match=f"what we may do: {status} no"):
        missing_rights(api, RIGHTS)


def test_a_server_that_goes_away_between_questions_is_unreachable(api, server):
    server.fail("POST", ACCESS, cut=True)
    with pytest.raises(ApiUnreachable):
        missing_rights(api, RIGHTS)
