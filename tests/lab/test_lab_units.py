"""The lab's own logic, without any lab: names, addresses, builds, processes, readiness."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from ci.lab import build, cgroups, gotool, network, processes, readiness, settings, store
from ci.lab.cli import main
from ci.lab.settings import Lab, LabError
from ci.lab.stopwatch import Stopwatch


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "STATE_ROOT", tmp_path / "state")
    monkeypatch.setattr(settings, "RUN_ROOT", tmp_path / "run")
    monkeypatch.setenv("ZT_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def obtain(name: str, cni: str = "cilium") -> Lab:
    return settings.obtain(name, with_mesh=True, with_admission=False, cni=cni)


@pytest.mark.usefixtures("roots")
def test_the_default_lab_has_the_documented_addresses() -> None:
    lab = obtain("zt")
    assert lab.server == "https://172.30.0.11:6443"
    assert [node.name for node in lab.nodes] == ["zt-node1", "zt-node2"]
    assert [node.pod_cidr for node in lab.nodes] == ["10.244.0.0/24", "10.244.1.0/24"]


@pytest.mark.usefixtures("roots")
def test_every_lab_has_its_own_index_and_keeps_it() -> None:
    assert [obtain(name).index for name in ("other", "zt", "third")] == [1, 0, 2]
    assert obtain("other") == settings.load("other")
    assert settings.existing() == ["other", "third", "zt"]


@pytest.mark.usefixtures("roots")
def test_a_lab_is_not_silently_another_one() -> None:
    obtain("zt")
    with pytest.raises(LabError, match=r"other choices .*--without admission.*down --name zt"):
        obtain("zt", cni="ptp")


@pytest.mark.usefixtures("roots")
def test_places_run_out_with_the_names_of_those_who_have_them() -> None:
    for number in range(9):
        obtain(f"lab{number}")
    with pytest.raises(LabError, match="lab0, lab1"):
        obtain("onemore")


@pytest.mark.parametrize("name", ["", "Zt", "../x", "1st", "a" * 21, "with space"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="--name"):
        settings.load(name)


@pytest.mark.usefixtures("roots")
def test_verbs_without_a_lab_say_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("status", "kubeconfig"):
        assert main([verb, "--name", "nothere"]) == 1
        assert "no lab named 'nothere'" in capsys.readouterr().err


@pytest.mark.usefixtures("roots")
def test_a_held_lock_is_reported() -> None:
    with (
        settings.locked("x"),
        pytest.raises(LabError, match="busy here"),
        settings.locked("x", wait=False, busy="busy here"),
    ):
        pass


def test_every_component_names_its_version_and_programs() -> None:
    for item in build.COMPONENTS:
        assert re.match(r"\d+\.\d+", item.version)
        assert item.programs
        assert "-mod=readonly" in item.flags()
    kubernetes = build.component("kubernetes")
    assert "kube-apiserver" in kubernetes.programs
    assert f"gitVersion=v{kubernetes.version}" in " ".join(kubernetes.flags())
    assert build.component("gatekeeper").programs == ("gatekeeper",)


def test_unknown_programs_are_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="kubelet"):
        build.program(tmp_path, "kubernetes", "kubelt")
    with pytest.raises(LabError, match="not built yet"):
        build.program(tmp_path, "kubernetes", "kubelet")


def fake_go(place: Path, script: str) -> Path:
    go = place / "go"
    go.write_text(f"#!/bin/sh\n{script}\n")
    go.chmod(go.stat().st_mode | stat.S_IXUSR)
    return go


@pytest.fixture
def building(roots: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A go command that makes an empty file for each program; a test may replace it."""
    script = 'while [ "$1" != -o ]; do shift; done; for p in "${@:3}"; do touch "$2/${p##*/}"; done'
    go = fake_go(roots, f"exec bash -c '{script}' bash \"$@\"")
    monkeypatch.setattr(build, "go_program", lambda _cache: go)
    monkeypatch.setattr(build, "go_version", lambda _cache: "go1.0")
    return roots


def test_what_is_built_is_not_built_again(building: Path) -> None:
    cache = building / "cache"
    said: list[str] = []
    build.ensure(cache, said.append, names=["helm", "opa"])
    assert any("component 2 of 2: opa" in line for line in said)
    assert build.program(cache, "helm", "helm").exists()
    fake_go(building, "exit 1")
    said.clear()
    build.ensure(cache, said.append, names=["helm", "opa"])
    assert said == []


def test_a_failed_build_leaves_nothing_that_looks_built(building: Path) -> None:
    cache = building / "cache"
    fake_go(building, "echo the reason >&2; exit 3")
    with pytest.raises(LabError, match=r"(?s)building helm failed.*the reason"):
        build.ensure(cache, lambda _: None, names=["helm"])
    with pytest.raises(LabError, match="not built yet"):
        build.program(cache, "helm", "helm")


def test_a_build_that_failed_does_not_hinder_the_next_one(building: Path) -> None:
    cache = building / "cache"
    fake_go(building, "exit 3")
    with pytest.raises(LabError):
        build.ensure(cache, lambda _: None, names=["helm"])
    fake_go(building, 'while [ "$1" != -o ]; do shift; done; touch "$2/helm"')
    build.ensure(cache, lambda _: None, names=["helm"])
    assert build.program(cache, "helm", "helm").exists()


def test_a_new_go_version_builds_anew(building: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = building / "cache"
    build.ensure(cache, lambda _: None, names=["helm"])
    monkeypatch.setattr(build, "go_version", lambda _cache: "go2.0")
    build.ensure(cache, lambda _: None, names=["helm"])
    assert build.program(cache, "helm", "helm").parent.name.endswith("-go2.0")


def test_the_build_environment_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.delenv("HOME")
    environment = gotool.go_environment(tmp_path)
    assert environment["GOFLAGS"] == "-buildvcs=false"
    assert environment["GOTOOLCHAIN"] == "local"
    assert environment["GOCACHE"].startswith(str(tmp_path))


@pytest.mark.usefixtures("roots")
def test_a_process_is_only_itself() -> None:
    lab = obtain("zt")
    me = processes.describe(os.getpid())
    assert me is not None
    assert processes.table()[me.namespace, me.inner] == me
    facts = '{"boot": "%s", "namespace": "%s", "digest": ""}'
    note = lab.state / "processes" / "it.json"
    note.parent.mkdir()

    def found(boot: str, started: int) -> bool:
        note.write_text(facts % (boot, me.namespace))
        note.with_suffix(".identity").write_text(f"{me.inner} {started}\n")
        return processes.find(lab, "it", processes.table()) is not None

    assert found(processes.boot_id(), me.started)
    assert not found(processes.boot_id(), me.started + 1), "its number was given to another"
    assert not found("another", me.started), "the machine was started again"
    note.write_text("{")
    assert processes.find(lab, "it", processes.table()) is None


def test_a_dead_process_that_nobody_reaped_is_dead() -> None:
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.describe(child.pid) is None


def test_a_component_changes_with_its_files() -> None:
    one = processes.Component("a", "m", ("x",), files=((Path("f"), "1"),))
    other = processes.Component("a", "m", ("x",), files=((Path("f"), "2"),))
    assert one.digest() != other.digest()


def pod(*, ready: bool, started: str) -> dict[str, object]:
    return {
        "status": {
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"state": {"running": {"startedAt": started}}}],
        }
    }


def test_a_pod_ready_from_before_the_restart_is_stale() -> None:
    since = readiness._seconds("2026-01-01T00:00:10Z")
    old, new = "2026-01-01T00:00:09Z", "2026-01-01T00:00:10Z"
    assert readiness._is_stale(pod(ready=True, started=old), since)
    assert not readiness._is_stale(pod(ready=True, started=new), since)
    assert not readiness._is_stale(pod(ready=False, started=old), since)


@pytest.mark.usefixtures("roots")
def test_nodes_have_no_default_route() -> None:
    for cni in settings.CNI_MODES:
        lab = settings.describe("zt", 0, with_mesh=True, with_admission=True, cni=cni)
        commands = network._node_commands(lab, lab.nodes[0].address)
        assert not [line for line in commands if "default" in line or " 0.0.0.0/0" in line]
        # Cilium lays the routes between the pods itself.
        assert any(lab.nodes[1].pod_cidr in line for line in commands) == (cni == "ptp")


def test_every_hierarchy_is_listed_once() -> None:
    found = cgroups.hierarchies()
    assert len({hierarchy.mount for hierarchy in found}) == len(found) > 0


def test_planted_stores_share_files_but_no_database(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    for name in (*store.DATABASES, "blob"):
        (seed / name).parent.mkdir(parents=True, exist_ok=True)
        (seed / name).write_text(name)
    store.plant(seed, tmp_path / "node")
    assert (tmp_path / "node/blob").samefile(seed / "blob")
    for name in store.DATABASES:
        assert not (tmp_path / "node" / name).samefile(seed / name)
        assert (tmp_path / "node" / name).read_text() == name


def test_the_table_shows_overlapping_steps_in_the_order_of_their_ends() -> None:
    watch = Stopwatch(lambda _: None)
    with watch.step("outer"), watch.step("inner"):
        pass
    names = [line.split()[0] for line in watch.table().splitlines()]
    assert names == ["step", "inner", "outer", "all"]
