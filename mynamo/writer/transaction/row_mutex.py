"""Per-key mutexes: writes of one process to one item run one after the other.

On a hot item all writes wait for the row's lock. If they waited for it in MySQL, each would hold a
connection meanwhile: writes to other items would find none left, and the server would give up on
those that wait longest. Here they queue before any of them takes a connection, first come first
served. Between processes the row's lock still decides.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mynamo.catalog import shard as shard_module
from mynamo.catalog.shard import PerShard
from mynamo.catalog.tables import RowKey
from mynamo.errors import ShardUnavailable, Unavailable
from mynamo.runtime import deadlines, forks
from mynamo.writer.transaction.write_requests import Write

LockedRow = tuple[int, RowKey]
"""A table's id and a row of it."""


@dataclass(slots=True)
class _Queue:
    """Callers that wait for the mutex of a row, while another one holds it.

    Attributes:
        moved_at: when the server last answered a holder (monotonic).
        waiting: a lock for each caller, released when it gets the mutex.
    """

    moved_at: float
    waiting: deque[threading.Lock] = field(default_factory=deque)


class RowMutexes:
    """The mutexes of one shard's rows. Safe to share between threads."""

    def __init__(self, where: str, timeout: float | None = None) -> None:
        """Args: timeout: seconds; see `ClusterConfig.timeout`."""
        self._where = where
        self._timeout = timeout
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin with none: those who hold a mutex or wait for one are the parent's."""
        self._lock = threading.Lock()
        self._queues: dict[LockedRow, _Queue] = {}

    @contextmanager
    def held(self, rows: Sequence[LockedRow]) -> Iterator[float]:
        """Hold the mutexes of all these rows.

        However many callers are before this one, it waits as long as the server answers them.

        Args:
            rows: in ascending order, so that no two callers wait for each other.

        Yields:
            Since when this caller's patience counts (monotonic): its arrival, or when the
            server last answered one before it.

        Raises:
            ShardUnavailable: the server has answered nobody for `timeout` seconds.
        """
        since = time.monotonic()
        held: list[LockedRow] = []
        answered = False
        try:
            for row in rows:
                since = max(since, self._acquire(row))
                held.append(row)
            yield since
            answered = True
        except BaseException as failure:
            answered = isinstance(failure, Exception) and not isinstance(failure, Unavailable)
            raise
        finally:
            for row in held:
                self._release(row, answered)

    def waiting(self, row: LockedRow) -> int | None:
        """How many callers wait for the mutex of a row; None: nobody holds it."""
        queue = self._queues.get(row)
        return None if queue is None else len(queue.waiting)

    def any_held(self, writes: Iterable[Write]) -> bool:
        """Whether the mutex of one of these writes' rows is held."""
        return bool(self._queues) and any(
            (write.table.id, write.row) in self._queues for write in writes
        )

    def _acquire(self, row: LockedRow) -> float:
        arrived = time.monotonic()
        with self._lock:
            queue = self._queues.get(row)
            if queue is None:
                self._queues[row] = _Queue(arrived)
                return arrived
            ready = threading.Lock()
            ready.acquire()
            queue.waiting.append(ready)
        try:
            while not ready.acquire(timeout=max(0.0, self._left(arrived, queue))):
                if self._left(arrived, queue) <= 0:
                    raise ShardUnavailable(
                        f"{self._where}: writes to the same item have waited for it in vain "
                        f"for {deadlines.timeout() or self._patience():g} s (timeout)"
                    )
        except BaseException:
            self._leave(row, queue, ready)
            raise
        return max(arrived, queue.moved_at)

    def _leave(self, row: LockedRow, queue: _Queue, ready: threading.Lock) -> None:
        with self._lock:
            waited = ready in queue.waiting
            if waited:
                queue.waiting.remove(ready)
        if not waited:  # it got the mutex at this very moment
            self._release(row, answered=False)

    def _release(self, row: LockedRow, answered: bool) -> None:
        with self._lock:
            queue = self._queues.get(row)
            if queue is None:  # it was acquired before this thread forked
                return
            if answered:
                queue.moved_at = time.monotonic()
            if queue.waiting:
                queue.waiting.popleft().release()
            else:
                del self._queues[row]

    def _patience(self) -> float:
        return shard_module.PATIENCE if self._timeout is None else self._timeout

    def _left(self, arrived: float, queue: _Queue) -> float:
        patience = max(arrived, queue.moved_at) + self._patience() - time.monotonic()
        return deadlines.left(patience)


row_mutexes_of = PerShard(lambda shard: RowMutexes(shard.where, shard.own_timeout)).of
"""The mutexes of a shard's rows, one set per process."""
