"""SIGTERM and SIGHUP end a run like Ctrl-C does: a pipeline that aborts it, or a terminal that is
closed, leaves nothing behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


def end_on_sigterm() -> Callable[[], None] | None:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt; returns a function that undoes it.

    Leaves a handler of somebody else alone (nohup ignores SIGHUP), and does nothing outside the
    main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return None

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"terminated by {signal.Signals(number).name}")

    ours = [n for n in _ENDINGS if signal.getsignal(n) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    return (lambda: _restore(interrupt)) if ours else None


_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


def _restore(ours: Callable[[int, FrameType | None], None]) -> None:
    for number in _ENDINGS:
        if signal.getsignal(number) is ours:
            signal.signal(number, signal.SIG_DFL)


class Unhurried:
    """A context in which a first Ctrl-C (or SIGTERM, or SIGHUP) is only noted, so that deleting
    can finish.

    The second one ends it at once.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._before: dict[int, object] = {}
        self._count = 0

    def __enter__(self) -> Unhurried:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_ENDINGS):
                if signal.getsignal(number) is not signal.SIG_IGN:
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
