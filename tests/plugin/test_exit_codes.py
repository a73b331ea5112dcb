"""The shipped suite from end to end against a pretended cluster: each ending and its exit code."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.fakes.apiserver import ExecStream
from tests.fakes.cluster import gatekeeper, nobody
from tests.plugin.conftest import ADMISSION, HASTE, NETWORK, Project, text_of

BOTH = NETWORK + "admission: {registries: [registry.company.com/], engine: gatekeeper}\n"


@pytest.fixture
def suite(project: Project) -> Project:
    project.intent(BOTH)
    project.write("conftest.py", HASTE)
    return project


def conform(project: Project, *words: str) -> pytest.RunResult:
    return project.verify("--zt-conformance", *words)


def left(project: Project) -> list[str]:
    return project.api.cluster.made_by_runs()


def test_everything_that_holds_is_0_and_nothing_stays(suite: Project):
    result = conform(suite)
    assert result.ret == 0
    text = text_of(result)
    assert "failed" not in text
    assert "level 1 holds" in text
    assert "user tester" in text
    assert len([path for path in suite.made() if path.endswith("/pods")]) > 6
    assert left(suite) == []


def test_no_enforcement_is_1_and_says_who_reached_whom(suite: Project):
    suite.api.cluster.world.enforced = False
    result = conform(suite, "-k", "ZT-NET")
    assert result.ret == 1
    text = text_of(result)
    assert (
        "ZT-NET-001 web/gateway -> data/store:5432/tcp by pod IP REACHED, expected DENIED" in text
    )
    assert "no level holds" in text
    assert left(suite) == []


def deny(status: int, message: str) -> Any:
    """An admission that answers bad pods like this, and admits good ones."""
    return lambda pod: (status, message) if gatekeeper(pod) else None


ANSWERS: dict[str, tuple[Any, int]] = {
    "rejected by the engine": (gatekeeper, 0),
    "admitted": (nobody, 1),
    "good pods are turned away as well": (lambda pod: (403, gatekeeper.__doc__ or ""), 6),
    "RBAC": (deny(403, 'pods is forbidden: User "tester" cannot create resource "pods"'), 6),
    "quota": (deny(403, 'pods "p" is forbidden: exceeded quota: q'), 6),
    "webhook down": (deny(500, 'Internal error occurred: failed calling webhook "x": refused'), 6),
    "no such object": (deny(422, 'Pod "p" is invalid: spec'), 6),
    "another engine": (
        deny(403, 'pods "p" is forbidden: violates PodSecurity "restricted:latest": privileged'),
        6,
    ),
    "taken away": (deny(401, "Unauthorized"), 6),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_only_a_rejection_by_the_engine_under_test_is_0(project: Project, what):
    project.intent(ADMISSION)
    project.api.cluster.admission, code = ANSWERS[what]
    result = conform(project, "-k", "ZT-ADM")
    assert result.ret == code
    assert result.parseoutcomes()["passed" if code == 0 else "failed"] == 56


def test_a_violation_beside_what_is_inconclusive_is_1(project: Project):
    project.intent(ADMISSION)

    def mixed(pod: Any) -> Any:
        if any(c["securityContext"].get("privileged") for c in pod["spec"]["containers"]):
            return 500, "failed calling webhook"
        return None

    project.api.cluster.admission = mixed
    assert conform(project, "-k", "ZT-ADM").ret == 1


def cut(stream: ExecStream, output: bytes) -> None:
    stream.stdout(output[: len(output) // 2])
    stream.cut()


def no_status(stream: ExecStream, output: bytes) -> None:
    stream.stdout(output)
    stream.close()


def damaged(stream: ExecStream, output: bytes) -> None:
    stream.stdout(output[:-1] + b"!")
    stream.status()


def foreign(stream: ExecStream, output: bytes) -> None:
    stream.stdout(b"ZT1 2 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n{}")
    stream.status()


@pytest.mark.parametrize("script", [cut, no_status, damaged, foreign])
def test_replies_that_are_not_whole_are_6(suite: Project, script):
    suite.api.exec = script
    # Those that need probes; what is read from the API server is not touched by this.
    result = conform(suite, "-k", "ZT-NET-000 or ZT-NET-001 or ZT-NET-003 or ZT-NET-01")
    assert result.ret == 6
    assert " passed" not in text_of(result)
    assert left(suite) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/web/pods"), ("GET", "/web/pods"), ("GET", "/pods/"), ("POST", "/services")],
)
def test_a_permission_lost_in_mid_run_is_6_and_never_a_denial(suite: Project, method, path):
    suite.write(
        "test_first.py",
        "def test_lose_it():\n"
        "    import urllib.request\n"
        f"    urllib.request.urlopen('{suite.api.url}/lose-it')\n",
    )
    api = suite.api
    answer = api.cluster.answer

    def losing(*request: Any) -> Any:
        if request[1] == "/lose-it":
            api.fail(method, path, status=403, body={"message": "User cannot"})
            return 200, {}
        return answer(*request)

    api.cluster.answer = losing
    result = conform(suite, "test_first.py", "-k", "lose or ZT-NET-00 or ZT-NET-001")
    assert result.ret == 6
    assert "VIOLATED" not in text_of(result)


def test_what_cannot_be_deleted_is_6_and_named_with_the_way_to_delete_it(suite: Project):
    suite.write(
        "conftest.py", HASTE + "\nimport pytest_zerotrust.fleet.cleanup as c\nc.TIMEOUT = 0\n"
    )
    suite.api.cluster.undeletable = True
    result = conform(suite, "-k", "canaries")
    assert result.ret == 6
    text = text_of(result)
    assert "left behind: Pod " in text
    assert "kubectl -n zerotrust-probes delete pods" in text


ENDS = {
    "Ctrl-C": ("raise KeyboardInterrupt", 2),
    "SIGTERM": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 2),
    "pytest.exit": ("pytest.exit('enough', returncode=3)", 3),
    "a failure with -x": ("assert 0", 1),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_run_that_is_broken_off_leaves_nothing(suite: Project, how):
    statement, code = ENDS[how]
    suite.test(f"def test_end(): {statement}", "test_end.py")
    result = conform(suite, "-x", "test_end.py", "-p", "no:randomly")
    assert result.ret == code
    assert left(suite) == []


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "a failure with -x"])
def test_a_run_that_is_broken_off_after_pods_were_made_deletes_them(suite: Project, how):
    statement, code = ENDS[how]
    suite.write(
        "conftest.py",
        HASTE + "def pytest_collection_modifyitems(items):\n"
        "    items.sort(key=lambda i: i.name.startswith('test_end'))\n",
    )
    suite.test(f"def test_end(): {statement}", "test_end.py")
    result = conform(suite, "-x", "test_end.py", "-k", "canaries or end")
    assert result.ret == code
    assert [path for path in suite.made() if path.endswith("/pods")]
    assert left(suite) == []


def test_nothing_collected_is_5_and_says_how_to_add_the_suite(project: Project):
    result = project.verify()
    assert result.ret == 5
    assert "--zt-conformance" in text_of(result)


def test_an_internal_error_is_3_and_leaves_nothing(suite: Project, monkeypatch):
    suite.write("boom.py", "def pytest_runtest_logfinish(nodeid): 1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(suite.path))
    result = conform(suite, "-p", "boom", "-k", "canaries")
    assert result.ret == 3
    assert left(suite) == []


@pytest.mark.parametrize(
    ("level", "code", "said"),
    [("1", 0, "level 1 holds; level 1 was demanded"), ("2", 6, "level 2 was demanded")],
)
def test_a_demanded_level_gates(suite: Project, level, code, said):
    result = conform(suite, f"--zt-level={level}")
    assert result.ret == code
    assert said in text_of(result)


PART = {
    "-k": ("-k", "ZT-NET and not ZT-NET-002"),
    "--deselect": ("--deselect", "test_zt_network.py::test_policies_are_enforced"),
    "xdist": ("-k", "ZT-NET and not ZT-NET-002", "-n", "2"),
}


@pytest.mark.parametrize("way", PART)
def test_no_level_is_judged_by_a_part_of_its_checks(suite: Project, way):
    result = conform(suite, *PART[way])
    assert result.ret == 0
    text = text_of(result)
    assert "no level holds" in text
    assert re.search(r"   \d+ of \d+ checks ran; not judged", text)

    gated = conform(suite, "--zt-level=1", *PART[way])
    assert gated.ret == 6
    assert re.search(
        r"level 1 was demanded, but of level 1 \d+ of \d+ checks ran; not judged", text_of(gated)
    )


def test_one_check_named_by_its_id_judges_no_level(suite: Project):
    suite.test(
        "@pytest.mark.zt_each('canaries')\n"
        "def test_enforced(zt_network, check): zt_network.verify(check)"
    )
    result = suite.verify("test_it.py::test_enforced", "--zt-level=1")
    assert result.ret == 6
    assert result.parseoutcomes()["passed"] == 1
    assert "level 1 was demanded, but of level 1 1 of " in text_of(result)


def test_a_demanded_level_without_the_suite_is_not_green(suite: Project):
    suite.test("def test_a(): pass")
    assert suite.verify("--zt-level=1").ret == 6


def test_nothing_but_what_does_not_apply_is_6(project: Project):
    project.intent("version: 1\nprobe: {image: i}\n")
    result = conform(project, "-k", "ZT-MSH or ZT-ADM")
    assert set(result.parseoutcomes()) == {"skipped", "deselected"}
    assert result.ret == 6
    assert "not applicable: not-declared" in text_of(result)
