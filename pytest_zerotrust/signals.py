"""SIGTERM ends a run like Ctrl-C does, so that pipelines which abort it leave nothing behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


def end_on_sigterm() -> Callable[[], None] | None:
    """Turn SIGTERM into KeyboardInterrupt; returns a function that undoes it.

    Leaves a handler of somebody else alone, and does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return None

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt("terminated by SIGTERM")

    signal.signal(signal.SIGTERM, interrupt)
    return lambda: _restore(interrupt)


def _restore(ours: Callable[[int, FrameType | None], None]) -> None:
    if signal.getsignal(signal.SIGTERM) is ours:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Unhurried:
    """A context in which a first Ctrl-C or SIGTERM is only noted, so that deleting can finish.

    The second one ends it at once.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._before: dict[int, object] = {}
        self._count = 0

    def __enter__(self) -> Unhurried:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 1:
            raise KeyboardInterrupt
        self._notice("still deleting what the run made; interrupt again to give up")
