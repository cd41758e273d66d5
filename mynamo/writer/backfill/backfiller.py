"""`Backfiller`: backfills one index from one shard with the time that live changes leave over.

While changes wait for the indexers, chunks are small, because the indexer of their streams waits
while one is written, and each is followed by a rest that grows with what the chunk took: so the
backfill has a part of the machine, however slow or fast that is. Where nothing waits it has all.
"""

from __future__ import annotations

import time

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.tables import Index
from mynamo.runtime.counters import counters
from mynamo.writer.backfill.chunks import Position
from mynamo.writer.backfill.indexes import CHUNK_ROWS, backfill_chunk
from mynamo.writer.backfill.read_ahead import ReadAhead
from mynamo.writer.outbox.back_pressure import Backlog, Waiting

BESIDE_ROWS = 250
"""Of a chunk while changes wait."""
_BESIDE = 2.0
"""Times as long as a chunk took, to rest after it while changes wait."""
_BEHIND = 20.0
"""And while the indexers are behind."""
_BEHIND_SECONDS = 0.25
_BEHIND_EVENTS = 2_000
"""From here on they are: by the age of the oldest change, or by how many there are."""
_LONGEST_REST = 2.0


class Backfiller:
    """Backfills one index from one shard. Use by one thread.

    Any number of backfillers, in any processes, may work on the same index and shard. One that
    notices another one pauses for a while, so that not all of them spend time on it.
    """

    def __init__(self, cluster: Cluster, shard: DynamoDBShard, index: Index) -> None:
        self._cluster = cluster
        self._shard = shard
        self._index = index
        self._backlog = Backlog()
        self._left_at: Position | None = None

    def work(self, seconds: float) -> bool:
        """Backfill for so many seconds, or until all is done.

        Returns:
            Whether there is more to do right away. False: all is done, or somebody else does it.

        Raises:
            See `backfill.backfill_chunk`.
        """
        until = time.monotonic() + seconds
        with ReadAhead(self._cluster, self._shard, self._index) as ahead:
            while True:
                waiting = self._waiting()
                began = time.monotonic()
                rows = BESIDE_ROWS if waiting.events else CHUNK_ROWS
                done = backfill_chunk(
                    self._cluster, self._shard, self._index, rows, self._left_at, ahead
                )
                self._count(done.rows)
                self._left_at = None if done.others else done.end
                if done.others or not done.more:
                    return False
                time.sleep(rest_after(time.monotonic() - began, waiting))
                if time.monotonic() > until:
                    return True

    def _count(self, rows: int) -> None:
        table = self._cluster.snapshot.tables.get(self._index.table_id)
        if rows and table is not None:
            counters.add("backfill_rows", rows, table.name, self._index.name)

    def _waiting(self) -> Waiting:
        if self._index.is_local:  # which concerns no indexer
            return Waiting()
        return self._backlog.bound(self._shard, _BEHIND_EVENTS + 1)


def rest_after(
    took: float,
    waiting: Waiting,
    *,
    behind_seconds: float = _BEHIND_SECONDS,
    beside: float = _BESIDE,
) -> float:
    """Seconds to rest after a chunk that took so many.

    Args:
        behind_seconds: the indexers are behind from here on, by the age of the oldest change.
        beside: times as long as the chunk took, while changes wait and the indexers keep up.
    """
    if not waiting.events:
        return 0.0
    behind = waiting.seconds > behind_seconds or waiting.events > _BEHIND_EVENTS
    return min(_LONGEST_REST, took * (_BEHIND if behind else beside))
