"""Own writes in global indexes: reads see what the gateway answered before they began.

That is `gateway.index_reads = "own-writes"`. Programs written for DynamoDB put an item and query an
index in the next line, and there nearly always find it. See docs/gateway.md.

`AnsweredWrites` counts in shared memory which writes the gateway's processes have answered. A count
says that there was a write, and not which one: a reader that finds a count higher than when it knew
the indexes to have everything asks the shard (`mynamo.reader.index_progress`).
"""

from __future__ import annotations

import logging
import mmap
import threading
import time
from collections.abc import Iterable
from operator import add

from mynamo.catalog.cluster import Cluster
from mynamo.catalog.tables import Index
from mynamo.reader.index_progress import Follower
from mynamo.runtime.tasks import in_thread

TABLES = 64
"""Counts for tables. Two tables may share one, and then wait for each other's writes too."""
_WORD = 8


class AnsweredWrites:
    """Counts of answered writes, by table and by stream (a shard's partition).

    Make it before the processes are forked: the memory is theirs in common. Each writes counts of
    its own, so that no lock is needed between them, and a word of memory is written as a whole. One
    that takes the place of a dead one goes on counting where that stopped.

    Safe to share between threads.

    Args:
        processes: how many there are.
        shards: numbers of all that are configured.
        partitions: of each.
    """

    def __init__(self, processes: int, shards: Iterable[int], partitions: int) -> None:
        self._first = {shard: 1 + n * partitions for n, shard in enumerate(sorted(shards))}
        self._partitions = partitions
        self._row = 1 + len(self._first) * partitions  # a table's: all its writes, then by stream
        self._column = TABLES * self._row
        memory = mmap.mmap(-1, processes * self._column * _WORD)
        self._counts = memoryview(memory).cast("Q")
        self._processes = processes
        self._mine = 0
        self._lock = threading.Lock()

    def become(self, process: int) -> None:
        """Say which of the processes this one is, from 0 on."""
        self._mine = process * self._column

    def count(self, table_id: int, shard: int, partition: int) -> None:
        """A write is done; its answer must not be sent before this returns."""
        row = self._mine + table_id % TABLES * self._row
        stream = row + self._first[shard] + partition
        with self._lock:
            self._counts[stream] += 1
            self._counts[row] += 1  # the last, so that who sees it sees the stream's as well

    def total(self, table_id: int) -> int:
        """The writes to a table that all processes have answered."""
        first = table_id % TABLES * self._row
        return sum(self._counts[first + n * self._column] for n in range(self._processes))

    def by_stream(self, table_id: int) -> dict[int, list[int]]:
        """The same, per shard and partition."""
        first = table_id % TABLES * self._row
        sums = [0] * self._row
        for n in range(self._processes):
            start = first + n * self._column
            sums = list(map(add, sums, self._counts[start : start + self._row]))
        return {
            shard: sums[start : start + self._partitions] for shard, start in self._first.items()
        }


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
        self._followers = {s.id: Follower(s) for s in cluster.configured.values()}
        self._totals: dict[int, int] = {}  # by a table's place among the counts, as all below
        self._applied: dict[tuple[int, int], list[int]] = {}  # and by shard
        self._lock = threading.Lock()
        self._said_at = -SAY_EVERY

    @property
    def waiting(self) -> int:
        """For how many shards a read waits, summed over the reads."""
        return sum(follower.waiting for follower in self._followers.values())

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
