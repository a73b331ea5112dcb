"""Every mistake in an intent file is answered with file, line, key, value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_zerotrust.core.intent import Workload
from pytest_zerotrust.errors import IntentProblem
from pytest_zerotrust.intent import load_intent
from pytest_zerotrust.intent.load import intent_from_text

A = "  a: {namespace: x, labels: {app: a}, ports: [80]}\n"
ONE = f"version: 1\nworkloads:\n{A}"

# mistake: the text, the line that the message must name, and words that it must contain
MISTAKES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "no version": ("namespaces: [a]\n", 1, ("version",)),
    "version 2": ("\nversion: 2\n", 2, ("version", "2", "must be 1")),
    "version in quotes": ("version: '1'\n", 1, ("version", '"1"', "must be 1")),
    "a key twice": ("version: 1\n\nversion: 1\n", 3, ("version", "twice")),
    "unknown key": (
        "version: 1\nflow: []\n",
        2,
        (
            "'flow'",
            "Did you mean 'flows'",
            "admission, baseline, encryption, exceptions, flows, mesh",
        ),
    ),
    "unknown key of a workload": (
        ONE.replace("ports", "prots"),
        3,
        ("'prots'", "workloads.a", "Did you mean 'ports'", "labels, meshed, namespace"),
    ),
    "unknown key of a port": (
        ONE.replace("[80]", "[{port: 80, protokol: UDP}]"),
        3,
        ("'protokol'", "workloads.a.ports.0", "Did you mean 'protocol'"),
    ),
    "workload without labels": (
        "version: 1\nworkloads:\n  a:\n    namespace: x\n",
        3,
        ("workloads.a", "labels", "required"),
    ),
    "workload without a namespace": (
        "version: 1\nworkloads:\n  a:\n    labels: {app: a}\n",
        3,
        ("workloads.a", "namespace", "required"),
    ),
    "no label at all": (ONE.replace("{app: a}", "{}"), 3, ("workloads.a.labels", "{}")),
    "label that is a number": (ONE.replace("app: a", "tier: 3"), 3, ("labels.tier", "3", "text")),
    "a controller's label": (
        ONE.replace("app: a", "app: a, pod-template-hash: abc"),
        3,
        ("'a'", "'pod-template-hash'", "controller"),
    ),
    "port 0": (ONE.replace("80", "0"), 3, ("workloads.a.ports.0", "0", "1")),
    "port 65536": (ONE.replace("80", "65536"), 3, ("ports.0", "65536", "65535")),
    "port in quotes": (ONE.replace("80", "'80'"), 3, ("ports.0", '"80"', "1 to 65535")),
    "port that is true": (ONE.replace("80", "true"), 3, ("ports.0", "true", "1 to 65535")),
    "port 65536 over udp": (ONE.replace("80", "65536/udp"), 3, ("ports.0", "65536/udp", "65535")),
    "port over icmp": (ONE.replace("80", "80/icmp"), 3, ("ports.0", "80/icmp", "5353/udp")),
    "protocol ICMP": (
        ONE.replace("80", "{port: 80, protocol: ICMP}"),
        3,
        ("protocol", "ICMP", "TCP", "UDP", "SCTP"),
    ),
    "a port twice": (ONE.replace("[80]", "[80, {port: 80}]"), 3, ("'a'", "80/tcp", "twice")),
    "two workloads alike": (
        ONE + "  b: {namespace: x, labels: {app: a}}\n",
        4,
        ("'a'", "'b'", "same namespace"),
    ),
    "namespace not listed": (
        "version: 1\nnamespaces: [y]\nworkloads:\n" + A,
        4,
        ("'a'", "'x'", "'namespaces'"),
    ),
    "namespaces empty": ("version: 1\nnamespaces:\n", 2, ("namespaces", "null")),
    "namespace twice": ("version: 1\nnamespaces: [a, a]\n", 2, ("namespaces", '["a", "a"]')),
    "namespace in capitals": ("version: 1\nnamespaces: [ok, Bad]\n", 2, ("namespaces.1", '"Bad"')),
    "flow with a wrong arrow": (ONE + "flows:\n  - a > a:80\n", 5, ("a > a:80", "->")),
    "flow without a port": (ONE + "flows:\n  - a -> a\n", 5, ("a -> a", "target:port")),
    "flow over icmp": (ONE + "flows:\n  - a -> a:80/icmp\n", 5, ("a -> a:80/icmp", "sctp")),
    "flow from nobody": (
        ONE + "flows:\n\n  - aa -> a:80\n",
        6,
        ("'aa'", "Did you mean 'a'", "Known: a"),
    ),
    "flow to nobody": (ONE + "flows:\n  - a -> c:80\n", 5, ("'c'", "Known: a")),
    "flow to an undeclared port": (
        ONE + "flows:\n  - a -> a:81\n",
        5,
        ("81/tcp", "Declared: 80/tcp"),
    ),
    "flow over the other protocol": (
        ONE + "flows:\n  - a -> a:80/udp\n",
        5,
        ("80/udp", "Declared: 80/tcp"),
    ),
    "flow that is a number": (ONE + "flows:\n  - 7\n", 5, ("flows.0", "7", "text")),
    "a flow twice": (ONE + "flows: [a -> a:80, a -> a:80]\n", 4, ("flows",)),
    "mesh of another make": ("version: 1\nmesh: {provider: x}\n", 2, ("provider", '"x"', "istio")),
    "mode PERMISSIVE": (
        "version: 1\nmesh:\n  mode: PERMISSIVE\n",
        3,
        ("mode", "PERMISSIVE", "STRICT"),
    ),
    "admission without registries": ("version: 1\nadmission: {}\n", 2, ("admission", "registries")),
    "registry without its slash": (
        "version: 1\nadmission:\n  registries:\n  - ok/\n  - r.example.com\n",
        5,
        ("registries.1", '"r.example.com"', "/"),
    ),
    "unknown engine": (
        "version: 1\nadmission: {registries: [r/], engine: gate}\n",
        2,
        ("engine", '"gate"', "gatekeeper", "pod-security"),
    ),
    "no pods": ("version: 1\nprobe: {maxPods: 0}\n", 2, ("probe.maxPods", "0", "1")),
    "empty image": ("version: 1\nprobe: {image: ''}\n", 2, ("probe.image", '""')),
    "bad YAML": ("version: 1\nflows: [a\n", 3, ("not valid YAML",)),
    "two documents": ("version: 1\n---\nversion: 1\n", 2, ("another document",)),
    "a list": ("- a\n", 1, ('["a"]', "a mapping")),
    "a sentence": ("hello\n", 1, ('"hello"', "a mapping")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_file_line_key_and_value(mistake):
    text, line, words = MISTAKES[mistake]
    with pytest.raises(IntentProblem) as caught:
        intent_from_text(text, "zero.yaml")
    message = str(caught.value)
    assert message.startswith(f"zero.yaml:{line}: ")
    for word in words:
        assert word in message
    assert "\n" not in message
    assert len(message) < 400


FOR_PEOPLE = {
    "workload in capitals": "version: 1\nworkloads:\n  A_B: {namespace: x, labels: {a: b}}\n",
    "namespace in capitals": MISTAKES["namespace in capitals"][0],
    "registry without its slash": MISTAKES["registry without its slash"][0],
    "label that is true": ONE.replace("app: a", "app: yes"),
    "namespaces empty": MISTAKES["namespaces empty"][0],
    "a list": MISTAKES["a list"][0],
    "a document of nothing": "---\n",
}


@pytest.mark.parametrize("mistake", FOR_PEOPLE)
def test_what_is_allowed_is_said_in_words_not_as_a_pattern_or_python(mistake):
    with pytest.raises(IntentProblem) as caught:
        intent_from_text(FOR_PEOPLE[mistake], "zero.yaml")
    for sign in ("^[", "None is", "True is", "['"):
        assert sign not in str(caught.value)


def test_a_bad_name_of_a_workload_is_told_with_its_own_line():
    with pytest.raises(IntentProblem, match=r"^zero\.yaml:3: .*A_B"):
        intent_from_text(FOR_PEOPLE["workload in capitals"], "zero.yaml")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_an_empty_file_is_told_what_it_must_say_at_least(text):
    with pytest.raises(IntentProblem, match=r"^zero\.yaml.*version"):
        intent_from_text(text, "zero.yaml")


CRASHES = {
    "an alias of itself": "a: &a [*a]\n",
    "nested too deep": "[" * 1500,
    "unknown tag": "version: !foo 1\n",
    "tag of a Python object": "version: !!python/object:os.system x\n",
    "tag that does not fit": "version: !!int one\n",
    "not base64": "version: !!binary abc\n",
    "port that is a fraction": ONE.replace("80", "80.5"),
    "a float that is none": "version: .inf\n",
}


@pytest.mark.parametrize("what", CRASHES)
def test_what_yaml_itself_chokes_on_is_one_clear_message(what):
    with pytest.raises(IntentProblem, match=r"^zero\.yaml(:\d+)?: ") as caught:
        intent_from_text(CRASHES[what], "zero.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "port",
    [
        "80.0",
        "{port: 80.0}",
    ],
)
def test_a_port_with_a_point_is_a_number_or_a_mistake(port):
    assert read(ONE.replace("80", port), lambda w: str(w.ports[0])) in ("mistake", "80/tcp")


@pytest.mark.parametrize("value", ["2024-12-05", "2024-13-45", "1:30", "0o17", "1e3", "a", "'yes'"])
def test_a_label_that_yaml_takes_for_something_else_is_the_text_or_told(value):
    found = read(ONE.replace("app: a", f"app: {value}"), lambda w: w.labels["app"])
    assert found in ("mistake", value.strip("'"))


def read(text: str, what: Callable[[Workload], str]) -> str:
    """Something of the workload 'a', or 'mistake' if the text was refused."""
    try:
        return what(intent_from_text(text, "zero.yaml").workloads["a"])
    except IntentProblem:
        return "mistake"


def test_a_null_character_is_one_clear_message():
    with pytest.raises(IntentProblem, match=r"^zero\.yaml.*not valid YAML"):
        intent_from_text("version: 1\x00", "zero.yaml")


def test_one_flow_in_two_spellings_is_refused_as_the_same():
    with pytest.raises(IntentProblem, match="twice"):
        intent_from_text(ONE + "flows: ['a -> a:80', 'a->a:80/tcp']\n", "zero.yaml")


def test_a_missing_file_is_named_with_the_option_that_gives_one(tmp_path: Path):
    missing = tmp_path / "none.yaml"
    with pytest.raises(IntentProblem, match=r"none\.yaml: no such file.*--zt-intent"):
        load_intent(missing)


def test_a_folder_and_a_file_of_noise_are_told_as_unreadable(tmp_path: Path):
    noise = tmp_path / "noise.yaml"
    noise.write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path, noise):
        with pytest.raises(IntentProblem, match="cannot be read"):
            load_intent(path)
