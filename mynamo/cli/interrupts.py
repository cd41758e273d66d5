"""Ctrl-C, SIGTERM and SIGHUP: what each means while a command is loaded, and while it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT
"""The status that a shell gives a command that Ctrl-C ended."""


def _end(*_: object) -> NoReturn:
    os._exit(INTERRUPTED)


@contextmanager
def end_at_once() -> Iterator[None]:
    """Let Ctrl-C end this process without a trace before a command has begun, and after it.

    While modules are imported, an exception could come up anywhere in them. A process that was
    started to ignore Ctrl-C goes on to.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _end)


def begin() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again: from here on a command has things to end."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP when the terminal goes away, end the block as Ctrl-C does.

    Raises:
        KeyboardInterrupt: with the signal's number, but for Ctrl-C.
    """
    kinds = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        kinds.append(signal.SIGHUP)
    before = {kind: signal.signal(kind, interrupt) for kind in kinds}
    before[signal.SIGINT] = signal.getsignal(signal.SIGINT)  # `shield` may change it
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def interrupt(number: int, _: object) -> NoReturn:
    """A handler of signals.

    Raises:
        KeyboardInterrupt: always, with the signal's number.
    """
    raise KeyboardInterrupt(number)


def status_of(interruption: KeyboardInterrupt) -> int:
    """The status of a command that was interrupted before it had done its work."""
    number = interruption.args[0] if interruption.args else signal.SIGINT
    return 128 + int(number)


def shield() -> None:
    """Ignore all of them until the block of `interruptible` ends."""
    for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, signal.SIG_IGN)
