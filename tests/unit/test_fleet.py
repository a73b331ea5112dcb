"""Probe pods are made once and only where they may be; all of a run and nothing else goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_zerotrust.cluster.api import Api, ApiFailure
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.core.cleanup import CleanupReport
from pytest_zerotrust.core.intent import Port, ProbeIntent
from pytest_zerotrust.fleet import cleanup, making, waiting
from pytest_zerotrust.fleet.cleanup import delete_run
from pytest_zerotrust.fleet.fleet import Fleet
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.run import Run
from tests.fakes.apiserver import FakeApi, api_server
from tests.fakes.cluster import nobody
from tests.fakes.fleet import RUN

OTHER = Run(id="otherrun", secret="o" * 64, owner="other", expires="2030-01-01T00:00:00Z")


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the pretended cluster changes by itself, so nothing is waited for."""
    monkeypatch.setattr(waiting, "START_TIMEOUT", 0.0)
    monkeypatch.setattr(waiting, "_POLL", 0.0)
    monkeypatch.setattr(making, "_POLL", 0.0)
    monkeypatch.setattr(cleanup, "TIMEOUT", 0.5)
    monkeypatch.setattr(cleanup, "_POLL", 0.0)


@pytest.fixture
def server() -> Iterator[FakeApi]:
    with api_server() as started:
        started.cluster.admission = nobody
        started.cluster.add_workload("web", "front", 80)
        yield started


@pytest.fixture
def api(server: FakeApi, tmp_path: Path) -> Api:
    path = server.kubeconfig(tmp_path / "kube.yaml")
    return Api(open_connection(ClusterOptions(kubeconfig=str(path))))


def fleet(api: Api, *, run: Run = RUN, cap: int = 60, image: str | None = "probe:1") -> Fleet:
    probe = ProbeIntent(namespace="probes", max_pods=cap)
    return Fleet(
        api, run, probe, image, allowed_namespaces=["web"], pod_security="restricted"
    )  # fmt: skip


def spec(name: str, namespace: str = "web", **changes: Any) -> PodSpec:
    values: dict[str, Any] = {"role": Role.TWIN, "labels": {"app": "front"}, "ports": (Port(80),)}
    return PodSpec(name=name, namespace=namespace, subject=name, **{**values, **changes})


def pods(server: FakeApi, namespace: str = "web") -> set[str]:
    return set(server.cluster.objects[namespace, "pods"]) - {"front-1"}


def posts(server: FakeApi, end: str) -> int:
    return len([path for method, path in server.seen if method == "POST" and path.endswith(end)])


def test_pods_are_made_once_and_asked_for_as_often_as_wanted(api, server):
    made = fleet(api)
    for _ in range(3):
        members = made.members([spec("a"), spec("b")])
        assert all(member.usable for member in members.values())
    assert pods(server) == {"a", "b"}
    assert posts(server, "/pods") == 2


def test_two_processes_of_a_run_share_its_pods(api, server):
    first, second = fleet(api), fleet(api)
    for one in (first, second):
        assert one.members([spec("a")])["a"].usable
    assert pods(server) == {"a"}
    assert first.key_of(spec("a")) == second.key_of(spec("a")) == server.cluster.keys["a"]


def test_beginning_makes_pods_and_waits_for_none(api, server):
    fleet(api).begin([spec("a"), spec("a"), spec("b")])
    assert pods(server) == {"a", "b"}
    assert not [path for method, path in server.seen if (method, path[-5:]) == ("GET", "/pods")]


def problem(api: Api, wanted: PodSpec, **changes: Any) -> str:
    member = fleet(api, **changes).members([wanted])[wanted.name]
    assert not member.usable
    return member.problem


def test_a_namespace_that_nobody_named_gets_no_pod(api, server):
    server.cluster.add_workload("prod", "shop", 80)
    assert "prod is not one in which probe pods may be placed" in problem(api, spec("a", "prod"))
    assert posts(server, "/pods") == 0


def test_more_pods_than_the_cap_are_none_at_all(api, server):
    members = fleet(api, cap=2).members([spec("a"), spec("b"), spec("c")])
    assert not any(member.usable for member in members.values())
    assert "3 probe pods, more than the cap of 2" in members["a"].problem
    assert posts(server, "/pods") == 0


def test_pods_beyond_the_cap_do_not_spoil_those_that_are_there(api):
    made = fleet(api, cap=1)
    assert made.members([spec("a")])["a"].usable
    assert not made.members([spec("b")])["b"].usable
    assert made.members([spec("a")])["a"].usable


def test_without_an_image_no_pod_is_made(api, server):
    assert "--zt-probe-image" in problem(api, spec("a"), image=None)
    assert posts(server, "/pods") == 0


def test_a_pod_that_a_controller_would_adopt_is_not_made(api, server):
    assert problem(api, spec("a", refusal="a DaemonSet would adopt it")) == (
        "a DaemonSet would adopt it"
    )
    assert posts(server, "/pods") == 0


@pytest.mark.parametrize(("selector", "made"), [({"app": "front"}, 0), ({"app": "x"}, 1)])
def test_a_pod_that_a_users_service_would_take_in_is_not_made(api, server, selector, made):
    service = {"selector": selector, "ports": [], "publishNotReadyAddresses": True}
    server.cluster._add_service("web", {"metadata": {"name": "early"}, "spec": service})
    member = fleet(api).members([spec("a")])["a"]
    assert posts(server, "/pods") == made
    assert ("publishNotReadyAddresses" in member.problem) is (made == 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
def test_a_pod_that_is_turned_away_says_with_what(api, server, status):
    server.fail("POST", "/pods", status=status, body={"message": "because"})
    assert problem(api, spec("a")) == f"probe pod web/a was turned away: {status} because"


def test_a_namespace_whose_account_is_still_being_made_is_tried_again(api, server):
    late = {"message": 'pods "a" is forbidden: error looking up service account web/default'}
    server.fail("POST", "/pods", status=403, body=late, times=3)
    assert fleet(api).members([spec("a")])["a"].usable
    assert posts(server, "/pods") == 4


@pytest.mark.parametrize("fault", ["cut", "status"])
def test_a_server_that_goes_away_while_pods_are_made_is_told(api, server, fault):
    server.fail("POST", "/pods", **({"cut": True} if fault == "cut" else {"status": 500}))
    assert problem(api, spec("a")).startswith("probe pod web/a ")


def test_a_pod_that_was_deleted_is_told(api, server):
    made = fleet(api)
    made.members([spec("a"), spec("b")])
    del server.cluster.objects["web", "pods"]["a"]
    members = made.members([spec("a"), spec("b")])
    assert "it was deleted" in members["a"].problem
    assert members["b"].usable


def test_pods_that_cannot_be_listed_are_not_usable(api, server):
    made = fleet(api)
    made.begin([spec("a")])
    server.fail("GET", "/pods", status=403, body={"message": "no more"})
    assert "no more" in made.members([spec("a")])["a"].problem


def test_a_meshed_twin_without_a_proxy_is_not_usable(api, server):
    server.cluster.add_workload("web", "back", 80)
    twin = spec("a", role=Role.MESHED)
    made = fleet(api)
    assert made.members([twin])["a"].usable
    statuses = server.cluster.objects["web", "pods"]["a"]["status"]["containerStatuses"]
    statuses[:] = [s for s in statuses if s["name"] != "istio-proxy"]
    assert "injected no proxy" in made.members([twin])["a"].problem


def test_our_namespace_is_made_once_with_the_first_pod_there(api, server):
    made = fleet(api)
    made.members([spec("a")])
    assert "probes" not in server.cluster.namespaces
    for name in ("b", "c"):
        assert made.members([spec(name, "probes", role=Role.CANARY)])[name].usable
    assert posts(server, "/namespaces") == 1
    assert posts(server, "/networkpolicies") == 0
    labels = server.cluster.namespaces["probes"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_seal_is_made_by_whoever_comes_first(api, server):
    first, second = fleet(api), fleet(api)
    first.members([spec("b", "probes", role=Role.CANARY)])
    assert first.seal_note() is None
    assert first.seal("by the first")
    assert second.seal_note() == "by the first"
    assert not second.seal("by the second")
    assert second.seal_note() == "by the first"


def test_a_seal_that_cannot_be_made_is_told(api, server):
    server.fail("POST", "/networkpolicies", status=403, body={"message": "not yours"})
    with pytest.raises(ApiFailure, match="not yours"):
        fleet(api).seal("")


def test_our_namespace_that_cannot_be_had_is_told_for_each_pod_there(api, server):
    server.fail("POST", "/namespaces", status=403, body={"message": "not yours"})
    assert "not yours" in problem(api, spec("a", "probes", role=Role.CANARY))


def test_a_service_of_ours_is_made_once_and_joined_by_other_processes(api, server):
    target = spec("a")
    first = fleet(api).service_ip(target)
    assert first == fleet(api).service_ip(target)
    assert first[0]
    assert first[1] == ""
    assert len(server.cluster.objects["web", "services"]) == 2


def test_a_service_that_cannot_be_made_is_told(api, server):
    server.fail("POST", "/services", status=403, body={"message": "exceeded quota"})
    ip, said = fleet(api).service_ip(spec("a"))
    assert ip == ""
    assert "403 exceeded quota" in said


# -- the end


def end(api: Api, run: Run = RUN) -> CleanupReport:
    return delete_run(api, run, namespaces=["web"], own_namespaces=["probes"])


def fill(api: Api, run: Run, *names: str) -> None:
    made = fleet(api, run=run)
    made.members([spec(f"{n}-{run.id}") for n in names])
    made.members([spec(f"canary-{run.id}", "probes", role=Role.CANARY)])
    made.service_ip(spec(f"{names[0]}-{run.id}"))


def test_everything_of_a_run_goes_and_nothing_else(api, server):
    fill(api, RUN, "a", "b")
    report = end(api)
    assert report.clean
    assert server.cluster.made_by_runs() == []
    assert "front-1" in server.cluster.objects["web", "pods"]
    assert "front" in server.cluster.objects["web", "services"]
    assert set(server.cluster.namespaces) == {"web"}


def test_another_run_keeps_what_is_its_own_and_the_namespace(api, server):
    fill(api, RUN, "a")
    fill(api, OTHER, "a")
    assert end(api).clean
    left = server.cluster.made_by_runs()
    assert left
    assert not [name for name in left if RUN.id in name]
    assert "probes" in server.cluster.namespaces
    assert end(api, OTHER).clean
    assert server.cluster.made_by_runs() == []
    assert "probes" not in server.cluster.namespaces


def test_a_namespace_of_an_administrator_stays(api, server):
    server.cluster.namespaces["probes"] = {"metadata": {"name": "probes", "labels": {}}}
    fill(api, RUN, "a")
    assert end(api).clean
    assert set(server.cluster.namespaces) == {"web", "probes"}


def test_ending_twice_or_without_anything_made_is_clean(api):
    assert end(api).clean
    assert end(api).clean


def test_what_stays_is_named_with_what_holds_it(api, server):
    fill(api, RUN, "a")
    server.cluster.undeletable = True
    name = f"a-{RUN.id}"
    server.cluster.objects["web", "pods"][name]["metadata"]["finalizers"] = ["example.com/hold"]
    report = end(api)
    assert not report.clean
    assert f"Pod web/{name} (held by finalizer example.com/hold)" in report.left


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/pods"), ("GET", "/pods"), ("DELETE", "/services"), ("GET", "/networkpolicies")],
)
@pytest.mark.parametrize("fault", ["status", "cut"])
def test_an_end_that_was_not_seen_is_not_clean(api, server, method, path, fault):
    # An administrator's namespace; one of the run's own takes all that is in it along.
    server.cluster.namespaces["probes"] = {"metadata": {"name": "probes", "labels": {}}}
    fill(api, RUN, "a")
    server.fail(method, path, **({"cut": True} if fault == "cut" else {"status": 403}))
    assert not end(api).clean


def test_a_namespace_that_is_gone_already_is_clean(api, server):
    fill(api, RUN, "a")
    for namespace in ("web", "probes"):
        del server.cluster.namespaces[namespace]
    assert end(api).clean


# -- a namespace of ours that an earlier run is deleting


def test_a_namespace_that_is_being_deleted_is_waited_for_and_made_anew(api, server):
    going = {"metadata": {"name": "probes", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    server.cluster.namespaces["probes"] = going
    threading.Timer(0.7, lambda: server.cluster.namespaces.pop("probes")).start()
    made = fleet(api).members([spec("canary", "probes", role=Role.CANARY)])
    assert made["canary"].usable
    assert "deletionTimestamp" not in server.cluster.namespaces["probes"]["metadata"]


def test_a_namespace_that_does_not_go_is_named_with_what_holds_it(api, server, monkeypatch):
    monkeypatch.setattr(making, "GOING_TIMEOUT", 0.2)
    server.cluster.namespaces["probes"] = {
        "metadata": {"name": "probes", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {
            "conditions": [
                {
                    "type": "NamespaceFinalizersRemaining",
                    "status": "True",
                    "message": "example.com/hold in 1 resource instances",
                }
            ]
        },
    }
    made = fleet(api).members([spec("canary", "probes", role=Role.CANARY)])
    assert "example.com/hold in 1 resource instances" in made["canary"].problem
    assert not made["canary"].usable


def test_a_namespace_that_goes_between_look_and_create_is_made_anew(api, server):
    message = "namespace probes is forbidden: because it is being terminated"
    server.fail("POST", "/namespaces/probes/pods", status=403, body={"message": message}, times=1)
    made = fleet(api).members([spec("canary", "probes", role=Role.CANARY)])
    assert made["canary"].usable


def test_the_end_outlives_a_server_that_is_away_for_a_moment(api, server, monkeypatch):
    monkeypatch.setattr(cleanup, "TIMEOUT", 5.0)
    fill(api, RUN, "a")
    server.fail("", "", cut=True, times=6)
    assert end(api).clean
    assert server.cluster.made_by_runs() == []


def test_what_is_made_while_the_end_deletes_goes_as_well(api, server, monkeypatch):
    monkeypatch.setattr(cleanup, "TIMEOUT", 5.0)
    monkeypatch.setattr(cleanup, "_POLL", 0.1)
    fill(api, RUN, "a")

    def late() -> None:
        made = fleet(api)
        made.members([spec("late")])

    threading.Timer(0.3, late).start()
    report = delete_run(api, RUN, namespaces=["web"], own_namespaces=["probes"], quiet=1.0)
    assert report.clean
    assert server.cluster.made_by_runs() == []
