"""An interrupt that is told twice at once counts once, and deleting is not cut short by it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from pytest_zerotrust.signals import REPEATED_WITHIN, Interrupts

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def interrupts(clock: Clock) -> Iterator[Interrupts]:
    before = {number: signal.getsignal(number) for number in ALL}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    made = Interrupts(clock)
    made.listen()
    yield made
    made.restore()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ALL)
def test_each_ends_the_run(interrupts: Interrupts, number: signal.Signals):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("second", ALL)
def test_what_comes_at_once_is_the_same_one(interrupts: Interrupts, clock: Clock, second):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    clock.now += REPEATED_WITHIN - 0.01
    signal.raise_signal(second)
    clock.now += 0.02
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(second)


def test_the_first_while_deleting_is_noted_and_the_second_gives_up(
    interrupts: Interrupts, clock: Clock
):
    notes: list[str] = []
    with interrupts.unhurried(notes.append):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert len(notes) == 1
        clock.now += REPEATED_WITHIN
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_one_that_ended_the_run_is_not_noted_again(interrupts: Interrupts, clock: Clock):
    """The parent forwards what the terminal sent us as well."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    notes: list[str] = []
    with interrupts.unhurried(notes.append):
        signal.raise_signal(signal.SIGHUP)
        assert notes == []
        clock.now += REPEATED_WITHIN
        signal.raise_signal(signal.SIGHUP)
        assert len(notes) == 1
    # And ours are back, not Python's.
    clock.now += REPEATED_WITHIN
    with pytest.raises(KeyboardInterrupt, match="SIGHUP"):
        signal.raise_signal(signal.SIGHUP)


def test_handlers_of_somebody_else_stay(clock: Clock):
    before = {number: signal.getsignal(number) for number in ALL}
    theirs: list[int] = []
    try:
        signal.signal(signal.SIGTERM, lambda number, frame: theirs.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        made = Interrupts(clock)
        made.listen()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        with made.unhurried(theirs.append):  # type: ignore[arg-type]
            signal.raise_signal(signal.SIGHUP)
        made.restore()
        assert theirs == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_restored_is_what_was_there(interrupts: Interrupts):
    interrupts.restore()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_nothing_happens_outside_the_main_thread(clock: Clock):
    before = [signal.getsignal(number) for number in ALL]
    done: list[bool] = []

    def use() -> None:
        made = Interrupts(clock)
        made.listen()
        with made.unhurried(str):
            done.append(True)
        made.restore()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert done
    assert [signal.getsignal(number) for number in ALL] == before
