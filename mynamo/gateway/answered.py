"""`AnsweredWrites`: which writes the gateway's processes have answered, counted in shared memory.

A count says that there was a write, and not which: whoever finds a count higher than when it knew
the indexes to have everything asks the shard (`mynamo.reader.following`).
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterable
from operator import add

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
        shards: their numbers.
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
