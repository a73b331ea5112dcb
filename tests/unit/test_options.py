"""Path options are joined to their values, so that pytest does not take a file for a test."""

from __future__ import annotations

import pytest

from pytest_zerotrust.options import join_path_options

JOINED = [
    ([], []),
    (["tests", "-x"], ["tests", "-x"]),
    (["--kubeconfig", "k.yaml"], ["--kubeconfig=k.yaml"]),
    (["--kubeconfig=k.yaml"], ["--kubeconfig=k.yaml"]),
    (["--kubeconfig", "a", "--zt-intent", "b"], ["--kubeconfig=a", "--zt-intent=b"]),
    (["--zt-artifacts", "out", "tests"], ["--zt-artifacts=out", "tests"]),
    (["t", "--kubeconfig", "a b/k.yaml", "-q"], ["t", "--kubeconfig=a b/k.yaml", "-q"]),
    (["--kubeconfig", "a", "--kubeconfig", "b"], ["--kubeconfig=a", "--kubeconfig=b"]),
    (["--kubeconfig"], ["--kubeconfig"]),
    (["-q", "--zt-intent"], ["-q", "--zt-intent"]),
    (["--kubeconfig", ""], ["--kubeconfig="]),
    (["--", "--kubeconfig", "x"], ["--", "--kubeconfig", "x"]),
    (["--kubeconfig", "x", "--", "y"], ["--kubeconfig=x", "--", "y"]),
    (["--kubeconfiguration", "x"], ["--kubeconfiguration", "x"]),
    (["--zt-level", "2"], ["--zt-level", "2"]),
    (["-k", "--kubeconfig"], ["-k", "--kubeconfig"]),
]


@pytest.mark.parametrize(("given", "joined"), JOINED)
def test_two_words_become_one_and_everything_else_stays(given, joined):
    assert join_path_options(given) == joined


@pytest.mark.parametrize(("given", "joined"), JOINED)
def test_joining_again_changes_nothing(given, joined):
    assert join_path_options(join_path_options(given)) == joined


def test_the_given_words_are_not_changed():
    given = ["--kubeconfig", "k.yaml"]
    join_path_options(given)
    assert given == ["--kubeconfig", "k.yaml"]
