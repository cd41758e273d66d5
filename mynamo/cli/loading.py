"""Writing many items from several threads; the records of each item stay in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import RowKey, Table
from mynamo.cli.app import wording
from mynamo.cli.record_queues import RecordQueue
from mynamo.cli.records import FilePosition, Record
from mynamo.errors import ConfigError, IndexBehind, InvalidRequest, NotFound, Unavailable
from mynamo.producer import Delete, Producer, Put, Receipt
from mynamo.schemas.items import to_stored

BATCH = 100
"""Records that are written in one transaction, or published together."""
WAITING = 4_000
"""Records that may wait for a thread."""
WAITING_BYTES = 32 * 1024 * 1024
"""Of their text in the file, likewise: the two bound the memory that a long file takes."""
_LOOK_SECONDS = 0.2
_BEHIND_PAUSE = 0.5

Done = tuple[FilePosition, Mapping[str, Any], Receipt | None]
"""A record's position and key, and its receipt; a queued record has none."""
Acknowledged = Callable[[Sequence[Done]], None]
Refused = Callable[[FilePosition, str], None]


@dataclass
class Counts:
    """Counts of the records so far."""

    acknowledged: int = 0
    failed: int = 0
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
    """Threads that write records in batches, each those of one shard.

    Args:
        cluster: where to.
        table: the table.
        threads: how many.
        queued: through Kafka, for the writer workers to apply.
        acknowledged: told of the records that are safe, from any thread, one at a time.
        refused: told of each record that was not written, and why; likewise.
    """

    def __init__(
        self,
        cluster: Cluster,
        table: Table,
        *,
        threads: int = 8,
        queued: bool = False,
        acknowledged: Acknowledged | None = None,
        refused: Refused | None = None,
    ) -> None:
        self.counts = Counts()
        self.trouble: Exception | None = None
        """Why nothing more is written, if so: the servers take no more, or a file of ours."""
        self._cluster = cluster
        self._table = table
        self._producer = Producer(cluster)
        self._acknowledged = acknowledged
        self._refused = refused
        self._telling = threading.Lock()
        self._abandoned = threading.Event()
        self._room = threading.Condition()
        self._taken = 0
        """Bytes of the records that are not dealt with yet."""
        self._queues = [
            RecordQueue(max(1, WAITING // threads), self._abandoned) for _ in range(threads)
        ]
        shards = sorted(cluster.configured)
        self._of_shard = {
            shard: self._queues[number :: len(shards)] or [self._queues[number % threads]]
            for number, shard in enumerate(shards)
        }
        work = self._publish if queued else self._write
        self._threads = [
            threading.Thread(target=self._run, args=(work, queue), daemon=True)
            for queue in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def add(self, record: Record) -> bool:
        """Take a record; waits while the threads are busy.

        Returns:
            False if nothing more is written: see `trouble`.
        """
        if record.wrong is not None:
            self.refuse(record.position, record.wrong)
            return not self._abandoned.is_set()
        try:
            row = self._table.key_of(to_stored(self._key(record)))
        except InvalidRequest as error:
            self.refuse(record.position, wording(error))
            return True
        with self._room:
            while self._taken > WAITING_BYTES and not self._abandoned.is_set():
                self._room.wait(_LOOK_SECONDS)
            self._taken += record.size
        return self._batcher_of(row).add((row, record))

    def refuse(self, position: FilePosition, reason: str) -> None:
        """Count a record as failed."""
        with self._telling:
            self.counts.failed += 1
            if self._refused:
                self._refused(position, reason)

    def finish(self) -> None:
        """Write everything that was taken, and end the threads."""
        for queue in self._queues:
            queue.add(None)
        self._end()

    def abandon(self, patience: float = 5.0) -> int:
        """Let each thread finish the batch that it is about, and end.

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

    def _batcher_of(self, row: RowKey) -> RecordQueue:
        queues = self._of_shard.get(self._cluster.shard_id_of(row.hash), self._queues)
        return queues[hash(row) % len(queues)]

    def _key(self, record: Record) -> dict[str, Any]:
        return {name: record.item[name] for name in self._table.key_names if name in record.item}

    def _run(self, work: Callable[[Sequence[Record]], None], queue: RecordQueue) -> None:
        try:
            while batch := queue.batch(BATCH):
                work(batch)
                with self._room:
                    self._taken -= sum(record.size for record in batch)
                    self._room.notify()
        except Exception as error:  # for `finish`'s caller, who looks at `trouble`
            self.trouble = self.trouble or error
            self._abandoned.set()

    def _write(self, batch: Sequence[Record]) -> None:
        while batch:
            outcomes = self._producer.write_batch([self._as_write(record) for record in batch])
            behind, down = [], None
            done: list[Done] = []
            for record, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Receipt):
                    done.append((record.position, self._key(record), outcome))
                elif isinstance(outcome, IndexBehind):  # loading can wait for the indexers
                    behind.append(record)
                elif isinstance(outcome, Unavailable | NotFound | ConfigError):
                    down = down or outcome
                    self.refuse(record.position, f"not acknowledged: {wording(outcome)}")
                else:
                    self.refuse(record.position, wording(outcome))
            self._acknowledge(done)
            if down is not None:
                raise down
            if behind and self._abandoned.wait(_BEHIND_PAUSE):
                return
            batch = behind

    def _publish(self, batch: Sequence[Record]) -> None:
        name, producer = self._table.name, self._producer
        try:
            producer.publish(
                *(
                    producer.queued_delete(name, record.item)
                    if record.deletes
                    else producer.queued_put(name, record.item)
                    for record in batch
                )
            )
        except InvalidRequest as error:  # nothing of the batch was published
            if len(batch) == 1:
                self.refuse(batch[0].position, wording(error))
                return
            for record in batch:
                self._publish([record])
            return
        except (Unavailable, NotFound) as error:
            for record in batch:
                self.refuse(record.position, f"not acknowledged: {wording(error)}")
            raise
        self._acknowledge([(record.position, self._key(record), None) for record in batch])

    def _as_write(self, record: Record) -> Put | Delete:
        made = Delete if record.deletes else Put
        return made(self._table.name, record.item)

    def _acknowledge(self, done: Sequence[Done]) -> None:
        with self._telling:
            self.counts.acknowledged += len(done)
            if self._acknowledged and done:
                self._acknowledged(done)
