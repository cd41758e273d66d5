"""`Passenger`: a caller that gives its thread away while it waits.

A server with many clients would need a thread for each request that waits for a database, and
threads that take turns cost more than the requests themselves. A passenger is code as any other,
but run in a greenlet: where it has to wait it leaves its thread to the next one, and goes on when
what it waits for is there: the turn in a lane (see `mynamo.runtime.batching`), or what a server
answers (see `mynamo.mysql.sockets`). Functions that block in other ways are marked with `in_thread`
and run in one.

Elsewhere, where there are only threads, none of this has any effect.
"""

from __future__ import annotations

import asyncio
import functools
import select
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

IDLE = 256
"""Passengers without work that a station keeps. Each has 16 KiB for Python's frames, which Python
would else get from the system at each departure, and give back at each arrival."""


class Station:
    """Where the passengers of one event loop wait, and the threads that work for them.

    Args:
        loop: whose thread they share, which is this one.
        helpers: threads for what blocks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, helpers: int) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._helpers = ThreadPoolExecutor(helpers, "mynamo-helper")
        self._idle: list[Passenger] = []
        self._awake: deque[Passenger] = deque()
        self._called = False

    def close(self) -> None:
        """Wait for what helpers do, and end them."""
        self._helpers.shutdown()
        self._idle.clear()

    def depart(self, work: Callable[[], None]) -> None:
        """Run some work as a passenger, until it ends or waits; in the loop's thread."""
        if current() is None:
            passenger = self._idle.pop() if self._idle else Passenger(self)
            passenger.switch(work)
        else:  # whoever ends by letting the next one go must not have it on its stack
            self._loop.call_soon(self.depart, work)

    def call(self, me: Passenger, work: Callable[[], Answer]) -> Answer:
        """Let a passenger wait for some work in a thread."""
        done = self._helpers.submit(work)
        done.add_done_callback(lambda _: self.wake(me))
        me.wait()
        return done.result()

    def watch(self, me: Passenger, file: int, event: int, seconds: float | None) -> bool:
        """Let a passenger wait for a file, as `select.poll` does.

        Args:
            event: POLLIN or POLLOUT.
            seconds: at most; None: for ever.

        Returns:
            Whether it came.
        """
        loop = self._loop
        add, remove = (
            (loop.add_reader, loop.remove_reader)
            if event == select.POLLIN
            else (loop.add_writer, loop.remove_writer)
        )
        late = None if seconds is None else loop.call_later(seconds, me.switch, False)
        add(file, me.switch, True)
        try:
            return me.wait()
        finally:
            remove(file)
            if late is not None:
                late.cancel()

    def let_pass(self, me: Passenger) -> None:
        """Let those go first for whom the loop has something already: they may come along."""
        self.wake(me)
        me.wait()

    def keep(self, passenger: Passenger) -> bool:
        """Keep a passenger whose work has ended for other work, unless there are enough."""
        enough = len(self._idle) >= IDLE
        if not enough:
            self._idle.append(passenger)
        return not enough

    def wake(self, passenger: Passenger) -> None:
        """Let a passenger go on, soon; from any thread."""
        self._awake.append(passenger)
        if not self._called:
            self._called = True
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._resume)
                return
            try:
                self._loop.call_soon_threadsafe(self._resume)
            except RuntimeError:  # the loop has ended without waiting for its passengers
                self._awake.clear()

    def _resume(self) -> None:
        self._called = False  # who comes from now on may not be seen below, and calls again
        try:
            while self._awake:
                self._awake.popleft().switch()
        finally:
            if self._awake:  # one has failed, which is not the others' fault
                self._loop.call_soon(self._resume)


class Passenger(greenlet):
    """One caller, and when it has arrived another. It is made and goes on in the thread of its
    station's loop. Who lets it wait wakes it once: a second time could find it at other work."""

    def __init__(self, station: Station) -> None:
        super().__init__()
        self.station = station

    def run(self, work: Callable[[], None]) -> None:
        """Do some work, and then other work if there is."""
        while True:
            work()
            del work  # what it refers to may be large
            if not self.station.keep(self):
                return
            work = cast(Callable[[], None], cast(greenlet, self.parent).switch())

    def wait(self) -> bool:
        """Leave the thread, until somebody calls `Station.wake`, or `switch` in the loop's thread.

        Returns:
            What `switch` was called with.
        """
        return cast(bool, cast(greenlet, self.parent).switch())


def current() -> Passenger | None:
    """The passenger that calls; None if it is an ordinary thread."""
    caller = getcurrent()
    return caller if type(caller) is Passenger else None


def in_thread(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Mark a function that blocks: a passenger has it called in a thread, and waits."""

    @functools.wraps(function)
    def called(*args: Arguments.args, **named: Arguments.kwargs) -> Answer:
        me = current()
        if me is None:
            return function(*args, **named)
        return me.station.call(me, functools.partial(function, *args, **named))

    return called
