"""Level 1: network policies isolate workloads."""

from __future__ import annotations

import pytest


@pytest.mark.zt_each("canaries")
def test_policies_are_enforced(zt_network, check):
    """A sealed canary is not reached, an open one is, between all nodes that the run uses."""
    zt_network.verify(check)


@pytest.mark.zt_each("denied-across-namespaces")
def test_denied_across_namespaces(zt_network, check):
    """What nothing allows between two namespaces is denied."""
    zt_network.verify(check)


@pytest.mark.zt_each("denied-within-namespace")
def test_denied_within_namespace(zt_network, check):
    """What nothing allows within a namespace is denied."""
    zt_network.verify(check)


@pytest.mark.zt_each("allowed")
def test_allowed(zt_network, check):
    """What the intent allows works."""
    zt_network.verify(check)


@pytest.mark.zt_each("dns")
def test_dns(zt_network, check):
    """Every workload can resolve names, over UDP and TCP."""
    zt_network.verify(check)


@pytest.mark.zt_each("policies-select-pods")
def test_policies_select_pods(zt_network, check):
    """Every policy of a namespace selects a pod."""
    zt_network.verify(check)


@pytest.mark.zt_each("pods-have-policies")
def test_pods_have_policies(zt_network, check):
    """A policy isolates every pod of a namespace."""
    zt_network.verify(check)


@pytest.mark.zt_each("denied-egress")
def test_denied_egress(zt_network, check):
    """A destination outside the pods' network that nothing allows is denied."""
    zt_network.verify(check)


@pytest.mark.zt_each("allowed-egress")
def test_allowed_egress(zt_network, check):
    """A destination outside that the intent allows is reached."""
    zt_network.verify(check)


@pytest.mark.zt_each("side-ports")
def test_side_ports(zt_network, check):
    """Ports beside the declared ones are denied, over TCP and UDP."""
    zt_network.verify(check)


@pytest.mark.zt_each("newborn")
def test_newborn(zt_network, check):
    """A new pod is isolated from its first moment on."""
    zt_network.verify(check)


@pytest.mark.zt_each("node-ports")
def test_node_ports(zt_network, check):
    """Who may not reach a workload does not reach it by a node's address either."""
    zt_network.verify(check)


@pytest.mark.zt_each("named")
def test_every_pod_is_named(zt_network, check):
    """No pod of the namespaces is left out of the intent, and so of all other checks."""
    zt_network.verify(check)


@pytest.mark.zt_each("alike")
def test_pods_of_a_workload_are_alike(zt_network, check):
    """No pod of a workload has labels that take it out of the policies of the others."""
    zt_network.verify(check)
