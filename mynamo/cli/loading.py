"""Writing many items from several threads, so that each item's lines stay in order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mynamo.cli.app import wording
from mynamo.errors import IndexBehind, InvalidRequest, MynamoError, NotFound, Unavailable
from mynamo.producer import Producer, Receipt
from mynamo.schemas.items import to_stored
from mynamo.shards.cluster import Cluster

BATCH = 200
"""Queued writes that are published together."""
_BEHIND_PAUSE = 0.5
WAITING = 2_000
"""Lines that may wait for a thread: they bound the memory that a long file takes."""

Acknowledged = Callable[[int, Mapping[str, Any], Receipt | None], None]
Refused = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Line:
    """An item, the number of its line from 1, and how many bytes the line has."""

    number: int
    item: dict[str, Any]
    size: int = 0


@dataclass
class Counts:
    """What has become of the lines so far."""

    acknowledged: int = 0
    failed: int = 0
    size: int = 0
    """Bytes of the lines that are acknowledged or have failed."""
    started: float = field(default_factory=time.monotonic)
    stopped: float | None = None

    def stop(self) -> None:
        """Stop the clock."""
        self.stopped = time.monotonic()

    @property
    def seconds(self) -> float:
        """From the beginning to the end, or until now."""
        return (self.stopped or time.monotonic()) - self.started

    @property
    def rate(self) -> float:
        """Acknowledged items per second."""
        return self.acknowledged / max(self.seconds, 1e-9)


class Loader:
    """Threads that write items; lines with the same key go through the same thread.

    Args:
        cluster: where to.
        table: the table's name.
        threads: how many.
        queued: through Kafka, for the writer workers to apply.
        acknowledged: told of each line that is safe, from any thread, one at a time; the
            receipt is None for a queued one.
        refused: told of each line that was not written, and why.

    Raises:
        TableNotFound: there is no such table.
    """

    def __init__(
        self,
        cluster: Cluster,
        table: str,
        *,
        threads: int = 8,
        queued: bool = False,
        acknowledged: Acknowledged | None = None,
        refused: Refused | None = None,
    ) -> None:
        self.counts = Counts()
        self.trouble: MynamoError | None = None
        """Why the servers take no more, if they do not."""
        self._table = cluster.table(table)
        self._producer = Producer(cluster)
        self._acknowledged = acknowledged
        self._refused = refused
        self._telling = threading.Lock()
        self._abandoned = threading.Event()
        limit = max(1, WAITING // threads)
        self._queues: list[queue.Queue[Line | None]] = [queue.Queue(limit) for _ in range(threads)]
        work = self._publish_all if queued else self._put_all
        self._threads = [
            threading.Thread(target=self._run, args=(work, q), daemon=True) for q in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def add(self, line: Line) -> bool:
        """Take a line; waits while the threads are busy.

        Returns:
            False if the servers take no more: see `trouble`.
        """
        try:
            row = self._table.key_of(to_stored(self._key(line.item)))
        except InvalidRequest as error:
            self.refuse(line.number, line.size, wording(error))
            return True
        lane = self._queues[hash(row) % len(self._queues)]
        while not self._abandoned.is_set():
            try:
                lane.put(line, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def refuse(self, number: int, size: int, reason: str) -> None:
        """Count a line as failed."""
        with self._telling:
            self.counts.failed += 1
            self.counts.size += size
            if self._refused:
                self._refused(number, reason)

    def finish(self) -> None:
        """Write everything that was taken, and end the threads."""
        for lane in self._queues:
            while not self._abandoned.is_set():
                try:
                    lane.put(None, timeout=0.2)
                    break
                except queue.Full:
                    continue
        self._end()

    def abandon(self, patience: float = 5.0) -> int:
        """Let each thread finish the write that it is about, and end.

        Args:
            patience: seconds that this may take.

        Returns:
            How many threads are still at it, as when a server does not answer.
        """
        self._abandoned.set()
        return self._end(time.monotonic() + patience)

    def _end(self, deadline: float | None = None) -> int:
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()) if deadline else None)
        self.counts.stop()
        busy = sum(thread.is_alive() for thread in self._threads)
        if not busy:
            self._producer.close()
        return busy

    def _key(self, item: Mapping[str, Any]) -> dict[str, Any]:
        return {name: item[name] for name in self._table.key_names if name in item}

    def _run(self, work: Callable[[queue.Queue[Line | None]], None], lane: Any) -> None:
        try:
            work(lane)
        except MynamoError as error:
            self.trouble = self.trouble or error
            self._abandoned.set()

    def _put_all(self, lane: queue.Queue[Line | None]) -> None:
        while line := self._next(lane):
            try:
                receipt = self._put(line)
            except (Unavailable, NotFound) as error:
                self.refuse(line.number, line.size, f"not acknowledged: {wording(error)}")
                raise
            except MynamoError as error:
                self.refuse(line.number, line.size, wording(error))
                continue
            self._acknowledge(line, receipt)

    def _put(self, line: Line) -> Receipt:
        while True:
            try:
                return self._producer.put(self._table.name, line.item)
            except IndexBehind:  # loading can wait for the indexers
                if self._abandoned.wait(_BEHIND_PAUSE):
                    raise

    def _publish_all(self, lane: queue.Queue[Line | None]) -> None:
        while line := self._next(lane):
            batch = [line]
            while len(batch) < BATCH and not lane.empty() and (line := self._next(lane)):
                batch.append(line)
            self._publish(batch)
            if line is None:
                return

    def _publish(self, batch: list[Line]) -> None:
        try:
            self._producer.publish(
                *(self._producer.queued_put(self._table.name, line.item) for line in batch)
            )
        except InvalidRequest as error:  # nothing of the batch was published
            if len(batch) == 1:
                self.refuse(batch[0].number, batch[0].size, wording(error))
                return
            for line in batch:
                self._publish([line])
            return
        except (Unavailable, NotFound) as error:
            for line in batch:
                self.refuse(line.number, line.size, f"not acknowledged: {wording(error)}")
            raise
        for line in batch:
            self._acknowledge(line, None)

    def _next(self, lane: queue.Queue[Line | None]) -> Line | None:
        """The next line; None once there is none, or the rest is abandoned."""
        while not self._abandoned.is_set():
            try:
                return lane.get(timeout=0.2)
            except queue.Empty:
                continue
        return None

    def _acknowledge(self, line: Line, receipt: Receipt | None) -> None:
        with self._telling:
            self.counts.acknowledged += 1
            self.counts.size += line.size
            if self._acknowledged:
                self._acknowledged(line.number, self._key(line.item), receipt)
