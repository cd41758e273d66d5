"""The rounds of a writer worker: unfinished definitions, new indexes, old commands and tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mynamo.catalog import sql
from mynamo.catalog.cluster import Cluster
from mynamo.catalog.enabling import is_enabled, raise_slot_guard
from mynamo.catalog.moves import forget_ended
from mynamo.catalog.roll_forward import is_complete, roll_forward
from mynamo.catalog.shard import DynamoDBShard
from mynamo.catalog.table_streams import StreamRounds
from mynamo.catalog.tables import Index, Table
from mynamo.errors import ShardUnavailable
from mynamo.mysql.pool import Statement
from mynamo.runtime.batch_sizes import BatchSize
from mynamo.writer.backfill.backfiller import Backfiller
from mynamo.writer.backfill.indexes import activate_if_backfilled
from mynamo.writer.queue.commands_topic import REMEMBERED
from mynamo.writer.transaction.decisions import forget_old_aborted, forget_old_committed
from mynamo.writer.transaction.request_tokens import Generation, Generations, forget_tokens
from mynamo.writer.transaction.sweeper import Sweeper

log = logging.getLogger(__name__)

ABANDONED = 10.0
"""Seconds after which an unfinished change of definitions counts as abandoned."""
MOVES_KEPT = 1800.0
"""Seconds for which a move of slots is kept after its end."""
_BACKFILL_SECONDS = 0.5
"""For which one round backfills one index on one shard; all shards in parallel."""
_MOST_THREADS = 16
_PURGE_EVERY = 60.0
_LEAST_PURGED = 500
_MOST_PURGED = 20_000
"""Commands, tokens or decisions that one transaction forgets."""
_PURGE_BATCH_SECONDS = 0.1
_PURGE_SECONDS = 0.3
"""For which one round forgets commands, tokens or decisions on one shard."""


class Maintenance:
    """Finishes what others began. Any number of workers may do so at once.

    Args:
        cluster: to look after.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._unfinished: dict[tuple[int, int], float] = {}
        self._backfillers: dict[tuple[int, int], Backfiller] = {}
        self._purge_at = 0.0
        self._purged: dict[tuple[int, str], BatchSize] = {}
        self._generations = Generations()
        self._sweeper = Sweeper(cluster)
        self._streams = StreamRounds(cluster)
        # Shards where nothing was left to enable lately, and for which format.
        self._enabled: set[tuple[int, int]] = set()
        self._ended: dict[int, float] = {}  # moves, and since when they were seen so (monotonic)

    def round(self) -> bool:
        """Do what there is to do now.

        Returns:
            Whether there is more of it right away.

        Raises:
            ShardUnavailable: some of it was not done; call again.
        """
        self._cluster.refresh()
        self._finish_enabling()
        self._forget_moves()
        self._sweeper.round()
        more = False
        if not self._cluster.lacking:  # else definitions are left to other workers
            self._roll_forward()
            more = self._backfill()
        self._follow_streams()
        if time.monotonic() >= self._purge_at and not self._purge():
            self._purge_at = time.monotonic() + _PURGE_EVERY
            self._enabled.clear()  # a shard may have been restored
        return more

    def _finish_enabling(self) -> None:
        """Do what is left of `mynamo transaction enable` and `mynamo shard enable`."""
        if not is_enabled(self._cluster):
            return
        for number, shard in self._cluster.shards.items():
            enabled = number, self._cluster.snapshot.format
            if enabled in self._enabled:
                continue
            try:
                if raise_slot_guard(self._cluster, shard):
                    log.info("%s: its slot guard is raised", shard.where)
            except ShardUnavailable as failure:  # in the next round; the others go on
                log.debug("the slot guard is not raised yet: %s", failure)
            else:
                self._enabled.add(enabled)

    def _follow_streams(self) -> None:
        try:
            self._streams.round()
        except ShardUnavailable as failure:  # in the next round; all else goes on
            log.debug("streams do not follow their slots yet: %s", failure)

    def _forget_moves(self) -> None:
        """Forget moves of slots that ended so long ago that no attempt of a request with a token is
        older (`transact.generation_on` needs them until then)."""
        now = time.monotonic()
        ended = [move.id for move in self._cluster.snapshot.moves if move.state == "ENDED"]
        self._ended = {id_: self._ended.get(id_, now) for id_ in ended}
        old = [id_ for id_, since in self._ended.items() if now - since > MOVES_KEPT]
        if old:
            forget_ended(self._cluster.catalog, old)

    def _roll_forward(self) -> None:
        found = {}
        for table in self._cluster.snapshot.tables.values():
            if not is_complete(table) or self._is_unknown_somewhere(table):
                change = (table.id, table.version)
                found[change] = self._unfinished.get(change, time.monotonic())
        self._unfinished = found
        for (table_id, version), since in found.items():
            if time.monotonic() - since > ABANDONED:
                roll_forward(self._cluster, table_id)
                del self._unfinished[table_id, version]
                return  # the others in the next round, by what the catalog says then

    def _is_unknown_somewhere(self, table: Table) -> bool:
        """Whether a shard has no backfill row yet for an index that is being created."""
        creating = [index.id for index in _creating(table)]
        return any(
            shard.run(
                ("SELECT COUNT(*) FROM mynamo_backfill WHERE index_id IN"
                 f" ({sql.placeholders(creating)})",
                 creating)
            )[0].rows[0][0] < len(creating)
            for shard in self._cluster.shards.values() if creating
        )  # fmt: skip

    def _backfill(self) -> bool:
        creating = [i for t in self._cluster.snapshot.tables.values() for i in _creating(t)]
        shards = self._cluster.shards
        self._backfillers = {
            (number, index.id): self._backfillers.get((number, index.id))
            or Backfiller(self._cluster, shard, index)
            for number, shard in shards.items()
            for index in creating
        }
        if not creating:
            return False
        with ThreadPoolExecutor(min(_MOST_THREADS, len(shards)), "mynamo-backfill") as pool:
            more = list(pool.map(partial(self._backfill_from, creating), shards))
        for index in creating:
            activate_if_backfilled(self._cluster, index)
        return any(more)

    def _backfill_from(self, creating: list[Index], shard_id: int) -> bool:
        """Backfill indexes from one shard; returns whether there is more to do right away."""
        more = [self._backfillers[shard_id, index.id].work(_BACKFILL_SECONDS) for index in creating]
        return any(more)

    def _purge(self) -> bool:
        """Forget commands, tokens and decisions that cannot come again; returns whether there may
        be more."""
        more = [self._purge_on(shard) for shard in self._cluster.shards.values()]
        return any(more)

    def _purge_on(self, shard: DynamoDBShard) -> bool:
        try:
            more = self._forget(shard, "commands", partial(_forget_commands, "mynamo_applied"))
            more |= self._forget(shard, "old", partial(_forget_commands, "mynamo_command"))
            generation = self._generations.of(shard)
            for what, delete in (("tokens", forget_tokens), ("aborted", forget_old_aborted)):
                more |= self._forget(shard, what, partial(delete, generation))
            return self._forget_committed(shard, generation) or more
        except ShardUnavailable as failure:  # the others' are forgotten nevertheless
            log.debug("commands, tokens and decisions are not forgotten yet: %s", failure)
            return False

    def _forget_committed(self, shard: DynamoDBShard, generation: Generation) -> bool:
        """Forget what was committed on one shard, for a bounded time; returns whether there may be
        more."""
        ends_at = time.monotonic() + _PURGE_SECONDS
        more = True
        while more and time.monotonic() < ends_at:
            more = forget_old_committed(self._cluster, shard, generation)
        return more

    def _forget(self, shard: DynamoDBShard, what: str, delete: Callable[[int], Statement]) -> bool:
        """Forget on one shard, in transactions of a bounded size, for a bounded time.

        Args:
            what: is forgotten.
            delete: from a number of rows to the statement that deletes so many at the most.
        """
        size = self._purged.setdefault(
            (shard.id, what), BatchSize(_LEAST_PURGED, _MOST_PURGED, _PURGE_BATCH_SECONDS)
        )
        ends_at = time.monotonic() + _PURGE_SECONDS
        while True:
            began_at, limit = time.monotonic(), size.rows
            done = shard.run(delete(limit))[0]
            size.note(done.count, time.monotonic() - began_at)
            if done.count < limit:
                return False
            if time.monotonic() >= ends_at:
                return True


def _forget_commands(table: str, limit: int) -> Statement:
    return (
        f"DELETE FROM {table} WHERE done_at < {sql.NOW} - %s ORDER BY done_at LIMIT {limit:d}",
        (round(REMEMBERED * 1_000_000),),
    )


def _creating(table: Table) -> list[Index]:
    if table.status != "ACTIVE":
        return []
    return [index for index in table.indexes if index.status == "CREATING"]
