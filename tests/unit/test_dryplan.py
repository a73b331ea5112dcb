"""The plan hides nothing about a pod that may do more than others."""

from __future__ import annotations

import pytest

from pytest_zerotrust.dryplan import _pod
from pytest_zerotrust.fleet import topology
from tests.fakes.fleet import RUN


def test_a_capturing_pod_is_told_with_all_that_it_may():
    (line,) = _pod(topology.capture(RUN, "own", "node-1"), "registry/probe:1")
    assert "capture for node-1" in line
    assert "in the network of the node, root with NET_RAW" in line


@pytest.mark.parametrize("make", [topology.talker, topology.canary, topology.node_probe])
def test_no_other_pod_is(make):
    (line,) = _pod(make(RUN, "own", "node-1"), "registry/probe:1")
    assert "NET_RAW" not in line
