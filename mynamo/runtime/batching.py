"""`Batcher`: requests that arrive while another one is running are run together.

Databases call this group commit. A round trip costs a process and a server nearly the same for one
row as for a hundred, and so does a commit. While one batch runs, the requests that arrive wait, and
the next batch takes all of them. A request that finds nothing running runs at once: it does not
wait for others.

Callers that have just been answered often ask again at once. Without more, the request that came
while their batch ran would run alone, they would wait for it, and every other batch would have one
request. So a batcher may let the leader after a batch of several wait for as many requests as that
one had, for a few milliseconds at most: they *gather*. If they do not come, the next batch is
smaller, and the one after it waits for fewer, or for none.

The first request of a batch is its leader, and its caller runs the batch, be it a thread or a task
(see `mynamo.runtime.tasks`). The batcher has no threads of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from mynamo.runtime import deadlines, forks
from mynamo.runtime.tasks import Task, current
from mynamo.runtime.tracing import Span, current_span, together, within

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Key = TypeVar("Key", bound=Hashable)

WORTH_WAITING_FOR = 4
"""Requests of a batch, and behind it, from which on the next one gathers."""


class Entry(Generic[Request, Answer]):
    """One request of a caller.

    Args:
        request, count, size: see below.

    Attributes:
        request: what it asks for.
        count, size: how much that is: rows, and bytes.
        answer: its result, which may be an exception for it alone; None: it must run alone.
        ready: released when a caller that waits in a thread is to go on.
        span: of the caller's part in the batch; None: it is not traced.
    """

    __slots__ = ("_is_leader", "_task", "answer", "count", "ready", "request", "size", "span")

    def __init__(self, request: Request, count: int, size: int) -> None:
        self.request = request
        self.count = count
        self.size = size
        self.answer: Answer | Exception | None = None
        self._is_leader = False
        self._task: Task | None = current()
        self.ready: threading.Lock | None = None
        self.span: Span | None = None

    def _prepare_to_block(self) -> None:
        if self._task is None:
            self.ready = self.ready or threading.Lock()
            self.ready.acquire()

    def _block(self) -> None:
        if self._task is not None:
            self._task.wait()
        elif self.ready is not None:
            self.ready.acquire()

    def _block_for(self, seconds: float, late: Callable[[Self], None]) -> None:
        """Block until `_resume` is called.

        Args:
            late: called after so many seconds, to see to that.
        """
        if self._task is not None:
            timer = self._task.scheduler.call_later(seconds, lambda: late(self))
            self._task.wait()
            timer.cancel()
        elif self.ready is not None and not self.ready.acquire(timeout=seconds):
            late(self)
            self.ready.acquire()

    def _resume(self) -> None:
        if self._task is not None:
            self._task.scheduler.wake(self._task)
        elif self.ready is not None:
            self.ready.release()


class Batcher(Generic[Request, Answer]):
    """Runs requests in batches. Safe to share between threads.

    Args:
        run: runs a batch, and gives each entry its `answer`. It must not raise anything but what
            ends its thread.
        max_running: batches that may run at the same time.
        max_count, max_size: of the entries of a batch together; one alone may be more.
        gather: seconds for which a batch waits at most, until it has as many entries as the one
            before it had, and left behind, or is full. Of one that may run at a time.
        name: of the spans of its callers: what they have done for them.

    Attributes:
        max_running, max_count, max_size: the same.
        batches: that have run.
        rows: of these, by the `count` of their entries.
    """

    def __init__(
        self,
        run: Callable[[list[Entry[Request, Answer]]], None],
        *,
        max_running: int,
        max_count: int,
        max_size: int,
        gather: float = 0.0,
        name: str = "batch",
    ) -> None:
        self._run_together = run
        self._name = name
        self._gather_seconds = gather
        self.max_running = max_running
        self.max_count = max_count
        self.max_size = max_size
        self.batches = self.rows = 0
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin empty: requests that run or wait are the parent's."""
        self._lock = threading.Lock()
        self._waiting: deque[Entry[Request, Answer]] = deque()
        self._running = 0
        self._expected = 0
        self._expected_until = 0.0
        self._gathering: Entry[Request, Answer] | None = None
        """The leader that waits; who takes it from here wakes it."""

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    @property
    def gathering(self) -> bool:
        """Whether a batch waits for others."""
        return self._gathering is not None

    def submit(self, me: Entry[Request, Answer]) -> Answer | None:
        """Run a request, alone or in a batch with others.

        Returns:
            The answer, or None if this request must run alone.

        Raises:
            Exception: the answer of this request, if it is one.
        """
        if deadlines.end() is not None:
            return None
        caller = current_span.get()
        if caller is not None and me.span is None:
            with within(caller.child(self._name)) as me.span:
                return self.submit(me)
        forks.check()
        with self._lock:
            is_leader = self._running < self.max_running
            if is_leader:
                self._running += 1
            else:
                me._prepare_to_block()
                self._waiting.append(me)
                if self._gathering is not None and 1 + len(self._waiting) >= self._expected:
                    self._end_gathering(self._gathering)
        if not is_leader:
            self._wait(me)
        elif me._task is not None:
            me._task.scheduler.yield_to_ready(me._task)
        if is_leader or me._is_leader:
            self._run_batch(me)
        if isinstance(me.answer, Exception):
            raise me.answer
        return me.answer

    def _wait(self, me: Entry[Request, Answer]) -> None:
        try:
            me._block()
        except BaseException:  # this caller is interrupted: no batch must wait for it
            with self._lock:
                if me in self._waiting:
                    self._waiting.remove(me)
                is_leader = me._is_leader
            if is_leader:
                self._hand_over_lead(())
            raise

    def _run_batch(self, me: Entry[Request, Answer]) -> None:
        """Run this request and those that wait; then make the next one the leader."""
        batch = [me]
        try:
            if self._expected >= WORTH_WAITING_FOR and self._gather_seconds:
                self._gather(me)
            self.join(batch)
            spans = [entry.span for entry in batch if entry.span is not None]
            if spans:
                self._run_traced(batch, spans)
            else:
                self._run_together(batch)
        finally:
            self._hand_over_lead(batch)
            for entry in batch[1:]:
                entry._resume()

    def _run_traced(self, batch: list[Entry[Request, Answer]], spans: Sequence[Span]) -> None:
        begun = len(batch)
        attributes = {"mynamo.batch.callers": begun, "mynamo.batch.rows": _rows(batch)}
        for span in spans:
            span.set(attributes)
        with together(spans, f"{self._name} batch", attributes) as link:
            self._run_together(batch)
            for late in batch[begun:]:
                if late.span is not None:
                    link(late.span)

    def _gather(self, me: Entry[Request, Answer]) -> None:
        """Wait until there are as many requests as expected, but not for long, and not if those
        that are there fill a batch."""
        with self._lock:
            there = [me, *self._waiting]
            if len(there) >= self._expected or time.monotonic() > self._expected_until:
                return
            if sum([entry.count for entry in there]) >= self.max_count:
                return
            if sum([entry.size for entry in there]) >= self.max_size:
                return
            if me.ready is None:
                me._prepare_to_block()
            self._gathering = me
        try:
            me._block_for(self._gather_seconds, self._stop_gathering)
        finally:
            with self._lock:
                if self._gathering is me:
                    self._gathering = None

    def _stop_gathering(self, me: Entry[Request, Answer]) -> None:
        with self._lock:
            if self._gathering is me:
                self._end_gathering(me)

    def _end_gathering(self, leader: Entry[Request, Answer]) -> None:
        self._gathering = None
        leader._resume()

    def _hand_over_lead(self, done: Sequence[Entry[Request, Answer]]) -> None:
        """Make the first that waits the leader.

        Args:
            done: the batch that has just run; empty: none has.
        """
        rows = _rows(done)
        with self._lock:
            if done:
                self.batches += 1
                self.rows += rows
            self._expected = len(done) + len(self._waiting)
            self._expected_until = time.monotonic() + self._gather_seconds
            leader = self._waiting.popleft() if self._waiting else None
            if leader is None:  # a leader whose thread forked is not counted in the child
                self._running = max(0, self._running - 1)
            else:
                leader._is_leader = True
        if leader is not None:
            leader._resume()

    def join(self, batch: list[Entry[Request, Answer]]) -> None:
        """Let requests that wait join a batch, in their order, as far as they fit.

        What runs a batch may call this again, with the batch that it was given.
        """
        if not self._waiting:
            return
        count = sum([entry.count for entry in batch])
        size = sum([entry.size for entry in batch])
        with self._lock:
            while self._waiting:
                count += self._waiting[0].count
                size += self._waiting[0].size
                if count > self.max_count or size > self.max_size:
                    break
                batch.append(self._waiting.popleft())


def _rows(batch: Sequence[Entry[Request, Answer]]) -> int:
    return sum([entry.count for entry in batch])


class BatcherPerKey(Generic[Key, Request, Answer]):
    """A batcher for each key, which exists while somebody uses it. Safe to share between threads.

    Args:
        make: makes a batcher.

    Attributes:
        submitted: requests, so far.
    """

    def __init__(self, make: Callable[[], Batcher[Request, Answer]]) -> None:
        self._make = make
        self.submitted = 0
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin with none: those who use one are the parent's."""
        self._lock = threading.Lock()
        self._used: dict[Key, _Used[Request, Answer]] = {}

    def __len__(self) -> int:
        """How many keys have a batcher."""
        return len(self._used)

    @property
    def callers(self) -> int:
        """How many callers run or wait, of all keys."""
        with self._lock:
            return sum(used.callers for used in self._used.values())

    def join(self, key: Key, batch: list[Entry[Request, Answer]]) -> None:
        """Let requests of a key join a batch of it that runs; see `Batcher.join`."""
        used = self._used.get(key)
        if used is not None:
            used.batcher.join(batch)

    def submit(self, key: Key, me: Entry[Request, Answer]) -> Answer | None:
        """Run a request, alone or in a batch with others of the same key; see `Batcher.submit`."""
        with self._lock:
            used = self._used.get(key)
            if used is None:
                used = self._used[key] = _Used(self._make())
            used.callers += 1
            self.submitted += 1
        try:
            return used.batcher.submit(me)
        finally:
            with self._lock:
                used.callers -= 1
                if not used.callers and self._used.get(key) is used:
                    del self._used[key]


@dataclass(slots=True)
class _Used(Generic[Request, Answer]):
    """A batcher, and how many callers are in its `submit`."""

    batcher: Batcher[Request, Answer]
    callers: int = 0
