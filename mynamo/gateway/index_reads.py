"""`OwnWrites`: reads of global indexes that see what the gateway answered before they began.

That is `gateway.index_reads = "own-writes"`. Programs written for DynamoDB put an item and query an
index in the next line, and there nearly always find it. See docs/gateway.md.
"""

from __future__ import annotations

import logging
import threading
import time

from mynamo.gateway.answered import TABLES, AnsweredWrites
from mynamo.reader.following import Follower
from mynamo.shards.cluster import Cluster
from mynamo.shards.passengers import in_thread
from mynamo.shards.tables import Index

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a read waits at most; then it answers with what the index has."""
SAY_EVERY = 60.0
"""Seconds from one word in the log that it has been so to the next."""


class OwnWrites:
    """Lets reads of GSIs wait for the writes that were answered before. Safe to share between
    threads.

    What is known to be applied is remembered: where no write was answered since, a read costs a
    glance at a few words of memory.

    Args:
        cluster: whose tables are read.
        answered: counts of this gateway's processes.
    """

    def __init__(self, cluster: Cluster, answered: AnsweredWrites) -> None:
        self._cluster = cluster
        self._answered = answered
        self._followers = {s.id: Follower(s) for s in cluster.shards.values()}
        self._totals: dict[int, int] = {}  # by a table's place among the counts, as all below
        self._applied: dict[tuple[int, int], list[int]] = {}  # and by shard
        self._lock = threading.Lock()
        self._said_at = -SAY_EVERY

    def count(self, table_id: int, shard_id: int, partition: int) -> None:
        """A write has changed something; its answer must not be sent before this returns."""
        table = self._cluster.snapshot.tables.get(table_id)  # as new as the write itself
        if table is not None and table.global_indexes:
            self._answered.count(table_id, shard_id, partition)

    def wait(self, index: Index) -> None:
        """Wait until a GSI has what was answered before, for `PATIENCE` at most."""
        place = index.table_id % TABLES
        total = self._answered.total(index.table_id)
        if self._totals.get(place, 0) == total:
            return
        counts = self._answered.by_stream(index.table_id)  # of `total` writes or more
        found = {shard: self._pending(place, shard, counts[shard]) for shard in counts}
        pending = {shard: parts for shard, parts in found.items() if parts}
        if not pending or self._wait(index, pending):
            self._note(place, total, {shard: counts[shard] for shard in pending})

    def _pending(self, place: int, shard: int, counts: list[int]) -> list[int]:
        """The partitions with writes that are not known to be applied."""
        known = self._applied.get((place, shard)) or [0] * len(counts)
        return [part for part, count in enumerate(counts) if count > known[part]]

    @in_thread
    def _wait(self, index: Index, pending: dict[int, list[int]]) -> bool:
        deadline = time.monotonic() + PATIENCE
        waits = [(f := self._followers[shard], f.join(parts)) for shard, parts in pending.items()]
        served = [f.wait(me, max(0.0, deadline - time.monotonic())) for f, me in waits]
        if all(served):
            return True
        if time.monotonic() - self._said_at >= SAY_EVERY:
            self._said_at = time.monotonic()
            log.warning(
                "a read of index %s was answered without the newest writes: %s",
                index.name,
                next((me.failure for _, me in waits if me.failure), None)
                or f"it has not applied them within {PATIENCE:g} s; see `mynamo lag`",
            )
        return False

    def _note(self, place: int, total: int, counts: dict[int, list[int]]) -> None:
        """Remember what is applied."""
        with self._lock:
            for shard, found in counts.items():
                known = self._applied.get((place, shard), found)
                self._applied[place, shard] = list(map(max, known, found))
            self._totals[place] = max(total, self._totals.get(place, 0))
