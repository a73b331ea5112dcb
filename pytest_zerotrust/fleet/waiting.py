"""Waiting for probe pods: until each can be asked, or will never be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pytest_zerotrust.cluster.api import ApiFailure, ApiUnreachable
from pytest_zerotrust.fleet.plan import PodSpec, Role
from pytest_zerotrust.fleet.state import PodState

START_TIMEOUT = 90.0
"""Seconds within which a probe pod must run."""

PROXY_TIMEOUT = 45.0
"""Seconds within which the mesh proxy of a probe pod must be ready."""

HOPELESS_AFTER = 5.0
"""Seconds for which a pod must stay in a hopeless state before it is given up."""

PULLED_WITHIN = 15.0
"""The same for an image that could not be pulled: the kubelet tries again after 10 seconds."""

_POLL = 0.5
_LONGEST_POLL = 2.0
_POLL_PER_POD = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One probe pod of the fleet: what was wanted and what became of it."""

    spec: PodSpec
    state: PodState | None
    problem: str

    @property
    def usable(self) -> bool:
        """True if the pod can be asked."""
        return self.state is not None and self.state.usable and not self.problem


Look = Callable[[Iterable[str]], dict[str, PodState]]
"""Gives the present state of pods by name. Raises ApiFailure or ApiUnreachable."""


def wait_for_pods(
    wanted: Mapping[str, PodSpec], problems: Mapping[str, str], look: Look
) -> dict[str, Member]:
    """Wait for pods that were made, and return each by name.

    ``problems`` says of pods why they could not be made; those are not waited for. Never raises
    for a pod that cannot be had.
    """
    begun = time.monotonic()
    names = [name for name in wanted if name not in problems]
    states: dict[str, PodState] = {}
    hopeless_since: dict[str, float] = {}
    error = ""
    while names:
        try:
            states = look(names)
            error = ""
        except (ApiFailure, ApiUnreachable) as failure:
            error = str(failure)
        now = time.monotonic()
        pending = [n for n in names if not _settled(wanted[n], states.get(n))]
        for name in pending:
            state = states.get(name)
            # They were all created, so one that a good answer lacks was deleted.
            gone = state is None and not error
            if gone or (state is not None and state.hopeless):
                hopeless_since.setdefault(name, now)
            else:
                hopeless_since.pop(name, None)
        open_ = [n for n in pending if now - hopeless_since.get(n, now) < _patience(states.get(n))]
        if all(_late(wanted[n], now - begun) for n in open_):
            break
        time.sleep(_pause(len(pending)))
    return {
        name: _member(spec, states.get(name), problems.get(name, ""), error)
        for name, spec in wanted.items()
    }


def _member(spec: PodSpec, state: PodState | None, problem: str, error: str) -> Member:
    if not problem and state is None:
        problem = f"probe pod {spec.where} is not there: {error or 'it was deleted'}"
    elif not problem and state is not None and not (state.usable and state.sidecar_ready):
        problem = f"probe pod {spec.where}: {state.problem}"
    if not problem and spec.role is Role.MESHED and state is not None and not state.sidecar:
        problem = f"probe pod {spec.where}: the mesh injected no proxy into it"
    return Member(spec=spec, state=state, problem=problem)


def _pause(pending: int) -> float:
    """Seconds between two looks: each costs the server more, the more pods it is about."""
    return max(_POLL, min(_LONGEST_POLL, _POLL_PER_POD * pending))


def _patience(state: PodState | None) -> float:
    """For how many seconds a hopeless pod is waited for."""
    return PULLED_WITHIN if state is not None and state.pulling else HOPELESS_AFTER


def _late(spec: PodSpec, waited: float) -> bool:
    """True if a pod has had its time to start (``waited`` in seconds)."""
    limit = min(PROXY_TIMEOUT, START_TIMEOUT) if spec.role is Role.MESHED else START_TIMEOUT
    return waited > limit


def _settled(spec: PodSpec, state: PodState | None) -> bool:
    """True if nothing more needs to be waited for."""
    if state is None or not state.usable or not state.sidecar_ready:
        return False
    return state.answers_kubelet or not spec.listens
