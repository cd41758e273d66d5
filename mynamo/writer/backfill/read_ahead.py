"""`ReadAhead`: reads the next chunk of a GSI's backfill while the one before it is written.

The process works on one chunk while MySQL works on another. This is step 2 of `global_index`, which
takes no locks: whatever changes between it and step 4 is left out there, so it may as well come
before step 1.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.snapshot import Snapshot
from mynamo.catalog.tables import Index, Table
from mynamo.errors import MynamoError
from mynamo.writer.backfill.chunks import Chunk, Position, read_chunk
from mynamo.writer.backfill.global_index import rows_of


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked for: slots as of this map, items behind this position, so many at the most."""

    snapshot: Snapshot
    start: Position
    most: int


class ReadAhead:
    """Reads one chunk ahead, in a thread that ends with the block. Use by one thread.

    Args:
        cluster: of the shard.
        shard: whose items.
        index: to make rows of.
    """

    def __init__(self, cluster: Cluster, shard: DynamoDBShard, index: Index) -> None:
        self._cluster = cluster
        self._shard = shard
        self._index = index
        self._pool = ThreadPoolExecutor(1, "mynamo-read-ahead")
        self._next: tuple[_Asked, Future[Chunk]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def begin(self, snapshot: Snapshot, table: Table, start: Position, most: int) -> None:
        """Read the items behind a position, and make their index rows, if this is a GSI's."""
        if self._index.kind == "GSI":
            asked = _Asked(snapshot, start, most)
            self._next = asked, self._pool.submit(self._read, table, start, most)

    def _read(self, table: Table, start: Position, most: int) -> Chunk:
        with self._shard.session() as session:
            chunk = read_chunk(session, table, start, most, lock=False)
        return replace(chunk, index_rows=rows_of(self._index, chunk))

    def take(self, snapshot: Snapshot, start: Position, most: int) -> Chunk | None:
        """The chunk behind a position.

        Args:
            snapshot: the slot map that holds as long as the caller has the slot guard.
            most: items.

        Returns:
            None: something else was read, or it could not be; read it without this.
        """
        found, self._next = self._next, None
        if found is None:
            return None
        asked, reading = found
        try:
            chunk = reading.result()
        except MynamoError:
            return None
        fits = asked.snapshot is snapshot and asked.start == start and asked.most <= most
        return chunk if fits else None
