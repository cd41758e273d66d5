"""`KeyMutexes`: per-key mutexes, so that work of one process on one key runs one after the other.

On a hot item all writes wait for the row's lock. If they waited for it in MySQL, each would hold a
connection meanwhile: writes to other items would find none left, and the server would give up on
those that wait longest. Here they queue before any of them takes a connection, first come first
served. Between processes the row's lock still decides.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mynamo.errors import ShardUnavailable, Unavailable
from mynamo.runtime import deadlines, forks

Key = TypeVar("Key", bound=Hashable)


class MutexTimeout(ShardUnavailable):
    """The server has answered nobody who holds the mutex, for as long as a caller waits."""


@dataclass(slots=True)
class _Queue:
    """Callers that wait for the mutex of a key, while another one holds it.

    Attributes:
        moved_at: when the server last answered a holder (monotonic).
        waiting: a lock for each caller, released when it gets the mutex.
    """

    moved_at: float
    waiting: deque[threading.Lock] = field(default_factory=deque)


class KeyMutexes(Generic[Key]):
    """A mutex for each key. Safe to share between threads.

    Args:
        where: the server whose rows the keys are, for messages.
        patience: seconds for which a caller waits while the server answers nobody.

    Attributes:
        held_keys: the keys whose mutex is held.
    """

    held_keys: Mapping[Key, object]

    def __init__(self, where: str, patience: Callable[[], float]) -> None:
        self._where = where
        self._patience = patience
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin with none: those who hold a mutex or wait for one are the parent's."""
        self._lock = threading.Lock()
        self._queues: dict[Key, _Queue] = {}
        self.held_keys = self._queues

    @contextmanager
    def held(self, keys: Sequence[Key], since: float | None = None) -> Iterator[float]:
        """Hold the mutexes of all these keys.

        However many callers are before this one, it waits as long as the server answers them.

        Args:
            keys: in ascending order, so that no two callers wait for each other.
            since: when this caller arrived (monotonic); None: now.

        Yields:
            Since when this caller's patience counts (monotonic): its arrival, or when the
            server last answered one before it.

        Raises:
            MutexTimeout: the server has answered nobody for `patience` seconds.
        """
        since = time.monotonic() if since is None else since
        held: list[Key] = []
        answered = False
        try:
            for key in keys:
                since = max(since, self._acquire(key, since))
                held.append(key)
            yield since
            answered = True
        except BaseException as failure:
            answered = isinstance(failure, Exception) and not isinstance(failure, Unavailable)
            raise
        finally:
            for key in held:
                self._release(key, answered)

    def waiting(self, key: Key) -> int | None:
        """How many callers wait for the mutex of a key; None: nobody holds it."""
        queue = self._queues.get(key)
        return None if queue is None else len(queue.waiting)

    def _acquire(self, key: Key, arrived: float) -> float:
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                self._queues[key] = _Queue(arrived)
                return arrived
            ready = threading.Lock()
            ready.acquire()
            queue.waiting.append(ready)
        try:
            while not ready.acquire(timeout=max(0.0, self._left(arrived, queue))):
                if self._left(arrived, queue) <= 0:
                    raise MutexTimeout(
                        f"{self._where}: writes to the same item have waited for it in vain "
                        f"for {deadlines.timeout() or self._patience():g} s (timeout)"
                    )
        except BaseException:
            self._leave(key, queue, ready)
            raise
        return max(arrived, queue.moved_at)

    def _leave(self, key: Key, queue: _Queue, ready: threading.Lock) -> None:
        with self._lock:
            waited = ready in queue.waiting
            if waited:
                queue.waiting.remove(ready)
        if not waited:  # it got the mutex at this very moment
            self._release(key, answered=False)

    def _release(self, key: Key, answered: bool) -> None:
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:  # it was acquired before this thread forked
                return
            if answered:
                queue.moved_at = time.monotonic()
            if queue.waiting:
                queue.waiting.popleft().release()
            else:
                del self._queues[key]

    def _left(self, arrived: float, queue: _Queue) -> float:
        patience = max(arrived, queue.moved_at) + self._patience() - time.monotonic()
        return deadlines.left(patience)
