"""Level 3: admission control of workloads."""

from __future__ import annotations

import pytest


@pytest.mark.zt_each("privileged")
def test_privileged_is_rejected(zt_admission, check):
    """A privileged container is rejected by a policy, and only because it is privileged."""
    zt_admission.verify(check)


@pytest.mark.zt_each("run-as-root")
def test_root_is_rejected(zt_admission, check):
    """A container that may run as root is rejected by a policy, and only because of that."""
    zt_admission.verify(check)


@pytest.mark.zt_each("image-from-elsewhere")
def test_image_from_elsewhere_is_rejected(zt_admission, check):
    """An image from another registry is rejected by a policy, and only because of that."""
    zt_admission.verify(check)


@pytest.mark.zt_each("pod-security")
def test_pod_security_is_kept(zt_admission, check):
    """What the declared Pod Security level forbids is rejected, field by field."""
    zt_admission.verify(check)


@pytest.mark.zt_each("fails-closed")
def test_what_rejects_pods_fails_closed(zt_admission, check):
    """What rejects the privileged pod would also do so when it is down or slow."""
    zt_admission.verify(check)


@pytest.mark.zt_each("administrators")
def test_only_administrators_may_switch_it_off(zt_admission, check):
    """Nobody but the declared administrators may change or switch off what rejects pods."""
    zt_admission.verify(check)
