"""The rounds of a writer worker: unfinished definitions, new indexes, old command ids."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.roll_forward import is_settled, settle
from mynamo.catalog.tables import Index, Table
from mynamo.writer.backfill.backfiller import Filler
from mynamo.writer.backfill.indexes import activate_if_filled
from mynamo.writer.queue.commands_topic import REMEMBERED

ABANDONED = 10.0
"""Seconds after which a change of definitions counts as abandoned by whoever began it."""
_FILL_SECONDS = 0.5
"""For which one round fills one index on one shard; all shards at once."""
_MOST_THREADS = 16
_PURGE_EVERY = 60.0
_PURGE_ROWS = 1_000


class Maintenance:
    """Finishes what others began. Any number of workers may do so at once.

    Args:
        cluster: to look after.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._unsettled: dict[tuple[int, int], float] = {}
        self._fillers: dict[tuple[int, int], Filler] = {}
        self._purge_at = 0.0

    def round(self) -> bool:
        """Do what there is to do now.

        Returns:
            Whether there is more of it right away.

        Raises:
            ShardUnavailable: some of it was not done; call again.
        """
        self._cluster.refresh()
        self._settle()
        more = self._fill()
        if time.monotonic() >= self._purge_at and not self._purge():
            self._purge_at = time.monotonic() + _PURGE_EVERY
        return more

    def _settle(self) -> None:
        found = {}
        for table in self._cluster.snapshot.tables.values():
            if not is_settled(table) or self._is_unknown_somewhere(table):
                change = (table.id, table.version)
                found[change] = self._unsettled.get(change, time.monotonic())
        self._unsettled = found
        for (table_id, version), since in found.items():
            if time.monotonic() - since > ABANDONED:
                settle(self._cluster, table_id)
                del self._unsettled[table_id, version]
                return  # the others in the next round, by what the catalog says then

    def _is_unknown_somewhere(self, table: Table) -> bool:
        """Whether a shard has not heard of an index that is to be filled."""
        filling = [index.id for index in _creating(table)]
        return any(
            shard.run(
                (f"SELECT COUNT(*) FROM mynamo_backfill WHERE index_id IN ({sql.marks(filling)})",
                 filling)
            )[0].rows[0][0] < len(filling)
            for shard in self._cluster.shards.values() if filling
        )  # fmt: skip

    def _fill(self) -> bool:
        filling = [i for t in self._cluster.snapshot.tables.values() for i in _creating(t)]
        shards = self._cluster.shards
        self._fillers = {
            (number, index.id): self._fillers.get((number, index.id))
            or Filler(self._cluster, shard, index)
            for number, shard in shards.items()
            for index in filling
        }
        if not filling:
            return False
        with ThreadPoolExecutor(min(_MOST_THREADS, len(shards)), "mynamo-filler") as pool:
            more = list(pool.map(partial(self._fill_from, filling), shards))
        for index in filling:
            activate_if_filled(self._cluster, index)
        return any(more)

    def _fill_from(self, filling: list[Index], shard_id: int) -> bool:
        """Fill indexes from one shard; returns whether there is more to do right away."""
        more = [self._fillers[shard_id, index.id].work(_FILL_SECONDS) for index in filling]
        return any(more)

    def _purge(self) -> bool:
        """Forget commands that cannot come again; returns whether there may be more."""
        more = False
        for shard in self._cluster.shards.values():
            done = shard.run(
                (f"DELETE FROM mynamo_command WHERE done_at < {sql.NOW} - %s"
                 f" ORDER BY done_at LIMIT {_PURGE_ROWS:d}", (round(REMEMBERED * 1_000_000),))
            )[0]  # fmt: skip
            more = more or done.count == _PURGE_ROWS
        return more


def _creating(table: Table) -> list[Index]:
    if table.status != "ACTIVE":
        return []
    return [index for index in table.indexes if index.status == "CREATING"]
