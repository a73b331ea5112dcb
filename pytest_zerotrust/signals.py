"""SIGTERM and SIGHUP end a run like Ctrl-C does: a pipeline that aborts it, or a terminal that is
closed, leaves nothing behind. An interrupt that is told more than once counts once."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

REPEATED_WITHIN = 1.0
"""Seconds within which a further signal is the same interrupt, told once more: a terminal, a shell
or a wrapper (timeout, tox, a service manager) sends it to the whole group of processes, and whoever
started us forwards it as well."""

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def untaken() -> list[int]:
    """Those of SIGINT, SIGTERM and SIGHUP whose handler is the one that Python starts with; none
    outside the main thread, which alone may set handlers."""
    usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    usual |= dict.fromkeys(_ENDINGS, signal.SIG_DFL)
    return [n for n, handler in usual.items() if _in_main_thread() and _is(n, handler)]


class Interrupts:
    """The signals that end a run, from its start until it is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = -REPEATED_WITHIN
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Turn SIGTERM and SIGHUP into KeyboardInterrupt, and let none come twice at once.

        Leaves a handler of somebody else alone (nohup ignores SIGHUP), and does nothing outside
        the main thread.
        """
        if not self._before:
            self._before = {n: signal.signal(n, self._interrupt) for n in untaken()}

    def restore(self) -> None:
        """Give back what was there before, unless somebody has replaced our handler."""
        for number, handler in self._before.items():
            if _is(number, self._interrupt):
                signal.signal(number, handler)
        self._before = {}

    @contextlib.contextmanager
    def unhurried(self, notice: Callable[[str], None]) -> Iterator[None]:
        """In here a first interrupt is only noted, so that deleting can finish; the second one
        ends it at once."""
        count = 0

        def note(number: int, frame: FrameType | None) -> None:
            nonlocal count
            if self._repeated():
                return
            count += 1
            if count > 1:
                raise KeyboardInterrupt
            notice("still deleting what the run made; interrupt again to give up")

        before: dict[int, Any] = {}
        for ending in (signal.SIGINT, *_ENDINGS) if _in_main_thread() else ():
            # None is a handler that is not Python's, and could not be given back.
            if signal.getsignal(ending) not in (None, signal.SIG_IGN):
                before[ending] = signal.signal(ending, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._repeated():
            said = f"terminated by {signal.Signals(number).name}" if number in _ENDINGS else ""
            raise KeyboardInterrupt(said)

    def _repeated(self) -> bool:
        """True if this is the last interrupt once more; else it is the last one now."""
        now = self._clock()
        if now - self._last < REPEATED_WITHIN:
            return True
        self._last = now
        return False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is(number: int, handler: object) -> bool:
    # Bound methods are equal, but not the same object.
    return signal.getsignal(number) == handler
