"""`Task`: a caller that gives its thread to others while it waits.

A server with many clients would need a thread for each request that waits for a database, and
threads that switch cost more than the requests themselves. A task is ordinary code that runs in a
greenlet. Where it has to wait, its thread goes on with the next task. The task continues when what
it waits for is there: its batch (see `mynamo.runtime.batching`), or a server's answer (see
`mynamo.mysql.sockets`). Functions that block in other ways are marked with `in_thread` and run in a
thread.

Outside tasks none of this has any effect.
"""

from __future__ import annotations

import asyncio
import functools
import select
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from greenlet import getcurrent, greenlet

from mynamo.runtime.tracing import carried

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

IDLE = 256
"""Greenlets without work that a scheduler keeps. Each has 16 KiB for Python's frames. Without them
Python would get that memory from the system for each task, and give it back at its end."""


class Scheduler:
    """Runs tasks in the thread of an event loop, and blocking calls of theirs in threads.

    Args:
        loop: whose thread they share, which is this one.
        helpers: threads for what blocks.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, helpers: int) -> None:
        self._loop = loop
        self._thread = threading.get_ident()
        self._helpers = ThreadPoolExecutor(helpers, "mynamo-helper")
        self.idle: list[Task] = []
        self._awake: deque[Task] = deque()
        self._called = False

    def close(self) -> None:
        """Wait for blocking calls that run, and end their threads."""
        self._helpers.shutdown()
        self.idle.clear()

    def spawn(self, work: Callable[[], None]) -> None:
        """Run some work as a task until it ends or waits; in the loop's thread only."""
        if current() is None:
            task = self.idle.pop() if self.idle else Task(self)
            task.switch(work)
        else:  # a task that ends by spawning the next one must not have it on its stack
            self._loop.call_soon(self.spawn, work)

    def call(self, me: Task, work: Callable[[], Answer]) -> Answer:
        """Let a task wait for some work in a thread."""
        done = self._helpers.submit(work)
        done.add_done_callback(lambda _: self.wake(me))
        me.wait()
        return done.result()

    def watch(self, me: Task, file: int, event: int, seconds: float | None) -> bool:
        """Let a task wait for a file descriptor, as `select.poll` does.

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

    def call_later(self, seconds: float, work: Callable[[], None]) -> asyncio.TimerHandle:
        """Call something in the loop's thread after some time, unless it is cancelled."""
        return self._loop.call_later(seconds, work)

    def yield_to_ready(self, me: Task) -> None:
        """Let tasks run first that the loop has something for already: they may join the batch."""
        self.wake(me)
        me.wait()

    def keep(self, task: Task) -> bool:
        """Keep a greenlet whose work has ended for other work, unless there are enough."""
        enough = len(self.idle) >= IDLE
        if not enough:
            self.idle.append(task)
        return not enough

    def wake(self, task: Task) -> None:
        """Let a task continue soon; from any thread."""
        self._awake.append(task)
        if not self._called:
            self._called = True
            if threading.get_ident() == self._thread:
                self._loop.call_soon(self._resume)
                return
            try:
                self._loop.call_soon_threadsafe(self._resume)
            except RuntimeError:  # the loop has ended without waiting for its tasks
                self._awake.clear()

    def _resume(self) -> None:
        self._called = False  # a task woken from now on may be missed below
        try:
            while self._awake:
                self._awake.popleft().switch()
        finally:
            if self._awake:  # one has failed; the others continue
                self._loop.call_soon(self._resume)


class Task(greenlet):
    """One caller, and after it another one. It is made and runs in the thread of its scheduler's
    loop. Whatever lets it wait wakes it once: a second wake-up could hit other work."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self.scheduler = scheduler
        self._leave: Callable[[], Any] = getcurrent().switch  # of the loop, its parent

    def run(self, work: Callable[[], None]) -> None:
        """Do some work, and then other work if there is."""
        while True:
            work()
            del work  # what it refers to may be large
            if not self.scheduler.keep(self):
                return
            work = self._leave()

    def wait(self) -> bool:
        """Leave the thread until `Scheduler.wake` is called, or `switch` in the loop's thread.

        Returns:
            What `switch` was called with.
        """
        arrived: bool = self._leave()
        return arrived


def current() -> Task | None:
    """The task that calls; None in an ordinary thread."""
    caller = getcurrent()
    return caller if type(caller) is Task else None


def in_thread(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Mark a function that blocks: a task has it called in a thread, and waits."""

    @functools.wraps(function)
    def called(*args: Arguments.args, **named: Arguments.kwargs) -> Answer:
        me = current()
        if me is None:
            return function(*args, **named)
        return me.scheduler.call(me, carried(functools.partial(function, *args, **named)))

    return called
