"""`Passenger`: a caller that gives its thread away while it waits.

A server with many clients would need a thread for each request that waits for a database, and
threads that take turns cost more than the requests themselves. A passenger is code as any other,
but run in a greenlet: where it has to wait it leaves its thread to the next one, and goes on when
what it waits for is there. What blocks is done for it by other threads: lanes carry passengers
(see `mynamo.shards.lanes`), and functions marked with `in_thread` run in one.

Elsewhere, where there are only threads, none of this has any effect.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

from greenlet import getcurrent, greenlet

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Station:
    """Where the passengers of one event loop wait, and the threads that work for them.

    Args:
        loop: whose thread they share; it runs.
        carriers: threads for the lanes; as many as all lanes together have under way, so that
            a shard that does not answer has no thread of another's.
        helpers: threads for all else that blocks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, carriers: int, helpers: int) -> None:
        self._loop = loop
        self._carriers = ThreadPoolExecutor(carriers, "mynamo-carrier")
        self._helpers = ThreadPoolExecutor(helpers, "mynamo-helper")
        self._awake: deque[Passenger] = deque()
        self._called = False

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._carriers.shutdown()
        self._helpers.shutdown()

    def depart(self, work: Callable[[], None]) -> None:
        """Run some work as a passenger, until it ends or waits; in the loop's thread."""
        if current() is None:
            Passenger(work, self).switch()
        else:  # whoever ends by letting the next one go must not have it on its stack
            self._loop.call_soon(self.depart, work)

    def carry(self, work: Callable[[], None]) -> None:
        """Have a lane's thread do some work, which must not raise."""
        self._carriers.submit(work)

    def call(self, me: Passenger, work: Callable[[], Answer]) -> Answer:
        """Let a passenger wait for some work in a thread."""
        done = self._helpers.submit(work)
        done.add_done_callback(lambda _: self.wake(me))
        me.wait()
        return done.result()

    def wake(self, passenger: Passenger) -> None:
        """Let a passenger go on, soon; from any thread."""
        self._awake.append(passenger)
        if not self._called:
            self._called = True
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
    """One caller. It is made and goes on in the thread of its station's loop."""

    def __init__(self, work: Callable[[], None], station: Station) -> None:
        super().__init__(work)
        self.station = station

    def wait(self) -> None:
        """Leave the thread, until somebody has `Station.wake` called."""
        cast(greenlet, self.parent).switch()


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
