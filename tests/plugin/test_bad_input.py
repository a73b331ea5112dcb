"""Bad input is exit code 4 and one paragraph, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.servers import free_port
from tests.plugin.conftest import ADMISSION, NETWORK, Project, paragraph, text_of

USES = "def test_a(zt_network): zt_network.expect(None)"
workers = pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "two-workers"])


def no_cluster(project: Project) -> list[str]:
    return ["--zt-conformance"]


def kubeconfig(text: str | None = None, **changes: Any) -> Callable[[Project], list[str]]:
    def made(project: Project) -> list[str]:
        path = project.path / "k.yaml"
        if text is None:
            project.api.kubeconfig(path, **changes)
        else:
            path.write_text(text)
        return [f"--kubeconfig={path}"]

    return made


def fault(method: str, path: str, **changes: Any) -> Callable[[Project], list[str]]:
    def made(project: Project) -> list[str]:
        project.api.fail(method, path, **changes)
        return [f"--kubeconfig={project.kubeconfig}"]

    return made


def words(*given: str) -> Callable[[Project], list[str]]:
    return lambda project: [w.format(kube=project.kubeconfig, path=project.path) for w in given]


def intent(text: str, *more: str) -> Callable[[Project], list[str]]:
    def made(project: Project) -> list[str]:
        project.intent(text)
        return [f"--kubeconfig={project.kubeconfig}", *more]

    return made


def anonymous(project: Project) -> list[str]:
    project.api.cluster.username = "system:anonymous"
    return [f"--kubeconfig={project.kubeconfig}"]


def lacking(project: Project) -> list[str]:
    project.intent(NETWORK)
    project.api.cluster.denied = lambda attributes: attributes["subresource"] == "exec"
    return [f"--kubeconfig={project.kubeconfig}", "--zt-conformance"]


def unreachable(project: Project) -> list[str]:
    project.api.url = f"http://127.0.0.1:{free_port()}"
    return kubeconfig()(project)


KUBE = "--kubeconfig={kube}"
NO_IMAGE = NETWORK.replace('probe: {image: "registry.company.com/probe:1"}', "")
NOWHERE = NETWORK.replace("namespace: data", "namespace: nowhere")
NOBODY = NETWORK.replace("app: store", "app: nobody")
# input: how it is given, and the words that the paragraph must hold
BAD: dict[str, tuple[Callable[[Project], list[str]], tuple[str, ...]]] = {
    "the suite without a cluster": (no_cluster, ("--kubeconfig FILE", "--in-cluster")),
    "a missing kubeconfig": (words("--kubeconfig={path}/none"), ("/none: no such file",)),
    "a folder": (words("--kubeconfig={path}"), ("--kubeconfig",)),
    "an empty kubeconfig": (kubeconfig(""), ("k.yaml",)),
    "a kubeconfig that is no YAML": (kubeconfig("a: ["), ("k.yaml", "not valid YAML")),
    "a kubeconfig of one word": (kubeconfig("hello"), ("k.yaml",)),
    "no contexts": (kubeconfig(contexts=[]), ("k.yaml", "contexts")),
    "no clusters": (kubeconfig(clusters=[]), ("k.yaml", "clusters")),
    "a token file that is missing": (
        kubeconfig(users=[{"name": "me", "user": {"tokenFile": "/none"}}]),
        ("/none",),
    ),
    "no server": (kubeconfig(clusters=[{"name": "lab", "cluster": {}}]), ("lab",)),
    "an unknown context": (words(KUBE, "--kube-context=prod"), ("prod", "Known: lab")),
    "a context without a kubeconfig": (words("--kube-context=lab"), ("--kubeconfig FILE",)),
    "a level without a cluster": (words("--zt-level=1"), ("--kubeconfig FILE",)),
    "two clusters": (words(KUBE, "--in-cluster"), ("--in-cluster", "exclude")),
    "in a cluster that is none": (words("--in-cluster"), ("--in-cluster", "--kubeconfig FILE")),
    "an unreachable server": (unreachable, ("cannot be reached", "lab")),
    "a server that resets": (fault("", "/", cut=True), ("cannot be reached",)),
    "credentials that are not accepted": (fault("POST", "reviews", status=401), ("401", "expired")),
    "an anonymous user": (anonymous, ("system:anonymous",)),
    "a server in trouble": (fault("POST", "subjectreviews", status=500), ("500",)),
    "rights that cannot be asked for": (fault("POST", "accessreviews", status=403), ("403",)),
    "a missing right": (lacking, ("tester", "create pods/exec", "--zt-rbac")),
    "a page in the server's place": (
        fault("", "/", status=200, body=b"<html>log in</html>"),
        ("nobody",),
    ),
    "a missing intent file": (words(KUBE, "--zt-intent=none.yaml"), ("none.yaml", "--zt-intent")),
    "an intent that is no YAML": (intent("a: ["), ("zerotrust.yaml:",)),
    "an intent with a wrong key": (intent("version: 1\nflow: []"), ("zerotrust.yaml:2:", "flows")),
    "an intent with a recursive alias": (intent("a: &a [*a]"), ("zerotrust.yaml",)),
    "a namespace that is not there": (intent(NOWHERE), ("'nowhere'", "does not exist")),
    "a workload without a pod": (intent(NOBODY), ("'store'", "app=nobody")),
    "no image": (intent(NO_IMAGE), ("--zt-probe-image", "probe.image")),
    "a level that is none": (words(KUBE, "--zt-level=9"), ()),
    "a level in words": (words(KUBE, "--zt-level=high"), ()),
}
# These are usage errors of pytest's own parser.
BY_PYTEST = ("a level that is none", "a level in words")


@pytest.mark.parametrize("what", [name for name in BAD if name not in BY_PYTEST])
def test_bad_input_is_one_paragraph_exit_code_4_and_nothing_is_made(project: Project, what):
    given, said = BAD[what]
    project.test("def test_a(): pass")
    result = project.run(*given(project))
    told = paragraph(result)
    assert result.ret == 4
    assert told.startswith("zerotrust: ")
    for word in said:
        assert word in told
    assert "\n" not in told
    assert ": :" not in told
    assert project.made() == []
    assert "passed" not in text_of(result)


@pytest.mark.parametrize("what", BY_PYTEST)
def test_a_value_that_is_none_of_the_choices_is_told_by_pytest(project: Project, what):
    result = project.run(*BAD[what][0](project))
    assert result.ret == 4
    assert "--zt-level" in text_of(result)
    assert project.api.seen == []


@pytest.mark.parametrize(
    "what",
    ["the suite without a cluster", "an unreachable server", "a missing right"],
)
def test_bad_input_is_the_same_with_two_workers(project: Project, what):
    given, said = BAD[what]
    project.test("def test_a(): pass")
    result = project.run(*given(project), "-n", "2")
    assert result.ret == 4
    for word in said:
        assert word in paragraph(result)
    assert project.made() == []


@pytest.mark.parametrize(
    "words",
    [(), ("-n", "2")],
)
def test_tests_that_use_ours_without_a_cluster_are_told_what_to_give(project: Project, words):
    project.test(USES)
    result = project.run(*words)
    assert result.ret == 4
    assert "--kubeconfig FILE" in paragraph(result)


def test_the_suite_without_a_cluster_can_be_listed(project: Project):
    project.intent(ADMISSION)
    result = project.run("--zt-conformance", "--collect-only", "-q")
    assert result.ret == 0
    assert "ZT-ADM-001-privileged-in-containers-web" in text_of(result)
    assert project.api.seen == []


def test_a_missing_right_is_named_before_anything_is_made(project: Project):
    project.intent(NETWORK)
    project.api.cluster.denied = lambda attributes: (
        attributes["verb"] == "deletecollection" and attributes["resource"] == "pods"
    )
    result = project.verify("--zt-conformance")
    assert result.ret == 4
    assert "deletecollection pods in namespace data" in paragraph(result)
    assert project.made() == []


def test_a_missing_right_in_a_namespace_of_an_option_is_named_too(project: Project):
    project.intent(NETWORK)
    project.api.cluster.denied = lambda attributes: attributes.get("namespace") == "extra"
    # A test of one's own says only while it runs where it needs its pods.
    project.test("def test_a(zt_network): pass")
    result = project.verify("--zt-namespace=extra")
    assert result.ret == 4
    assert "in namespace extra" in paragraph(result)


MARKERS = [
    ("@pytest.mark.zt_each('nonsense')\ndef test_a(zt_network, check): pass", "'nonsense'"),
    ("@pytest.mark.zt_each()\ndef test_a(zt_network, check): pass", "one kind"),
    ("@pytest.mark.zt_each('dns')\ndef test_a(zt_network): pass", "'check'"),
]


@pytest.mark.parametrize(("body", "said"), MARKERS)
def test_a_marker_that_is_not_understood_is_told_and_never_green(project: Project, body, said):
    project.test(body)
    result = project.verify()
    assert result.ret == 4
    assert said in paragraph(result)
    assert project.made() == []


@pytest.mark.parametrize(("body", "said"), MARKERS)
def test_a_marker_that_is_not_understood_is_told_by_workers(project: Project, body, said):
    project.test(body)
    result = project.verify("-n", "2")
    assert result.ret in (1, 2)
    assert said in text_of(result)
    assert "Traceback" not in text_of(result)
    assert project.made() == []
