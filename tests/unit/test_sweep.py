"""The sweeper removes what has expired, whoever made it, and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_zerotrust.cluster.api import Api, Response, server_time
from pytest_zerotrust.cluster.connection import ClusterOptions, open_connection
from pytest_zerotrust.core.intent import ProbeIntent
from pytest_zerotrust.fleet import manifests
from pytest_zerotrust.fleet import sweep as module
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.run import Run, expiring, new_run
from pytest_zerotrust.fleet.sweep import read_found, sweep
from tests.fakes.apiserver import FakeApi, api_server
from tests.fakes.cluster import nobody

PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"


def run(name: str, expires: str) -> Run:
    return Run(id=name, secret="s", owner="me@here", expires=expires)


OLD, NEW = run("oldoldol", PAST), run("newnewne", FUTURE)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    with api_server() as started:
        started.cluster.admission = nobody
        started.cluster.add_workload("web", "front", 80)
        started.cluster.add_workload("elsewhere", "back", 80)
        yield started


@pytest.fixture
def api(server: FakeApi, tmp_path: Path) -> Api:
    path = server.kubeconfig(tmp_path / "kube.yaml")
    return Api(open_connection(ClusterOptions(kubeconfig=str(path))))


def spec(owner: Run, namespace: str) -> PodSpec:
    return PodSpec(
        name=owner.name("twin", namespace), namespace=namespace, role=Role.TWIN, subject="front",
        labels={"app": "front"},
    )  # fmt: skip


def fill(api: Api, owner: Run, *, own: str = "") -> None:
    """What a run makes: twins in two namespaces, a Service, and perhaps its own namespace."""
    for namespace in ("web", "elsewhere"):
        twin = spec(owner, namespace)
        path = f"/api/v1/namespaces/{namespace}"
        api.create(f"{path}/pods", manifests.pod(twin, owner, "image", ProbeIntent()))
        service = manifests.service(owner.name("svc"), twin, owner)
        service["metadata"]["uid"] = f"uid-{owner.id}"
        api.create(f"{path}/services", service)
    if own:
        api.create("/api/v1/namespaces", manifests.namespace(own, owner, pod_security="restricted"))


def test_what_has_expired_goes_in_all_namespaces_and_nothing_else(api, server):
    fill(api, OLD, own="probes")
    fill(api, NEW)
    report = sweep(api, ["web"])
    assert report.clean
    assert len(report.removed) == 5
    assert "Namespace probes (run oldoldol of me@here, expires 2020-01-01T00:00:00Z)" in (
        report.removed
    )
    assert len(report.kept) == 4
    assert all("run newnewne" in text for text in report.kept)
    assert report.namespaces == ()
    left = server.cluster.made_by_runs()
    assert len(left) == 4
    assert not [name for name in left if OLD.id in name]
    assert "front-1" in server.cluster.objects["web", "pods"]
    assert "front" in server.cluster.objects["web", "services"]


def test_nothing_to_do_is_clean(api):
    assert sweep(api, ["web"]).clean


def test_without_the_right_to_list_the_cluster_the_named_namespaces_are_swept(api, server):
    fill(api, OLD)
    server.cluster.cluster_wide = False
    report = sweep(api, ["web", "gone"])
    assert report.namespaces == ("web", "gone")
    assert [text.split()[0] for text in report.removed] == ["Pod", "Service"]
    assert len(server.cluster.made_by_runs()) == 2
    assert report.clean


STRANGE: dict[str, Any] = {
    "no expiry": {"annotations": {"zerotrust.dev/owner": "me"}},
    "an unreadable expiry": {
        "annotations": {"zerotrust.dev/owner": "me", "zerotrust.dev/expires": "yesterday"}
    },
    "no owner": {"annotations": {"zerotrust.dev/expires": PAST}},
    "no annotations": {"annotations": None},
    "a name of its own": {"name": "payments-1"},
    "another run's name": {"name": "zt-newnewne-twin-x"},
    "an empty run": {"labels": {"zerotrust.dev/run": ""}},
}


@pytest.mark.parametrize("what", STRANGE)
def test_an_object_that_only_looks_like_ours_stays_and_is_told_of(api, server, what):
    body = manifests.pod(spec(OLD, "web"), OLD, "image", ProbeIntent())
    body["metadata"] |= STRANGE[what]
    api.create("/api/v1/namespaces/web/pods", body)
    report = sweep(api, [])
    assert report.removed == ()
    assert len(report.kept) == 1
    assert body["metadata"]["name"] in server.cluster.objects["web", "pods"]


def test_a_namespace_that_is_not_empty_stays(api, server):
    fill(api, OLD, own="probes")
    server.cluster._kind("probes", "secrets")["pull"] = {"metadata": {"name": "pull"}}
    report = sweep(api, [])
    assert "probes" in server.cluster.namespaces
    assert any("it holds Secret pull" in text for text in report.kept)
    assert report.clean


def test_a_namespace_whose_content_cannot_be_seen_stays(api, server):
    fill(api, OLD, own="probes")
    server.fail("GET", "/namespaces/probes/secrets", status=403)
    report = sweep(api, [])
    assert "probes" in server.cluster.namespaces
    assert any("cannot be seen" in text for text in report.kept)


def test_what_each_namespace_gets_by_itself_does_not_hold_it(api, server):
    fill(api, OLD, own="probes")
    root = {"metadata": {"name": "kube-root-ca.crt"}}
    server.cluster._kind("probes", "configmaps")["kube-root-ca.crt"] = root
    sweep(api, [])
    assert "probes" not in server.cluster.namespaces


def test_what_will_not_go_is_named_with_its_finalizer_and_is_not_clean(api, server):
    fill(api, OLD)
    server.cluster.undeletable = True
    (pod,) = [
        o for n, o in server.cluster.objects["web", "pods"].items() if n.startswith("zt-")
    ]  # fmt: skip
    pod["metadata"]["finalizers"] = ["example.com/hold"]
    report = sweep(api, [])
    assert not report.clean
    assert any("held by finalizer example.com/hold" in text for text in report.left)


def test_a_namesake_made_meanwhile_stays(api, server, monkeypatch):
    fill(api, OLD)
    delete = module._delete

    def replaced(api: Api, item: Any) -> None:
        for objects in server.cluster.objects.values():
            if item.name in objects:
                objects[item.name]["metadata"]["uid"] = "of-another"
        delete(api, item)

    monkeypatch.setattr(module, "_delete", replaced)
    sweep(api, [])
    assert len(server.cluster.made_by_runs()) == 4


@pytest.mark.parametrize("fault", [{"status": 500}, {"cut": True}])
def test_what_could_not_be_deleted_or_seen_is_an_error(api, server, fault):
    fill(api, OLD)
    server.fail("DELETE", "/pods", **fault)
    assert not sweep(api, []).clean


def test_a_list_that_fails_is_an_error_and_never_an_empty_cluster(api, server):
    server.fail("GET", "/api/v1/pods", status=500)
    assert not sweep(api, []).clean


def test_a_server_that_tells_no_time_lets_nothing_expire(api, server, monkeypatch):
    fill(api, OLD)
    monkeypatch.setattr(module, "server_time", lambda response: None)
    report = sweep(api, [])
    assert not report.clean
    assert len(server.cluster.made_by_runs()) == 4


def test_time_is_the_servers(api, server, monkeypatch):
    """By the clock of a machine that is wrong, everything would have expired."""
    fill(api, run("oldoldol", "2050-01-01T00:00:00Z"))
    moment = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
    monkeypatch.setattr(module, "server_time", lambda response: moment)
    assert sweep(api, []).removed == ()
    monkeypatch.setattr(module, "server_time", lambda r: moment + datetime.timedelta(days=2))
    assert len(sweep(api, []).removed) == 4


@pytest.mark.parametrize("text", ["", "soon", "Fri, 99 Nov 2026 10:00:00 GMT"])
def test_a_date_that_is_none_is_no_time(text):
    assert server_time(Response(status=200, body={}, headers={"Date": text})) is None


def test_the_date_of_an_answer_is_read():
    headers = {"date": "Fri, 27 Nov 2026 10:00:00 GMT"}
    seen = server_time(Response(status=200, body={}, headers=headers))
    assert seen == datetime.datetime(2026, 11, 27, 10, tzinfo=datetime.UTC)


def test_a_run_expires_by_the_servers_clock():
    now = datetime.datetime(2026, 11, 27, 10, tzinfo=datetime.UTC)
    assert expiring(new_run("me"), now).expires == "2026-11-27T11:00:00Z"


def test_every_object_of_a_run_says_whose_it_is_and_when_it_expires():
    twin = spec(OLD, "web")
    made = {
        "Pod": manifests.pod(twin, OLD, "image", ProbeIntent()),
        "Service": manifests.service(OLD.name("svc"), twin, OLD),
        "NetworkPolicy": manifests.seal(OLD.name("seal"), "probes", OLD, "note"),
        "Namespace": manifests.namespace("probes", OLD, pod_security="restricted"),
    }
    for kind, body in made.items():
        found = read_found(kind, "/path", body)
        assert (found.run, found.owner) == (OLD.id, "me@here"), kind
        assert found.expires is not None, kind
