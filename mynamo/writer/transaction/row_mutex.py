"""Writes of one process to one item take turns, before any of them takes a connection.

On a hot item the row's lock is what all wait for. If they waited for it in MySQL, each
would hold a connection meanwhile: writes to other items would find none left, and the
server would give up on those that wait longest. Here they queue, first come first served,
and hold nothing. Between processes the row's lock still decides.
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

Place = tuple[int, RowKey]
"""A table's id and a row of it."""


@dataclass(slots=True)
class _Queue:
    """Those who wait for an item, while another has the turn.

    Attributes:
        moved_at: when the server last answered whoever had the turn (monotonic).
        waiting: locks that are released to say: your turn.
    """

    moved_at: float
    waiting: deque[threading.Lock] = field(default_factory=deque)


class Turns:
    """The queues of one shard's items. Safe to share between threads."""

    def __init__(self, where: str, timeout: float | None = None) -> None:
        """Args: timeout: seconds; see `ClusterConfig.timeout`."""
        self._where = where
        self._timeout = timeout
        self.renew_after_fork()
        forks.note(self)

    def renew_after_fork(self) -> None:
        """Begin without queues: who has a turn or waits for one is in the parent."""
        self._lock = threading.Lock()
        self._queues: dict[Place, _Queue] = {}

    @contextmanager
    def taken(self, places: Sequence[Place]) -> Iterator[float]:
        """Have the turn on all these items.

        However many are before this one, it waits as long as they come through.

        Args:
            places: in ascending order, so that no two callers wait for each other.

        Yields:
            Since when this caller's patience counts (monotonic): its arrival, or when the
            server last answered one before it.

        Raises:
            ShardUnavailable: the server has answered nobody for `timeout` seconds.
        """
        since = time.monotonic()
        taken: list[Place] = []
        answered = False
        try:
            for place in places:
                since = max(since, self._take(place))
                taken.append(place)
            yield since
            answered = True
        except BaseException as failure:
            answered = isinstance(failure, Exception) and not isinstance(failure, Unavailable)
            raise
        finally:
            for place in taken:
                self._pass_on(place, answered)

    def any_taken(self, writes: Iterable[Write]) -> bool:
        """Whether somebody has the turn on one of these writes' items."""
        return bool(self._queues) and any(
            (write.table.id, write.row) in self._queues for write in writes
        )

    def _take(self, place: Place) -> float:
        arrived = time.monotonic()
        with self._lock:
            queue = self._queues.get(place)
            if queue is None:
                self._queues[place] = _Queue(arrived)
                return arrived
            turn = threading.Lock()
            turn.acquire()
            queue.waiting.append(turn)
        try:
            while not turn.acquire(timeout=max(0.0, self._left(arrived, queue))):
                if self._left(arrived, queue) <= 0:
                    raise ShardUnavailable(
                        f"{self._where}: writes to the same item have waited for it in vain "
                        f"for {deadlines.timeout() or self._patience():g} s (timeout)"
                    )
        except BaseException:
            self._leave(place, queue, turn)
            raise
        return max(arrived, queue.moved_at)

    def _leave(self, place: Place, queue: _Queue, turn: threading.Lock) -> None:
        with self._lock:
            waited = turn in queue.waiting
            if waited:
                queue.waiting.remove(turn)
        if not waited:  # it came this very moment
            self._pass_on(place, answered=False)

    def _pass_on(self, place: Place, answered: bool) -> None:
        with self._lock:
            queue = self._queues.get(place)
            if queue is None:  # it was taken before this thread forked
                return
            if answered:
                queue.moved_at = time.monotonic()
            if queue.waiting:
                queue.waiting.popleft().release()
            else:
                del self._queues[place]

    def _patience(self) -> float:
        return shard_module.PATIENCE if self._timeout is None else self._timeout

    def _left(self, arrived: float, queue: _Queue) -> float:
        patience = max(arrived, queue.moved_at) + self._patience() - time.monotonic()
        return deadlines.left(patience)


turns_of = PerShard(lambda shard: Turns(shard.where, shard.own_timeout)).of
"""The queues of a shard's items, one set per process."""
